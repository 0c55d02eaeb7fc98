"""Windows of scenes hold what the scene holds there, each pixel counts once, and labels are those of the whole."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import UTM, grid, noise, on_earth, triangles, write_package, write_scene, write_shapes  # noqa: E402
from rasterio.features import rasterize  # noqa: E402
from rasterio.shutil import copy as copy_raster  # noqa: E402

from intarsia.data.description.model import DataDescription  # noqa: E402
from intarsia.data.description.splits import ShareSplit  # noqa: E402
from intarsia.data.pipeline import Pipeline  # noqa: E402
from intarsia.data.sampling import sample_rng  # noqa: E402
from intarsia.data.scenes.dataset import SceneDataset, open_scene  # noqa: E402
from intarsia.data.scenes.georeference import Area  # noqa: E402
from intarsia.data.scenes.grid import around, blocks, cells, drawn, within  # noqa: E402
from intarsia.data.scenes.rule import SceneSplit  # noqa: E402

H, W = 230, 310
LABELS = {0: "background", 1: "roof", 2: "pool"}


def described(root: Path, rule: SceneSplit, **more: object) -> DataDescription:
    values = {"classes": ("background", "roof", "pool"), "labels": LABELS, "splits": {"train": rule}, **more}
    return DataDescription(root=root, **values)  # type: ignore[arg-type]


def dataset_of(description: DataDescription, split: str = "train") -> SceneDataset:
    dataset = description.dataset(split)
    assert isinstance(dataset, SceneDataset)
    return dataset


def rule_of(**more: object) -> SceneSplit:
    return SceneSplit(**{"scenes": ("scenes",), "labels": "things.geojson", "column": "kind", "window": 64,
                         "margin": 8, "block": 100, **more})  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_scene(tmp_path / "scenes/north.tif", noise(H, W))
    write_shapes(tmp_path / "things.geojson", triangles(25, H, W))
    return tmp_path


def whole_label(shapes: list, *, column: str = "code", shape: tuple[int, int] = (H, W)) -> np.ndarray:
    """Of the whole scene, by rasterio alone."""
    geometries = [({"type": "Polygon", "coordinates": [on_earth(ring)]}, columns[column]) for ring, columns in shapes]
    return rasterize(geometries, out_shape=shape, transform=grid())


# --- Arithmetic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(230, 310), (100, 1000), (37, 41), (64, 64)])
@pytest.mark.parametrize("block", [0, 64, 100])
def test_blocks_and_cells_tile_a_scene(size: tuple[int, int], block: int) -> None:
    count = np.zeros(size, int)
    names = []
    for name, area in blocks(size, block):
        names.append(name)
        assert not block or (area.height >= min(block, size[0]) and area.width >= min(block, size[1]))
        for cell in cells(area, 48):
            assert 0 < cell.height <= 48
            assert 0 < cell.width <= 48
            count[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width] += 1
    assert (count == 1).all()
    assert len(set(names)) == len(names)


def test_windows_lie_in_the_scene_around_their_cell() -> None:
    for _, block in blocks((230, 310), 100):
        for cell in cells(block, 48):
            area = around(cell, (230, 310), 64)
            assert (area.height, area.width) == (64, 64)
            assert 0 <= area.top <= 230 - 64
            assert 0 <= area.left <= 310 - 64
            rows, columns = within(cell, area)
            assert rows.start >= 0
            assert rows.stop <= 64
            assert columns.start >= 0
            assert columns.stop <= 64
    assert around(Area(10, 5, 20, 20), (40, 50), 64) == Area(0, 0, 40, 50)


def test_drawn_windows_do_not_leave_their_block_and_reach_all_of_it() -> None:
    rng = np.random.default_rng(3)
    block = Area(100, 200, 130, 150)
    seen = np.zeros((230, 350), bool)
    for _ in range(200):
        for cell in cells(block, 48):
            area = drawn(cell, block, 64, rng)
            assert (area.height, area.width) == (64, 64)
            rows, columns = within(area, block)
            assert rows.start >= 0
            assert rows.stop <= 130
            assert columns.start >= 0
            assert columns.stop <= 150
            seen[area.top : area.top + 64, area.left : area.left + 64] = True
    assert seen[100:230, 200:350].all()


# --- What is read -------------------------------------------------------------------------------------------------


def test_a_window_is_the_slice_of_the_whole(place: Path) -> None:
    dataset = dataset_of(described(place, rule_of()))
    with rasterio.open(place / "scenes/north.tif") as source:
        whole = np.moveaxis(source.read(), 0, 2)
    for index, window in enumerate(dataset.windows):
        area = around(window.cell, (H, W), 64)
        assert (dataset.load(index).image == whole[area.top : area.top + 64, area.left : area.left + 64]).all()


@pytest.mark.parametrize("kind", ["geojson", "package", "raster"])
def test_labels_are_those_of_the_whole_and_each_pixel_counts_once(place: Path, kind: str) -> None:
    shapes = triangles(25, H, W)
    expected = whole_label(shapes)
    more: dict[str, object] = {}
    if kind == "package":
        write_package(place / "things.gpkg", {"other": shapes[:1], "things": shapes})
        more = {"labels": "things.gpkg", "layer": "things"}
    elif kind == "raster":
        write_scene(place / "labels/north.tif", expected[None])
        more = {"labels": "labels", "column": ""}
    dataset = dataset_of(described(place, rule_of(**more)))
    found, count = np.zeros((H, W), int), np.zeros((H, W), int)
    for index, window in enumerate(dataset.windows):
        label = dataset.load(index).label
        assert label is not None
        area = around(window.cell, (H, W), 64)
        inside = np.s_[area.top : area.top + area.height, area.left : area.left + area.width]
        count[inside] += label != 255
        found[inside] = np.where(label != 255, label, found[inside])
    assert (count == 1).all()
    assert set(np.unique(expected)) == {0, 1, 2}
    assert (found == expected).all()


def test_a_number_in_a_column_is_the_value_itself(place: Path) -> None:
    by_text, by_number = (dataset_of(described(place, rule_of(column=name))) for name in ("kind", "code"))
    for index in range(len(by_text)):
        first, second = by_text.load(index).label, by_number.load(index).label
        assert first is not None
        assert second is not None
        assert (first == second).all()


def test_one_class_needs_no_column(place: Path) -> None:
    description = described(
        place, rule_of(column=""), classes=("background", "thing"), labels={0: "background", 1: "thing"}
    )
    dataset = dataset_of(description)
    expected = whole_label(triangles(25, H, W)) > 0
    found = np.zeros((H, W), int)
    for index, window in enumerate(dataset.windows):
        label, area = dataset.load(index).label, around(window.cell, (H, W), 64)
        found[area.top : area.top + 64, area.left : area.left + 64] += label == 1
    assert 0 < expected.sum() < expected.size
    assert (found == expected).all()


def test_nothing_is_learned_where_there_is_no_data(tmp_path: Path) -> None:
    image = noise(H, W)
    image[:, 20:60, 30:90] = 0
    write_scene(tmp_path / "scenes/north.tif", image, nodata=0)
    write_shapes(tmp_path / "things.geojson", triangles(25, H, W))
    dataset = dataset_of(described(tmp_path, rule_of(window=256, margin=0, block=0)))
    sample = dataset.load(0)
    assert sample.label is not None
    hidden = (image[:, : sample.label.shape[0], : sample.label.shape[1]] == 0).all(axis=0)
    counted = np.zeros(hidden.shape, bool)
    counted[within(dataset.windows[0].cell, around(dataset.windows[0].cell, (H, W), 256))] = True
    assert hidden[counted].sum() == 40 * 60
    assert ((sample.label == 255) == (hidden | ~counted)).all()
    assert (sample.image[hidden] == 0).all()


# --- What training draws ------------------------------------------------------------------------------------------


def test_what_training_sees_is_a_function_of_seed_and_position(place: Path) -> None:
    pipeline, again = (Pipeline(dataset_of(described(place, rule_of())), []) for _ in range(2))
    first = [pipeline.get(3, sample_rng(7, position)) for position in range(6)]
    second = [again.get(3, sample_rng(7, position)) for position in reversed(range(6))][::-1]
    assert all((a.image == b.image).all() and (a.label == b.label).all() for a, b in zip(first, second, strict=True))
    assert len({sample.image.tobytes() for sample in first}) > 3
    fixed = Pipeline(dataset_of(described(place, rule_of())), [], label_size="original")
    assert len({fixed.get(3, sample_rng(7, position)).image.tobytes() for position in range(3)}) == 1


def test_drawn_windows_carry_the_labels_of_their_place(place: Path) -> None:
    dataset = dataset_of(described(place, rule_of()))
    expected = whole_label(triangles(25, H, W))
    with rasterio.open(place / "scenes/north.tif") as source:
        whole = np.moveaxis(source.read(), 0, 2)
    for index in range(0, len(dataset), 3):
        sample = dataset.draw(index, np.random.default_rng(index))
        window = dataset.windows[index]
        area = drawn(window.cell, window.block, 64, np.random.default_rng(index))
        inside = np.s_[area.top : area.top + 64, area.left : area.left + 64]
        assert (sample.image == whole[inside]).all()
        assert (sample.label == expected[inside]).all()


def test_no_more_is_read_than_the_window(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(described(place, rule_of()))
    scene = open_scene(place / "scenes/north.tif", dataset._reader)
    asked: list[Area] = []
    read = scene._read
    monkeypatch.setattr(scene, "_read", lambda area, bands: asked.append(area) or read(area, bands))
    dataset.draw(4, np.random.default_rng(0))
    assert [(area.height, area.width) for area in asked] == [(64, 64)]


# --- Splits by area -----------------------------------------------------------------------------------------------


def test_a_share_takes_whole_blocks(place: Path) -> None:
    write_scene(place / "scenes/south.tif", noise(H, W, seed=1))
    description = described(place, rule_of(), splits={"train": rule_of(), "val": ShareSplit(0.4, "train", 1)})
    train, val = (description.dataset(split) for split in ("train", "val"))
    assert isinstance(train, SceneDataset)
    assert isinstance(val, SceneDataset)
    assert not {window.unit for window in train.windows} & {window.unit for window in val.windows}
    assert {window.unit for window in (*train.windows, *val.windows)} == {
        f"{name}/{row}_{column}" for name in ("north", "south") for row in range(2) for column in range(3)
    }
    seen, validated = (np.zeros((H, W), bool) for _ in range(2))
    rng = np.random.default_rng(0)
    for window in (window for window in train.windows if window.scene == "scenes/north.tif"):
        for _ in range(50):
            area = drawn(window.cell, window.block, 64, rng)
            seen[area.top : area.top + 64, area.left : area.left + 64] = True
    for window in (window for window in val.windows if window.scene == "scenes/north.tif"):
        area = window.cell
        validated[area.top : area.top + area.height, area.left : area.left + area.width] = True
    assert seen.any()
    assert validated.any()
    assert not (seen & validated).any()


def test_another_scene_moves_no_block(place: Path) -> None:
    splits = {"train": rule_of(), "val": ShareSplit(0.4, "train", 1)}
    before = {window.unit for window in dataset_of(described(place, rule_of(), splits=splits), "val").windows}
    write_scene(place / "scenes/south.tif", noise(H, W, seed=1))
    after = {window.unit for window in dataset_of(described(place, rule_of(), splits=splits), "val").windows}
    assert before
    assert {unit for unit in after if unit.startswith("north")} == before


def test_areas_of_a_vector_file_make_the_splits(place: Path) -> None:
    areas = [
        ([(0, 0), (150, 0), (150, 230), (0, 230)], {"part": "train"}),
        ([(150, 0), (310, 0), (310, 230), (150, 230)], {"part": "val"}),
    ]
    write_shapes(place / "areas.geojson", areas)
    rules = {name: rule_of(areas="areas.geojson", where=("part", name)) for name in ("train", "val")}
    description = described(place, rules["train"], splits=rules)
    counts = {}
    for split in rules:
        dataset = dataset_of(description, split)
        count = np.zeros((H, W), int)
        for index, window in enumerate(dataset.windows):
            area = around(window.cell, (H, W), 64)
            count[area.top : area.top + 64, area.left : area.left + 64] += dataset.load(index).label != 255
        counts[split] = count
    assert (counts["train"][:, :150] == 1).all()
    assert (counts["train"][:, 150:] == 0).all()
    assert (counts["val"] == 1 - counts["train"]).all()


def test_whole_scenes_make_the_splits(place: Path) -> None:
    for name in ("b", "c", "d"):
        write_scene(place / f"scenes/{name}.tif", noise(H, W))
    splits = {"train": rule_of(block=0), "val": ShareSplit(0.5, "train", 2)}
    description = described(place, rule_of(), splits=splits)
    scenes = {split: {window.scene for window in dataset_of(description, split).windows} for split in splits}
    assert scenes["train"]
    assert scenes["val"]
    assert not scenes["train"] & scenes["val"]
    only = described(place, rule_of(), splits={"train": rule_of(scenes=("scenes/b.tif", "scenes/c.tif"))})
    assert {window.scene for window in dataset_of(only).windows} == {"scenes/b.tif", "scenes/c.tif"}


# --- Processes ----------------------------------------------------------------------------------------------------


def _worked(dataset: SceneDataset, queue: object) -> None:
    scene = open_scene(Path(dataset.root, dataset.windows[0].scene), dataset._reader)
    queue.put((os.getpid(), id(scene), dataset.load(2).image.tobytes()))  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_no_handle_crosses_a_fork(place: Path) -> None:
    dataset = dataset_of(described(place, rule_of()))
    expected = dataset.load(2).image.tobytes()
    scene = open_scene(place / "scenes/north.tif", dataset._reader)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_worked, args=(dataset, queue))
    process.start()
    pid, identity, image = queue.get(timeout=60)
    process.join()
    assert pid != os.getpid()
    assert identity != id(scene)
    assert image == expected
    assert not scene._source.closed
    assert dataset.load(2).image.tobytes() == expected


def test_a_changed_file_is_opened_anew(place: Path) -> None:
    dataset = dataset_of(described(place, rule_of()))
    before = dataset.load(0).image
    write_scene(place / "scenes/north.tif", noise(H, W, seed=5), crs=UTM)
    os.utime(place / "scenes/north.tif", (1, 1))
    assert (dataset.load(0).image != before).any()


# --- Kinds of files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["VRT", "COG"])
def test_other_kinds_of_scenes(place: Path, driver: str) -> None:
    suffix = {"VRT": "vrt", "COG": "tif"}[driver]
    copy_raster(place / "scenes/north.tif", place / f"other.{suffix}", driver=driver)
    plain = dataset_of(described(place, rule_of()))
    other = dataset_of(described(place, rule_of(scenes=(f"other.{suffix}",))))
    assert len(plain) == len(other)
    for index in (0, 7, len(plain) - 1):
        first, second = plain.load(index), other.load(index)
        assert (first.image == second.image).all()
        assert first.label is not None
        assert (first.label == second.label).all()


def test_a_scene_that_is_turned_on_earth(place: Path) -> None:
    turned = grid() @ rasterio.Affine.rotation(30) if hasattr(rasterio.Affine, "__matmul__") else None
    turned = grid() * rasterio.Affine.rotation(30) if turned is None else turned
    write_scene(place / "scenes/north.tif", noise(H, W), transform=turned)
    shapes = triangles(25, H, W)
    write_shapes(place / "things.geojson", shapes, transform=turned)
    expected = whole_label(shapes)  # in pixels it is the same
    dataset = dataset_of(described(place, rule_of()))
    found = np.zeros((H, W), int)
    for index, window in enumerate(dataset.windows):
        label, area = dataset.load(index).label, around(window.cell, (H, W), 64)
        inside = np.s_[area.top : area.top + area.height, area.left : area.left + area.width]
        found[inside] = np.where(label != 255, label, found[inside])
    assert (found != expected).sum() <= 2  # centres on an edge, but for the rounding of a turn
