"""Scenes divided into splits and folds by their blocks, and their labels as rasters of class indices."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import grid, noise, triangles, write_scene, write_shapes  # noqa: E402

from intarsia.cli.main import main  # noqa: E402
from intarsia.data.description.model import DataDescription  # noqa: E402
from intarsia.data.description.read import read_description  # noqa: E402
from intarsia.data.description.splits import JoinedSplit, ShareSplit  # noqa: E402
from intarsia.data.description.write import write_description  # noqa: E402
from intarsia.data.scenes.dataset import SceneDataset  # noqa: E402
from intarsia.data.scenes.grid import drawn  # noqa: E402
from intarsia.data.scenes.rule import SceneSplit  # noqa: E402

HEAD = "root: .\nclasses: [background, roof, pool]\nlabels: {0: background, 1: roof, 2: pool}\nsplits:\n"
H, W = 128, 192
RULE = "{scenes: scenes, labels: things.geojson, column: kind, window: 32, margin: 4, block: 64}"


def described(folder: Path, train: str = RULE, more: str = "") -> Path:
    file = folder / "data.yaml"
    file.write_text(f"{HEAD}  train: {train}\n{more}", encoding="utf-8")
    return file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """One scene of 2 x 3 blocks."""
    write_scene(tmp_path / "land/scenes/north.tif", noise(H, W))
    write_shapes(tmp_path / "land/things.geojson", triangles(25, H, W))
    return tmp_path / "land"


def units(description: DataDescription, split: str) -> set[str]:
    return {pair.window.unit for pair in description.pairs(split) if pair.window is not None}


def counted(description: DataDescription, split: str) -> np.ndarray:
    """How often each pixel of the scene has a label in the samples of an evaluation."""
    found = np.zeros((H, W), np.int64)
    dataset = description.dataset(split)
    assert isinstance(dataset, SceneDataset)
    for index, window in enumerate(dataset.windows):
        label = dataset.load(index).label
        assert label is not None
        top = min(max(round(window.cell.top + window.cell.height / 2 - 16), 0), H - 32)
        left = min(max(round(window.cell.left + window.cell.width / 2 - 16), 0), W - 32)
        found[top : top + 32, left : left + 32] += label != 255
    return found


def test_folds_of_one_scene_are_blocks_with_a_margin_between(place: Path, tmp_path: Path) -> None:
    assert main(["data", "split", str(described(place)), "-o", str(tmp_path / "out"), "--folds", "3"]) == 0
    held = np.zeros((H, W), np.int64)
    for number in (1, 2, 3):
        fold = read_description(tmp_path / "out" / f"fold_{number}.yaml")
        val, train = units(fold, "val"), units(fold, "train")
        assert len(val) == 2
        assert val | train == {f"north/{row}_{column}" for row in (0, 1) for column in (0, 1, 2)}
        assert not val & train
        mine = np.zeros((H, W), bool)
        for unit in val:
            row, column = map(int, unit.split("/")[1].split("_"))
            mine[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] = True
        validated = counted(fold, "val")
        assert np.array_equal(validated, mine.astype(int))
        held += validated
        near = np.zeros((H + 8, W + 8), bool)
        for top in range(9):
            for left in range(9):
                near[top : top + H, left : left + W] |= mine
        assert np.array_equal(counted(fold, "train"), (~near[4:-4, 4:-4]).astype(int))
        dataset = fold.dataset("train")
        assert isinstance(dataset, SceneDataset)
        for index in range(len(dataset)):  # nor does training draw a label from there
            sample = dataset.draw(index, np.random.default_rng(index))
            area = drawn(dataset.windows[index].cell, dataset.windows[index].block, 32, np.random.default_rng(index))
            seen = near[4:-4, 4:-4][area.top : area.top + 32, area.left : area.left + 32]
            assert sample.label is not None
            assert np.array_equal(sample.label == 255, seen)
        text = (tmp_path / "out" / f"fold_{number}_train.txt").read_text()
        assert set(text.split()) == train
    assert (held == 1).all()


def test_the_split_is_written_into_a_description_that_is_checked(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "split", str(described(place)), "-o", str(tmp_path / "out"), "--val", "0.34", "--test", "0.17"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["things"] == "blocks"
    assert {part["name"]: part["images"] for part in found["parts"]} == {"train": 3, "val": 2, "test": 1}
    assert sum(found["parts"][0]["shares"].values()) == pytest.approx(1)
    description = read_description(tmp_path / "out/data.yaml")
    train, test = (description.splits[name] for name in ("train", "test"))
    assert isinstance(train, SceneSplit)
    assert isinstance(test, SceneSplit)
    assert (train.gap, test.gap) == (4, 0)
    assert main(["data", "check", str(tmp_path / "out/data.yaml")]) == 0
    # What is divided again keeps the test split and the gap to it.
    again = ["data", "split", str(tmp_path / "out/data.yaml"), "-o", str(tmp_path / "two"), "--folds", "2"]
    assert main([*again, "--pool", "train,val"]) == 0
    fold = read_description(tmp_path / "two/fold_1.yaml")
    assert units(fold, "test") == units(description, "test")
    assert isinstance(fold.splits["train"], JoinedSplit | SceneSplit)
    assert not units(fold, "train") & (units(fold, "val") | units(fold, "test"))


def test_blocks_on_the_same_ground_stay_together(tmp_path: Path) -> None:
    """Two dates of one place, and a third scene beside it."""
    for number, (name, left) in enumerate((("may", 400_000.0), ("june", 400_000.0), ("east", 400_096.0))):
        write_scene(tmp_path / f"scenes/{name}.tif", noise(H, W, seed=number), transform=grid(left=left))
    write_shapes(tmp_path / "things.geojson", triangles(25, H, 2 * W))
    assert main(["data", "split", str(described(tmp_path)), "-o", str(tmp_path / "out"), "--folds", "3"]) == 0
    for number in (1, 2, 3):
        val = units(read_description(tmp_path / "out" / f"fold_{number}.yaml"), "val")
        dates = [{unit.split("/")[1] for unit in val if unit.startswith(name)} for name in ("may", "june")]
        assert dates[0] == dates[1]


def test_one_whole_scene_cannot_be_divided(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = described(place, RULE.replace("block: 64", "block: scene"))
    assert main(["data", "split", str(file), "-o", str(tmp_path / "out"), "--folds", "2"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be divided into 2 parts" in said
    assert "a smaller `block:` in the description (of at least its window) makes more of them" in said


def test_whole_scenes_and_groups_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        left = 400_000.0 + 96 * number
        write_scene(tmp_path / f"scenes/site{number // 2}_{number}.tif", noise(H, W), transform=grid(left=left))
    write_shapes(tmp_path / "things.geojson", triangles(60, H, 4 * W))
    whole = described(tmp_path, RULE.replace("block: 64", "block: scene"))
    assert main(["data", "split", str(whole), "-o", str(tmp_path / "a"), "--folds", "4"]) == 0
    held = [units(read_description(tmp_path / "a" / f"fold_{n}.yaml"), "val") for n in (1, 2, 3, 4)]
    assert sorted(unit for fold in held for unit in fold) == [f"site{n // 2}_{n}/0_0" for n in range(4)]
    blocks = described(tmp_path)
    words = ["data", "split", str(blocks), "-o", str(tmp_path / "b"), "--folds", "2", "--by", r"site\d"]
    assert main(words) == 0
    val = units(read_description(tmp_path / "b/fold_1.yaml"), "val")
    assert len({unit[:5] for unit in val}) == 1
    assert len(val) == 12
    assert main(["data", "split", str(blocks), "-o", str(tmp_path / "c"), "--by", "copies"]) == 2
    assert "scenes say by their place which ground they share" in " ".join(capsys.readouterr().err.split())


def test_a_list_of_blocks_that_are_not_there(place: Path) -> None:
    (place / "own.txt").write_text("north/0_0\nnorth/7_1\n")
    file = described(place, RULE.replace("window", "list: own.txt, window"))
    with pytest.raises(ValueError, match=r"own\.txt: 1 names have no image .*north/7_1"):
        read_description(file).pairs("train")
    with pytest.raises(ValueError, match="gap: expected 0 or more pixels beside a `list`"):
        read_description(described(place, RULE.replace("window", "gap: 3, window")))


def test_lists_and_several_rules_are_written_as_they_were_read(place: Path) -> None:
    rule = SceneSplit(("scenes",), "things.geojson", column="kind", names="own.txt", gap=7, block=600)
    description = DataDescription(
        root=place,
        classes=("background", "roof", "pool"),
        labels={0: "background", 1: "roof", 2: "pool"},
        splits={"train": JoinedSplit((rule, SceneSplit(("more",), "x.tif"))), "val": ShareSplit(0.2)},
    )
    write_description(description, place / "data.yaml")
    assert read_description(place / "data.yaml") == description
    file = described(place, "[{scenes: scenes}, {images: a, labels: b}]")
    with pytest.raises(ValueError, match="scenes and images in a file each, and list both in a third"):
        read_description(file)


def test_a_training_is_validated_on_its_fold(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise ValueError("data are ready")

    monkeypatch.setattr("intarsia.workflows.train.run_config", stop)
    words = ["train", "fast_scnn", "--data", str(described(place)), "--out", str(tmp_path / "run"), "--fold", "2/3"]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "fold 2/3: 4 blocks to train on, 2 to validate on" in said
    assert "data are ready" in said
    assert len(units(read_description(tmp_path / "run/data.yaml"), "val")) == 2


# --- Labels as rasters --------------------------------------------------------------------------------------------


def test_labels_become_rasters_on_the_pixels_of_their_scene(place: Path, tmp_path: Path) -> None:
    with rasterio.open(place / "scenes/north.tif", "r+") as scene:
        scene.nodata = 0
        image = scene.read()
        image[:, :20, :30] = 0
        scene.write(image)
    file = described(place, more="  val: {share: 0.4, of: train}\n")
    assert main(["data", "convert", str(file), "-o", str(tmp_path / "out")]) == 0
    before, after = read_description(file), read_description(tmp_path / "out/data.yaml")
    rule = after.splits["train"]
    assert isinstance(rule, SceneSplit)
    assert rule.column == ""
    for split in ("train", "val"):
        drawn, stored = before.dataset(split), after.dataset(split)
        assert len(drawn) == len(stored)
        for index in range(len(drawn)):
            one, other = drawn.load(index), stored.load(index)
            assert np.array_equal(one.image, other.image)
            assert np.array_equal(one.label, other.label)
    with rasterio.open(tmp_path / "out/labels/north.tif") as labels, rasterio.open(place / "scenes/north.tif") as scene:
        assert (labels.crs, labels.transform, labels.shape) == (scene.crs, scene.transform, scene.shape)
        values = labels.read(1)
        assert (values[:20, :30] == 255).all()
        assert set(np.unique(values)) == {0, 1, 2, 255}
        assert labels.colormap(1)[0][:3] == after.colours[0]
        assert json.loads(labels.tags()["CLASS_NAMES"]) == ["background", "roof", "pool"]
    assert main(["data", "check", str(tmp_path / "out/data.yaml")]) == 0


def test_one_foreground_and_areas_of_splits(place: Path, tmp_path: Path) -> None:
    """Areas stay in the description; the raster has the labels of the whole scene."""
    parts = [([(0, 0), (100, 0), (100, H), (0, H)], {"part": "train"}), ([(100, 0), (W, 0), (W, H)], {"part": "val"})]
    write_shapes(place / "areas.geojson", parts)
    rule = (
        "{{scenes: scenes, labels: things.geojson, areas: areas.geojson, where: {{part: {}}}, window: 32, block: 64}}"
    )
    (place / "data.yaml").write_text(
        "root: .\nclasses: [thing]\nlabels: {0: background, 1: thing}\nsplits:\n"
        f"  train: {rule.format('train')}\n  val: {rule.format('val')}\n"
    )
    assert main(["data", "convert", str(place / "data.yaml"), "-o", str(place / "out")]) == 0
    before, after = read_description(place / "data.yaml"), read_description(place / "out/data.yaml")
    for split in ("train", "val"):
        drawn, stored = before.dataset(split), after.dataset(split)
        assert len(drawn) == len(stored) > 0
        assert all(np.array_equal(drawn.load(n).label, stored.load(n).label) for n in range(len(drawn)))
    with rasterio.open(place / "out/labels/north.tif") as labels:
        assert (labels.read(1) != 255).all()
        assert labels.colormap(1)[1][:3] == after.colours[0]


# --- Cross-validation ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_folds_of_a_scene_are_trained_scored_together_and_searched_for_suspects(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    words = ["cv", "small_r18", "--data", str(described(place)), "--out", str(out), "--folds", "2", "--for", "1 steps"]
    assert main([*words, "--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu"]) == 0
    found = json.loads((out / "cv.json").read_text())
    assert found["status"] == "finished"
    assert len(found["scores"]["mIoU"]["folds"]) == 2
    assert found["scores"]["mIoU"]["std"] is not None
    with open(out / "eval.csv", encoding="utf-8", newline="") as file:
        assert sum(int(float(row["pixels"])) for row in csv.DictReader(file) if row.get("pixels")) == H * W
    assert main(["data", "suspects", str(out), "--top", "3", "--workers", "0", "--device", "cpu"]) == 0
