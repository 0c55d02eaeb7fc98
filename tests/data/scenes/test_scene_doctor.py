"""The doctor recognises folders of scenes, and proposes a description that finds the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import grid, noise, triangles, write_package, write_scene, write_shapes

from intarsia.data.description.read import read_description
from intarsia.data.description.splits import FolderSplit, ShareSplit
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.doctor.findings import Findings
from intarsia.data.scenes.rule import SceneSplit

H, W = 256, 320


def two_scenes(root: Path, *, folder: str = "scenes", **more: object) -> list:
    """Two scenes beside each other, and shapes on both."""
    write_scene(root / folder / "north.tif", noise(H, W), **more)
    place = grid(top=5_500_000 - H / 2)
    write_scene(root / folder / "south.tif", noise(H, W, seed=1), transform=place, **more)
    return [*triangles(12, H, W), *(([(x, y + H) for x, y in ring], row) for ring, row in triangles(12, H, W, seed=1))]


def rule_of(findings: Findings) -> SceneSplit:
    rule = findings.proposal().splits["train"]
    assert isinstance(rule, SceneSplit)
    return rule


@pytest.mark.parametrize("kind", ["geojson", "gpkg"])
def test_a_folder_of_scenes_and_one_vector_file(tmp_path: Path, kind: str) -> None:
    shapes = two_scenes(tmp_path)
    if kind == "gpkg":
        write_package(tmp_path / "things.gpkg", {"things": shapes})
    else:
        write_shapes(tmp_path / "things.geojson", shapes)
    findings = examine(tmp_path)
    assert findings.ok
    assert not findings.warnings
    rule = rule_of(findings)
    assert rule == SceneSplit(
        ("scenes",), f"things.{kind}", column="kind", window=128, margin=16, block=128, classes=()
    )  # the largest blocks of which there are twelve
    description = findings.proposal()
    assert description.classes == ("background", "roof", "pool")
    assert description.labels == {0: "background", 1: "roof", 2: "pool", 255: "ignore"}
    assert isinstance(description.splits["val"], ShareSplit)
    assert sum(row.pixels["train"] + row.pixels["val"] for row in findings.values) == 2 * H * W
    write_description(description, tmp_path / "data.yaml")
    again = examine(tmp_path / "data.yaml")
    assert again.ok
    assert again.values == findings.values
    assert read_description(tmp_path / "data.yaml").pairs("val") == description.pairs("val")


def test_numbers_in_a_column_are_values(tmp_path: Path) -> None:
    shapes = [(ring, {"id": n, "code": row["code"]}) for n, (ring, row) in enumerate(two_scenes(tmp_path))]
    write_shapes(tmp_path / "things.geojson", shapes)
    findings = examine(tmp_path)
    assert rule_of(findings).column == "code"
    assert {row.value: row.name for row in findings.values} == {0: "class_0", 1: "class_1", 2: "class_2"}


def test_shapes_without_classes_are_one(tmp_path: Path) -> None:
    write_shapes(
        tmp_path / "buildings.geojson", [(ring, {"id": n}) for n, (ring, _) in enumerate(two_scenes(tmp_path))]
    )
    findings = examine(tmp_path)
    assert rule_of(findings).column == ""
    assert findings.proposal().classes == ("background", "buildings")
    assert {row.name for row in findings.values} == {"background", "buildings"}
    assert findings.proposal().dataset("train").load(0).label is not None


def test_a_column_called_class_is_one_also_where_few_shapes_have_many(tmp_path: Path) -> None:
    """All became one class, which a note alone said; and of several files only the largest was asked for classes."""
    rings = [ring for ring, _ in two_scenes(tmp_path)]
    for name, own, words in (("north", rings[:3], "abc"), ("south", rings[12:14], "cd")):
        shapes = [(ring, {"id": n, "class": word}) for n, (ring, word) in enumerate(zip(own, words, strict=True))]
        write_shapes(tmp_path / f"shapes/{name}.geojson", shapes)
    findings = examine(tmp_path)
    assert rule_of(findings).column == "class"
    assert findings.proposal().classes == ("background", "a", "b", "c", "d")


def test_columns_that_may_name_classes_are_a_warning(tmp_path: Path) -> None:
    shapes = [(ring, {"id": n, "zone": n % 2}) for n, (ring, _) in enumerate(two_scenes(tmp_path) * 2)]
    write_shapes(tmp_path / "fields.geojson", shapes)
    (warning,) = [found for found in examine(tmp_path).warnings if found.kind == "names guessed"]
    assert "all are of one, fields" in warning.text
    assert "if zone does, write `column: NAME`" in warning.advice


def test_a_vector_file_for_each_scene_and_names_that_mean_something(tmp_path: Path) -> None:
    shapes = two_scenes(tmp_path)
    halves = {"north": shapes[:12], "south": [*shapes[12:], (shapes[12][0], {"kind": None, "code": 0})]}
    for name, own in halves.items():
        write_shapes(tmp_path / f"shapes/{name}.geojson", [(ring, {"kind": row["kind"]}) for ring, row in own])
    rule = rule_of(examine(tmp_path))
    assert rule.labels == "shapes/*.geojson"
    assert rule.classes == (("", "ignore"),)


def test_areas_and_folders_say_the_splits(tmp_path: Path) -> None:
    write_shapes(tmp_path / "things.geojson", two_scenes(tmp_path))
    areas = [([(0, y), (W, y), (W, y + H), (0, y + H)], {"part": word}) for y, word in ((0, "training"), (H, "valid"))]
    write_shapes(tmp_path / "areas.geojson", areas)
    splits = examine(tmp_path).proposal().splits
    assert list(splits) == ["train", "val"]
    for split, word in (("train", "training"), ("val", "valid")):
        rule = splits[split]
        assert isinstance(rule, SceneSplit)
        assert (rule.areas, rule.where) == ("areas.geojson", ("part", word))
    (tmp_path / "areas.geojson").unlink()
    for split, name in (("train", "north"), ("val", "south")):
        (tmp_path / split).mkdir()
        (tmp_path / f"scenes/{name}.tif").rename(tmp_path / f"{split}/{name}.tif")
    found = examine(tmp_path).proposal()
    assert {split: {pair.window.scene for pair in found.pairs(split) if pair.window} for split in found.splits} == {
        "train": {"train/north.tif"},
        "val": {"val/south.tif"},
    }


def test_large_images_with_label_rasters_become_scenes(tmp_path: Path) -> None:
    write_scene(tmp_path / "images/a.tif", noise(100, 2100))
    labels = np.zeros((1, 100, 2100), np.uint8)
    labels[:, 30:60, 50:1800] = 1
    write_scene(tmp_path / "labels/a.tif", labels)
    findings = examine(tmp_path)
    rule = rule_of(findings)
    assert (rule.scenes, rule.labels, rule.window) == (("images",), "labels", 64)
    assert findings.values[1].pixels["train"] + findings.values[1].pixels["val"] == 30 * 1750
    write_scene(tmp_path / "images/a.tif", noise(100, 2000))
    write_scene(tmp_path / "labels/a.tif", labels[:, :, :2000])
    assert isinstance(examine(tmp_path).proposal().splits["train"], FolderSplit)


def test_labels_of_another_resolution_become_scenes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scene(tmp_path / f"x/{name}_rgb.tif", noise(128, 128))
        label = np.zeros((1, 64, 64), np.uint8)
        label[:, 20:40] = 1
        write_scene(tmp_path / f"x/{name}_mask.tif", label, transform=grid(pixel=1.0))
    findings = examine(tmp_path)
    rule = rule_of(findings)
    assert (rule.scenes, rule.labels) == (("x/*_rgb.tif",), "x/*_mask.tif")
    assert {row.value: row.pixels["train"] + row.pixels["val"] for row in findings.values} == {
        0: 2 * 88 * 128,
        1: 2 * 40 * 128,
    }


def test_one_raster_of_labels_for_all(tmp_path: Path) -> None:
    two_scenes(tmp_path)
    label = np.zeros((1, 2 * H, W), np.uint8)
    label[:, 100:400] = 3
    write_scene(tmp_path / "labels.tif", label)
    findings = examine(tmp_path)
    assert rule_of(findings).labels == "labels.tif"
    assert {row.value: row.pixels["train"] + row.pixels["val"] for row in findings.values} == {
        0: (2 * H - 300) * W,
        3: 300 * W,
    }


def test_scenes_that_show_the_same_ground_are_told(tmp_path: Path) -> None:
    shapes = two_scenes(tmp_path)
    write_scene(tmp_path / "scenes/again.tif", noise(H, W, seed=2), transform=grid(left=400_050))
    write_shapes(tmp_path / "things.geojson", shapes)
    (warning,) = examine(tmp_path).warnings
    assert warning.kind == "leak"
    assert warning.files == ("scenes/north.tif ~ scenes/again.tif",)


def test_pixels_without_data_count_for_nothing(tmp_path: Path) -> None:
    image = noise(H, W)
    image[:, :100] = 0
    write_scene(tmp_path / "scenes/north.tif", image, nodata=0)
    write_shapes(tmp_path / "things.geojson", triangles(12, H, W))
    findings = examine(tmp_path)
    assert sum(row.pixels["train"] + row.pixels["val"] for row in findings.values) == (H - 100) * W
    pixels = []
    for pair in findings.proposal().pairs("train"):
        assert pair.window is not None
        cell = pair.window.cell
        pixels.append(image[:, cell.top : cell.top + cell.height, cell.left : cell.left + cell.width].reshape(3, -1))
    data = np.concatenate(pixels, axis=1)
    data = data[:, (data != 0).any(axis=0)]
    assert findings.mean == pytest.approx(data.mean(axis=1), rel=1e-4)
