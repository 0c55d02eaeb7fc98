"""Scenes as one of several data sets: beside images, and beside scenes with other classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import grid, noise, triangles, write_scene, write_shapes  # noqa: E402
from PIL import Image  # noqa: E402

from intarsia.cli.main import main  # noqa: E402
from intarsia.data.datasets.mixed import MixedDataset, order_of  # noqa: E402
from intarsia.data.description.mixed import MixedDescription  # noqa: E402
from intarsia.data.description.read import read_description  # noqa: E402
from intarsia.data.feature_cache import FixedViews  # noqa: E402
from intarsia.data.pipeline import Pipeline  # noqa: E402
from intarsia.data.rare_classes import images_showing  # noqa: E402
from intarsia.data.sampling import sample_rng  # noqa: E402
from intarsia.data.scenes.dataset import SceneDataset  # noqa: E402
from intarsia.data.scenes.discovery import find_windows  # noqa: E402
from intarsia.data.scenes.ground import blocks_on_same_ground  # noqa: E402
from intarsia.data.scenes.rule import SceneSplit  # noqa: E402
from intarsia.data.unlabelled import weak_views  # noqa: E402

H, W = 128, 192
LAND = """\
classes: [background, roof, pool]
labels: {0: background, 1: roof, 2: pool}
splits:
  train: {scenes: scenes, labels: things.geojson, column: kind, window: 32, margin: 4, block: 64}
  val: {share: 0.3, of: train}
"""
WATER = """\
classes: [lake]
labels: {0: background, 7: lake}
splits:
  train: {scenes: "images/*_rgb.tif", labels: "masks/*.tif", window: 32, margin: 4, block: 64}
"""
TILES = """\
classes: [house, street]
labels: {1: house, 2: street, 0: ignore}
splits:
  train: {images: images/train, labels: labels/train}
  val: {images: images/val, labels: labels/val}
"""
MIXED = """\
classes: [background, building, water]
datasets:
  - {data: land/data.yaml, classes: {roof: building, pool: water}}
  - {data: tiles/data.yaml, classes: {house: building, street: background}}
"""
FAST = ["--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu", "--pretrained", "none"]


def land(folder: Path, *, left: float = 400_000.0) -> None:
    """One scene of 2 x 3 blocks, half a metre a pixel, with shapes."""
    write_scene(folder / "scenes/north.tif", noise(H, W), transform=grid(left=left))
    write_shapes(folder / "things.geojson", triangles(25, H, W), transform=grid(left=left))
    (folder / "data.yaml").write_text(LAND, encoding="utf-8")


def water(folder: Path, *, left: float = 400_000.0) -> None:
    """Another date of the same ground, with a label raster."""
    lake = np.zeros((1, H, W), np.uint8)
    lake[:, 20:90, 30:150] = 7
    write_scene(folder / "images/may_rgb.tif", noise(H, W, seed=5), transform=grid(left=left))
    write_scene(folder / "masks/may.tif", lake, transform=grid(left=left))
    (folder / "data.yaml").write_text(WATER, encoding="utf-8")


def tiles(folder: Path) -> None:
    rng = np.random.default_rng(3)
    for split, count in (("train", 5), ("val", 3)):
        for number in range(count):
            for kind, array in (
                ("images", rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)),
                ("labels", rng.integers(0, 3, (40, 48), dtype=np.uint8)),
            ):
                file = folder / kind / split / f"t{number}_{split}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(file)
    (folder / "data.yaml").write_text(TILES, encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes and images, and mixed.yaml of both."""
    folder = tmp_path_factory.mktemp("mixed")
    land(folder / "land")
    tiles(folder / "tiles")
    (folder / "mixed.yaml").write_text(MIXED, encoding="utf-8")
    return folder


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Scenes of one place with two lists of classes."""
    land(tmp_path / "land")
    water(tmp_path / "water")
    file = tmp_path / "mixed.yaml"
    file.write_text(
        "classes: [background, building, water]\ndatasets:\n"
        "  - {data: land/data.yaml, weight: 1, classes: {roof: building, pool: water}}\n"
        "  - {data: water/data.yaml, weight: 3, classes: {lake: water, background: ignore}}\n",
        encoding="utf-8",
    )
    return file


def read(file: Path) -> MixedDescription:
    found = read_description(file)
    assert isinstance(found, MixedDescription)
    return found


def units(description: MixedDescription, split: str) -> set[str]:
    return {pair.window.unit for pair in description.pairs(split) if pair.window is not None}


def files(description: MixedDescription, split: str) -> set[str]:
    return {Path(pair.image).name for pair in description.pairs(split) if pair.window is None}


# --- Samples ------------------------------------------------------------------------------------------------------


def test_windows_are_drawn_as_by_themselves_and_mean_the_common_classes(place: Path) -> None:
    description = read(place / "mixed.yaml")
    dataset = description.dataset("train")
    assert isinstance(dataset, MixedDataset)
    alone = read_description(place / "land/data.yaml").dataset("train")
    assert isinstance(alone, SceneDataset)
    count = len(alone)
    pipeline = Pipeline(dataset, [])
    for index in (0, count - 1):
        mine, own = pipeline.get(index, sample_rng(4, 9)), alone.draw(index, sample_rng(4, 9))
        assert np.array_equal(mine.image, own.image)
        assert own.label is not None
        assert np.array_equal(mine.label, own.label)  # background, building, water are its three classes in order
        assert mine.meta.name == f"land/{own.meta.name}"
    windows = {pipeline.get(1, sample_rng(4, position)).image.tobytes() for position in range(6)}
    assert len(windows) > 1
    image = pipeline.get(count, sample_rng(4, 9))
    assert image.meta.name == "tiles/images/train/t0_train"
    stored = np.asarray(Image.open(place / "tiles/labels/train/t0_train.png"))
    assert np.array_equal(image.label, np.select([stored == 1, stored == 2], [1, 0], 255))
    order = order_of(dataset, seed=0, shuffle=True)
    assert sorted(order.index(position) for position in range(len(dataset))) == list(range(count + 5))


def test_an_evaluation_counts_each_pixel_once(place: Path) -> None:
    description = read(place / "mixed.yaml")
    assert isinstance(description.dataset("val"), MixedDataset)
    pipeline = Pipeline(description.dataset("val"), [], label_size="original")
    blocks = units(description, "val")
    labelled = 0
    for index in range(len(pipeline)):
        sample = pipeline.get(index, sample_rng(0, 0))
        assert sample.label is not None
        labelled += int((sample.label != 255).sum()) if sample.meta.name.startswith("land/") else 0
    assert labelled == len(blocks) * 64 * 64


def test_what_one_lacks_is_ignored_there(two: Path) -> None:
    dataset = read(two).dataset("train")
    assert isinstance(dataset, MixedDataset)
    assert dataset.weights == (1.0, 3.0)
    first = len(dataset.datasets[0])
    values = {int(v) for index in range(first, len(dataset)) for v in np.unique(dataset.load(index).label)}
    assert values == {2, 255}
    with pytest.raises(ValueError, match="windows of scenes are at another place each time"):
        images_showing(dataset, [2])


# --- Commands -----------------------------------------------------------------------------------------------------


def test_scenes_and_images_are_checked_trained_on_and_scored(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = str(place / "mixed.yaml")
    assert main(["data", "check", mixed]) == 0
    said = capsys.readouterr().out
    assert "land train" in said
    assert "tiles val" in said
    run = tmp_path / "run"
    assert main(["train", "fast_scnn", "--data", mixed, "--out", str(run), "--for", "2 steps", *FAST]) == 0
    report = json.loads((run / "eval.json").read_text())
    assert report["parts"]["tiles"]["images"] == 3
    assert report["parts"]["land"]["images"] == len(read(run / "data.yaml").members[0].description.pairs("val"))
    assert "water" in report["parts"]["tiles"]["absent"]
    out = tmp_path / "scores"
    assert main(["eval", str(run), "--data", mixed, "--out", str(out), "--device", "cpu", "--workers", "0"]) == 0
    assert json.loads((out / "eval.json").read_text())["parts"] == report["parts"]
    assert main(["data", "show", mixed, "--out", str(tmp_path / "sheet.png")]) == 0
    assert Image.open(tmp_path / "sheet.png").width > 300


def test_scenes_by_block_and_images_are_divided_in_one_call(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "split", str(place / "mixed.yaml"), "-o", str(tmp_path / "out"), "--pool", "train"]
    assert main([*words, "--folds", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["things"] == "images and blocks"
    held: list[set[str]] = []
    for number in (1, 2):
        fold = read(tmp_path / "out" / f"fold_{number}.yaml")
        assert units(fold, "val") | units(fold, "train") == {f"land/north/{r}_{c}" for r in (0, 1) for c in (0, 1, 2)}
        assert not units(fold, "val") & units(fold, "train")
        assert files(fold, "val") | files(fold, "train") == {f"t{n}_train.png" for n in range(5)}
        assert len(units(fold, "val")) == 3
        held.append(units(fold, "val") | files(fold, "val"))
    assert not held[0] & held[1]
    assert main(["data", "check", str(tmp_path / "out/fold_1.yaml")]) == 0


def test_a_training_is_validated_on_its_fold_of_both(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise ValueError("data are ready")

    monkeypatch.setattr("intarsia.workflows.train.run_config", stop)
    words = ["train", "fast_scnn", "--data", str(place / "mixed.yaml"), "--out", str(tmp_path / "run")]
    assert main([*words, "--fold", "1/2"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "images and blocks to train on" in said
    assert "data are ready" in said


def test_labels_of_both_are_converted(place: Path, tmp_path: Path) -> None:
    assert main(["data", "convert", str(place / "mixed.yaml"), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/land/labels/north.tif").is_file()
    before, after = read(place / "mixed.yaml"), read(tmp_path / "out/data.yaml")
    for split in ("train", "val"):
        drawn, stored = before.dataset(split), after.dataset(split)
        assert len(drawn) == len(stored)
        for index in range(len(drawn)):
            assert np.array_equal(drawn.load(index).image, stored.load(index).image)
            assert np.array_equal(drawn.load(index).label, stored.load(index).label)


def test_blocks_on_the_same_ground_stay_together_in_all_data_sets(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(two)]) == 0
    assert "a block of scenes in train shows the ground of one in val, in another data set" in " ".join(
        capsys.readouterr().out.split()
    )
    words = ["data", "split", str(two), "-o", str(tmp_path / "out"), "--val", "0.3"]
    assert main(words) == 0
    divided = read(tmp_path / "out/data.yaml")
    places = {name: {unit.split("/")[2] for unit in units(divided, "val") if unit.startswith(name)}
              for name in ("land", "water")}  # fmt: skip
    assert places["land"] == places["water"] != set()
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path / "out/data.yaml")]) == 0
    assert "in another data set" not in " ".join(capsys.readouterr().out.split())


def test_scenes_and_images_of_one_description_are_told_how_to_be_divided(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "both.yaml"
    text = LAND.replace("scenes: scenes", "scenes: land/scenes").replace("things.geo", "land/things.geo")
    own = "  test: {images: tiles/images/val, labels: tiles/labels/val}\n"
    file.write_text(text + own, encoding="utf-8")
    words = ["data", "split", str(file), "-o", str(tmp_path / "out"), "--pool", "train,test", "--folds", "2"]
    assert main(words) == 2
    assert "in a file each, and list both in a third" in " ".join(capsys.readouterr().err.split())


def test_the_same_file_with_two_kinds_of_labels_is_the_same_ground(two: Path) -> None:
    """Also where it lies nowhere."""
    file = write_scene(two.parent / "land/plain.tif", noise(H, W), crs=None)
    rule = SceneSplit(("plain.tif",), None, window=32, margin=4, block=64)
    windows = find_windows(two.parent / "land", rule).windows
    other = [replace(window, unit=f"other/{window.unit}") for window in windows]
    pairs = set(blocks_on_same_ground(file.parent, [*windows, *other]))
    assert pairs == {(window.unit, f"other/{window.unit}") for window in windows}
    elsewhere = [replace(window, scene="none.tif", unit=f"none/{window.unit}") for window in windows]
    write_scene(two.parent / "land/none.tif", noise(H, W), crs=None)
    assert not list(blocks_on_same_ground(file.parent, [*windows, *elsewhere]))


# --- Less labels --------------------------------------------------------------------------------------------------


def test_windows_of_images_without_labels_are_read_as_those_with(place: Path) -> None:
    """Small images and scenes alike; what a scene has no data for is no pixel of an image."""
    labelled = read_description(place / "land/data.yaml").dataset("train")
    assert isinstance(labelled, SceneDataset)
    image = noise(H, W, seed=8)
    image[:, :40] = 0
    write_scene(place / "more/south.tif", image, nodata=0)
    images = labelled.of_images(str(place), ["more/south.tif", "tiles/images/train/t0_train.png"])
    assert len({images.paths(index)[0] for index in range(len(images))}) == 2
    assert all(images.paths(index)[1] is None for index in range(len(images)))
    views = weak_views(images, [])
    middle = next(index for index, window in enumerate(images.windows) if window.cell.top > 50)
    windows = {views.get(middle, sample_rng(0, position)).image.tobytes() for position in range(6)}
    assert len(windows) > 1
    top = views.get(0, sample_rng(0, 0))
    assert top.label is not None
    assert np.array_equal(top.label, np.where((top.image == 0).all(2), 255, 0))
    last = views.get(len(views) - 1, sample_rng(0, 0))
    assert last.label is not None
    assert not last.label.any()


def test_features_that_are_kept_know_the_file_of_a_window(place: Path) -> None:
    views = FixedViews(Pipeline(read(place / "mixed.yaml").dataset("train"), []), 1, 0)
    assert "north.tif" in views.identity(0)
    assert "t4_train.png" in views.identity(len(views) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["mixed.yaml", "land/data.yaml"])
def test_a_training_with_images_without_labels(
    place: Path, tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "small_r18", "--data", str(place / data), "--for", "2 steps", *FAST]
    assert main([*words, "--out", str(tmp_path / "run"), "--unlabelled", str(place / "tiles/images")]) == 0
    found = "32 images" if data.startswith("land") else "5 images (3 more are labels, or judge the run)"
    assert f"unlabelled: {found}" in " ".join("".join(capsys.readouterr()).split())


@pytest.mark.slow
def test_scenes_and_images_are_cross_validated(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    words = ["cv", "small_r18", "--data", str(place / "mixed.yaml"), "--out", str(out), "--folds", "2"]
    assert main([*words, "--for", "1 steps", *FAST]) == 0
    found = json.loads((out / "cv.json").read_text())
    assert found["status"] == "finished"
    assert main(["data", "suspects", str(out), "--top", "3", "--workers", "0", "--device", "cpu"]) == 0


# --- In one description -------------------------------------------------------------------------------------------

TOGETHER = """\
classes: [background, roof, pool]
labels: {0: background, 1: roof, 2: pool}
splits:
  train:
    - {scenes: land/scenes, labels: land/things.geojson, column: kind, window: 32, margin: 4, block: 64}
    - {images: tiles/images/train, labels: tiles/labels/train}
  val: {share: 0.3, of: train}
"""
APART = """\
classes: [background, roof, pool]
labels: {0: background, 1: roof, 2: pool}
splits:
  train: {scenes: land/scenes, labels: land/things.geojson, column: kind, window: 32, margin: 4, block: 64}
  val: {images: tiles/images/val, labels: tiles/labels/val}
"""


def written(error: str, root: Path) -> MixedDescription:
    """The files that an error proposes, as a user copies them."""
    name, files = "", dict[str, list[str]]()
    for line in error.splitlines()[1:]:
        if line.startswith("    "):
            files[name].append(line[4:])
        else:
            name = line.rstrip(":")
            files[name] = []
    for name, lines in files.items():
        (root / name).write_text("\n".join(lines), encoding="utf-8")
    description = read_description(root / "both.yaml")
    assert isinstance(description, MixedDescription)
    return description


def test_scenes_and_images_in_one_split_are_refused_with_the_files_to_write(tmp_path: Path) -> None:
    land(tmp_path / "land")
    tiles(tmp_path / "tiles")
    (tmp_path / "data.yaml").write_text(TOGETHER)
    with pytest.raises(ValueError, match=r"data.yaml:4: splits.train: some of these sources are scenes") as caught:
        read_description(tmp_path / "data.yaml")
    description = written(str(caught.value), tmp_path)
    members = [member.description for member in description.members]
    assert [member.shows_scenes("train") for member in members] == [True, False]
    assert all(set(member.splits) == {"train", "val"} for member in members)
    assert len(description.dataset("train")) == sum(len(member.dataset("train")) for member in members)
    assert {np.unique(description.dataset("train").load(n).label).max() for n in range(3)} <= {0, 1, 2, 255}


def test_splits_of_scenes_and_of_images_are_divided_as_the_error_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    land(tmp_path / "land")
    tiles(tmp_path / "tiles")
    (tmp_path / "data.yaml").write_text(APART)
    words = ["--pool", "train,val", "-o", str(tmp_path / "out")]
    assert main(["data", "split", str(tmp_path / "data.yaml"), *words]) != 0
    error = capsys.readouterr().err
    assert "train, val are windows of scenes and images, which are divided each by itself" in error
    written(error.strip(), tmp_path)
    assert main(["data", "split", str(tmp_path / "both.yaml"), *words]) == 0
