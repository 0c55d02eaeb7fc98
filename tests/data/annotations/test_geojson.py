"""GeoJSON of images that lie nowhere: in their pixels, as QuPath writes it and as predictions are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.annotations.geojson import GeoJson
from intarsia.data.annotations.raster import paint
from intarsia.data.description.read import read_description
from intarsia.data.doctor.examine import examine
from intarsia.inference.outputs.geojson import write_geojson
from intarsia.inference.outputs.polygons import Labels, polygons

SIZE = (40, 60)


def feature(ring: list[list[float]], properties: dict[str, Any], *holes: list[list[float]]) -> dict[str, Any]:
    rings = [[*one, one[0]] for one in (ring, *holes)]
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, "properties": properties}


def square(left: float, top: float, side: float) -> list[list[float]]:
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]


def save(folder: Path, document: Any, name: str = "a") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / f"{name}.geojson").write_text(json.dumps(document))
    return folder


TISSUE = {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}}
"""As QuPath 0.4 writes it; 0.5 has `names`."""


def drawn(document: Any, size: tuple[int, int] = SIZE, folder: Path | None = None) -> Any:
    assert folder is not None
    (folder / "a.geojson").write_text(json.dumps(document))
    return GeoJson().look_through(folder, None).draw("a.geojson", lambda: size)


def test_what_qupath_exports_is_recognised_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = [
        feature(square(5, 5, 20), TISSUE, square(10, 10, 4)),
        feature(square(30.5, 2.5, 10), {"classification": {"names": ["Stroma", "dense"]}, "name": "one of them"}),
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [3, 3]}, "properties": TISSUE},
    ]
    folder = save(tmp_path / "slides", {"type": "FeatureCollection", "features": features})
    save(folder, features[:1], "b")  # a bare list, as older versions write it
    assert main(["data", "check", str(folder), "--write", str(tmp_path / "slides.yaml")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the labels are drawn from GeoJSON outlines in pixels" in said
    description = read_description(tmp_path / "slides.yaml")
    assert description.classes == ("background", "Stroma: dense", "Tumor")
    labels = {pair.name: description.dataset("train").label(n) for n, pair in enumerate(description.pairs("train"))}
    if "val" in description.splits:
        labels |= {pair.name: description.dataset("val").label(n) for n, pair in enumerate(description.pairs("val"))}
    expected = np.zeros(SIZE, np.uint8)
    expected[5:25, 5:25] = 2
    expected[10:14, 10:14] = 0
    assert np.array_equal(labels["b"], expected)
    expected[3:13, 31:41] = 1  # a pixel belongs to a shape if its centre does; 30.5 is rounded as COCO does
    assert labels["a"] is not None
    assert (labels["a"] != expected).sum() <= 20  # the border through the centres
    assert labels["a"][8, 35] == 1


def test_predicted_polygons_of_an_image_are_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = rng.choice(3, (10, 15)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    classes, colours = ("nothing", "roof", "pool"), ((0, 0, 0),) * 3
    write_geojson(
        tmp_path / "a.geojson",
        polygons(Labels(label), nothing=0),
        classes=classes,
        palette=colours,
        ground=None,
    )
    drawing = GeoJson().look_through(tmp_path, None).draw("a.geojson", lambda: SIZE)
    again = np.zeros(SIZE, np.uint8)
    for shape in drawing.shapes:
        paint(again, shape.area, classes.index(shape.name))
    assert np.array_equal(again, label)


def test_names_of_classes(tmp_path: Path) -> None:
    for properties, name in (
        ({"label": "leaf"}, "leaf"),
        ({"class": 3}, "3"),
        ({"class": 3, "name": "road"}, "road"),
        ({"classification": "Tumor"}, "Tumor"),
        ({}, "object"),
        (None, "object"),
    ):
        found = drawn(feature(square(2, 2, 5), properties), folder=tmp_path)  # type: ignore[arg-type]
        assert [shape.name for shape in found.shapes] == [name]


def test_several_polygons_and_heights(tmp_path: Path) -> None:
    corners = [[[[1, 1, 9], [4, 1, 9], [4, 4, 9], [1, 1, 9]]], [[[10, 10], [14, 10], [14, 14], [10, 10]]]]
    many = {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": corners}, "properties": {}}
    (shape,) = drawn(many, folder=tmp_path).shapes
    assert [len(rings[0]) for rings in shape.area.polygons] == [3, 3]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (feature(square(50, 5, 20), {}), ["expected pixels of the image (60 x 40)", "x from 50 to 70"]),
        (feature(square(13.37, 5.5, 0.01), {}), ["less than a pixel in all", "degrees"]),
        ({"type": "FeatureCollection", "features": [], "crs": {"name": "EPSG:32633"}}, ["lies on Earth", "EPSG:32633"]),
        ({"type": "Topology"}, ["has no list of features"]),
        (
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[["a", 1]]]}, "properties": {}},
            ["feature 1 (object)", "corners of a polygon"],
        ),
    ],
)
def test_what_is_no_outline_in_the_image(tmp_path: Path, document: Any, words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"a\.geojson") as error:
        drawn(document, folder=tmp_path)
    assert all(word in str(error.value) for word in words), error.value


def test_outlines_may_leave_the_image_a_little(tmp_path: Path) -> None:
    assert len(drawn(feature(square(-2, 30, 12), {}), folder=tmp_path).shapes) == 1


def test_outlines_elsewhere_are_a_problem_that_names_the_file(tmp_path: Path) -> None:
    folder = save(tmp_path / "x", {"type": "FeatureCollection", "features": [feature(square(500, 5, 20), TISSUE)]})
    findings = examine(folder)
    assert not findings.ok
    text = " ".join(line for problem in findings.problems for line in problem.lines(5))
    assert "a.geojson" in text
    assert "expected pixels of the image (60 x 40)" in text
