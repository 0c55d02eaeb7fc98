"""What a description says about scenes: read, written, checked; and the errors of files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import grid, noise, triangles, write_package, write_scene, write_shapes

from intarsia.data.description.model import DataDescription
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import ShareSplit
from intarsia.data.description.write import write_description
from intarsia.data.scenes.rule import SceneSplit

HEAD = "root: .\nclasses: [background, roof, pool]\nlabels: {0: background, 1: roof, 2: pool}\nsplits:\n"


def read(folder: Path, train: str) -> DataDescription:
    file = folder / "data.yaml"
    file.write_text(f"{HEAD}  train: {train}\n", encoding="utf-8")
    return read_description(file)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_scene(tmp_path / "scenes/north.tif", noise(128, 160))
    write_shapes(tmp_path / "things.geojson", triangles(12, 128, 160))
    return tmp_path


def test_a_rule_is_read_as_it_was_written(tmp_path: Path) -> None:
    full = SceneSplit(
        scenes=("a", "b/*_x.tif"),
        labels="things.gpkg",
        layer="buildings",
        column="the kind",
        classes=(("house", "roof"), ("12", "pool")),
        areas="areas.geojson",
        where=("part", "train"),
        exclude=("bad.tif",),
        window=256,
        margin=16,
        block=1024,
        missing="skip",
    )
    plain = SceneSplit(scenes=("scenes",), labels="labels", block=0)
    description = DataDescription(
        root=tmp_path,
        classes=("background", "roof", "pool"),
        labels={0: "background", 1: "roof", 2: "pool"},
        splits={"train": full, "test": plain, "val": ShareSplit(0.25, "train", 4)},
    )
    write_description(description, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == description


def test_what_is_not_said_has_defaults(place: Path) -> None:
    rule = read(place, "{scenes: scenes, labels: things.geojson, column: kind, window: 4096}").splits["train"]
    assert rule == SceneSplit(("scenes",), "things.geojson", column="kind", window=4096, margin=512, block=4096)
    rule = read(place, "{scenes: scenes, labels: things.geojson}").splits["train"]
    assert rule == SceneSplit(("scenes",), "things.geojson", window=512, margin=64, block=2048)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{scenes: scenes, window: 128, block: 64}", ["data.yaml:5", "block", "128", "64"]),
        ("{scenes: scenes, window: 4}", ["window", "16"]),
        ("{scenes: scenes, window: 64, margin: 32}", ["margin", "0 to 31", "32"]),
        ("{scenes: scenes, lables: x}", ["unknown key", "labels"]),
        ("{scenes: scenes, labels: labels, where: {part: train}}", ["where", "areas"]),
        ("{scenes: scenes, labels: t.geojson, column: kind, classes: {house: rooof}}", ["'rooof' is no class", "roof"]),
    ],
)
def test_rules_that_make_no_sense(place: Path, rule: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"data\.yaml:5") as error:
        read(place, rule)
    assert all(word in str(error.value) for word in words), error.value


# --- Which files --------------------------------------------------------------------------------------------------


def scenes(description: DataDescription) -> list[tuple[str, str | None]]:
    pairs = description.pairs("train")
    return list(dict.fromkeys((pair.window.scene, pair.window.label) for pair in pairs if pair.window is not None))


def test_labels_are_found_by_the_name_of_the_scene(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scene(tmp_path / f"x/{name}_rgb.tif", noise(64, 64))
        write_scene(tmp_path / f"x/{name}_mask.tif", np.ones((1, 64, 64), np.uint8))
        write_scene(tmp_path / f"masks/{name}_rgb.tif", np.ones((1, 64, 64), np.uint8))
        write_shapes(tmp_path / f"shapes/{name}.geojson", triangles(4, 64, 64))
    for labels in ("x/*_mask.tif", "shapes/*.geojson"):
        found = scenes(read(tmp_path, f'{{scenes: "x/*_rgb.tif", labels: "{labels}", column: kind, window: 32}}'))
        assert found == [(f"x/{name}_rgb.tif", labels.replace("*", name)) for name in ("a", "b")]
    found = scenes(read(tmp_path, '{scenes: ["x/a_rgb.tif", "x/b_rgb.tif"], labels: masks, window: 32}'))
    assert found == [(f"x/{name}_rgb.tif", f"masks/{name}_rgb.tif") for name in ("a", "b")]
    found = scenes(read(tmp_path, '{scenes: "x/*_rgb.tif", labels: "x/*_mask.tif", exclude: [a_rgb.tif], window: 32}'))
    assert found == [("x/b_rgb.tif", "x/b_mask.tif")]


def test_scenes_without_labels_are_an_error_or_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scene(tmp_path / f"scenes/{name}.tif", noise(64, 64))
    write_scene(tmp_path / "labels/a.tif", np.ones((1, 64, 64), np.uint8))
    with pytest.raises(ValueError, match=r"1 images of the train split have no label: scenes/b\.tif"):
        read(tmp_path, "{scenes: scenes, labels: labels, window: 32}").pairs("train")
    left = scenes(read(tmp_path, "{scenes: scenes, labels: labels, window: 32, missing: skip}"))
    assert left == [("scenes/a.tif", "labels/a.tif")]


# --- Files that do not fit ----------------------------------------------------------------------------------------


def failing(folder: Path, rule: str) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is looked at
        read(folder, rule).dataset("train").load(0)
    return str(error.value)


RULE = "{scenes: scenes, labels: things.geojson, column: kind, window: 64, block: 64}"


def test_a_scene_that_lies_nowhere(place: Path) -> None:
    write_scene(place / "scenes/north.tif", noise(128, 160), crs=None)
    text = failing(place, RULE)
    assert f"{place / 'scenes/north.tif'}: expected a scene that lies on Earth" in text
    assert "things.geojson" in text
    assert "without a coordinate system" in text


def test_shapes_without_a_system(place: Path) -> None:
    write_package(place / "things.gpkg", {"things": triangles(3, 128, 160)}, crs=None)
    text = failing(place, RULE.replace("geojson", "gpkg"))
    assert text.startswith(f"{place / 'things.gpkg'}: expected shapes with a coordinate system, found none")


@pytest.mark.parametrize("kind", ["shapes", "raster"])
def test_labels_that_lie_elsewhere(place: Path, kind: str) -> None:
    rule = RULE
    if kind == "shapes":
        file = write_shapes(place / "things.geojson", triangles(3, 128, 160), transform=grid(left=100_000))
    else:
        rule = "{scenes: scenes, labels: elsewhere.tif, window: 64, block: 64}"
        file = write_scene(place / "elsewhere.tif", np.ones((1, 64, 64), np.uint8), transform=grid(left=100_000))
    text = failing(place, rule)
    assert text.startswith(f"{file}: expected labels that overlap the scene {place / 'scenes/north.tif'}")
    assert "EPSG:32633" in text
    assert "400000" in text.replace("4e+05", "400000")
    with pytest.raises(ValueError, match="empty"):
        read(place, rule.replace("}", ", missing: skip}")).pairs("train")


def test_a_column_that_is_missing(place: Path) -> None:
    text = failing(place, RULE.replace("kind", "sort"))
    assert text == (
        f"{place / 'things.geojson'}: expected a column 'sort', found kind, code; correct the name in the description"
    )
    text = failing(place, RULE.replace("column: kind, ", ""))
    assert "expected `column: NAME`" in text
    assert "kind, code" in text


def test_a_class_that_is_not_known(place: Path) -> None:
    write_shapes(place / "things.geojson", [*triangles(3, 128, 160), ([(0, 0), (90, 0), (90, 90)], {"kind": "tree"})])
    text = failing(place, RULE)
    assert f"{place / 'things.geojson'}: shape 3 (from 0) has the class 'tree'" in text
    for own, value in (("ignore", 255), ("roof", 1), ("pool", 2)):
        dataset = read(place, RULE.replace("window", f"classes: {{tree: {own}}}, window")).dataset("train")
        label = dataset.load(0).label
        assert label is not None
        assert label[10, 35] == value


def test_a_layer_must_be_named_where_there_are_several(place: Path) -> None:
    write_package(place / "things.gpkg", {"roofs": triangles(3, 128, 160), "trees": triangles(3, 128, 160)})
    text = failing(place, RULE.replace("geojson", "gpkg"))
    assert "things.gpkg: expected one layer, or `layer: NAME` in the description, found roofs, trees" in text


def test_a_label_raster_of_another_size_that_lies_nowhere(place: Path) -> None:
    write_scene(place / "labels/north.tif", np.ones((1, 64, 160), np.uint8), crs=None)
    text = failing(place, "{scenes: scenes, labels: labels, window: 64, block: 64}")
    assert f"{place / 'labels/north.tif'}: expected a label raster of the size of its scene" in text
    assert "160 x 128" in text
    assert "160 x 64" in text


def test_a_label_raster_of_fractions(place: Path) -> None:
    write_scene(place / "labels/north.tif", np.full((1, 128, 160), 0.5, np.float32))
    text = failing(place, "{scenes: scenes, labels: labels, window: 64, block: 64}")
    assert text == f"{place / 'labels/north.tif'}: expected whole numbers as labels, found 0.5"


def test_no_scene_at_all(place: Path) -> None:
    text = failing(place, RULE.replace("scenes: scenes", "scenes: elsewhere"))
    assert text.startswith(f"{place / 'elsewhere'}: expected scenes (.tif, .tiff")
