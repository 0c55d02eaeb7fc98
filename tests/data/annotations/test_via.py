"""Polygons and other shapes of VIA, as JSON and as CSV, and polygons of the kind of Cityscapes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from tools import SIZE, blank, image, labels, write

from intarsia.data.annotations.formats import open_annotations
from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.doctor.examine import examine

POLYGON = {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [5, 5, 20, 20]}
RECTANGLE = {"name": "rect", "x": 40, "y": 30, "width": 10, "height": 6}
TRUTH = blank((1, 5, 20, 10, 30), (2, 30, 36, 40, 50))


def region(shape, **what) -> dict:
    return {"shape_attributes": shape, "region_attributes": what}


REGIONS = [region(POLYGON, type="balloon"), region(RECTANGLE, type="string")]


def entries(**regions) -> dict:
    """As VIA writes them: the key is the name and the bytes of the file."""
    return {
        f"{name}.png1234": {"filename": f"{name}.png", "size": 1234, "regions": found, "file_attributes": {}}
        for name, found in regions.items()
    }


def folder(root: Path, count: int = 2) -> Path:
    for seed in range(count):
        image(root / f"{'abcdef'[seed]}.png", seed)
    return root


@pytest.mark.parametrize("project", [False, True])
def test_json(tmp_path: Path, project) -> None:
    found = entries(a=REGIONS, b=dict(enumerate(REGIONS)))  # b as version 1 has it
    write(folder(tmp_path) / "via.json", {"_via_settings": {}, "_via_img_metadata": found} if project else found)
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "balloon", "string")
    assert set(drawn) == {"a", "b"}
    for label in drawn.values():
        assert np.array_equal(label, TRUTH)


def test_csv(tmp_path: Path) -> None:
    titles = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    with open(folder(tmp_path, 3) / "via.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(titles.split(","))
        for name in ("a.png", "b.png"):
            for number, one in enumerate(REGIONS):
                shape, what = json.dumps(one["shape_attributes"]), json.dumps(one["region_attributes"])
                writer.writerow([name, 1, "{}", 2, number, shape, what])
        writer.writerow(["c.png", 1, "{}", 0, 0, "{}", "{}"])
    drawn, _ = labels(tmp_path)
    assert np.array_equal(drawn["a"], TRUTH)
    assert np.array_equal(drawn["b"], TRUTH)
    assert not drawn["c"].any()


def test_circles_and_ellipses_cover_what_they_should(tmp_path: Path) -> None:
    shapes = [
        {"name": "circle", "cx": 15, "cy": 20, "r": 9},
        {"name": "ellipse", "cx": 40, "cy": 20, "rx": 12, "ry": 5, "theta": math.pi / 2},
        {"name": "point", "cx": 1, "cy": 1},
        {"name": "polyline", "all_points_x": [1, 2, 3], "all_points_y": [1, 2, 9]},
    ]
    write(folder(tmp_path) / "via.json", entries(a=[region(shape) for shape in shapes], b=[]))
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "object")
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    expected = ((x - 15) ** 2 + (y - 20) ** 2 < 81) | ((x - 40) ** 2 / 25 + (y - 20) ** 2 / 144 < 1)
    assert (drawn["a"] != expected).mean() < 0.005


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ({"occluded": "no", "class": "cat"}, "cat"),
        ({"kind of leaf": "oak"}, "oak"),
        ({"class": {"cat": False, "dog": True}}, "dog"),
        ({}, "object"),
    ],
)
def test_the_class_is_the_attribute_that_is_called_so(tmp_path: Path, what, name) -> None:
    write(folder(tmp_path) / "via.json", entries(a=[region(POLYGON, **what)], b=[]))
    assert labels(tmp_path)[1].classes == ("background", name)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"x": {"filename": 3, "shape_attributes": 1, "regions": []}}, "names no file"),
        (entries(a=[{"shape_attributes": 3}]), "region 1 has no shape_attributes"),
        (entries(a=[region({"name": "polygon", "all_points_x": [1]})]), r"region 1 \(a.png\): expected as many"),
        (entries(a=[region({"name": "rect", "x": 1, "y": "?"})]), "its y: expected a number"),
        (entries(a=[region({"name": "spiral"})]), "expected a polygon, rect, circle or ellipse, found 'spiral'"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, found, message) -> None:
    file = write(folder(tmp_path) / "via.json", found)
    with pytest.raises(ValueError, match=rf"{file}.*{message}"):
        open_annotations(tmp_path, AnnotationSource("via", "via.json")).draw("a.png", lambda: SIZE)


def test_polygons_of_the_kind_of_cityscapes(tmp_path: Path) -> None:
    corners = [[10, 5], [30, 5], [30, 20], [10, 20]]
    objects = [
        {"label": "road", "polygon": [[0, 0], [60, 0], [60, 40], [0, 40]]},
        {"label": "cargroup", "polygon": corners},
        {"label": "road", "polygon": corners, "deleted": 1},
    ]
    for number, split in enumerate(("train", "train", "val")):
        name = f"ulm_{number:06}_000019"
        image(tmp_path / f"leftImg8bit/{split}/ulm/{name}_leftImg8bit.png", number)
        found = {"imgHeight": 40, "imgWidth": 60, "objects": objects}
        write(tmp_path / f"gtFine/{split}/ulm/{name}_gtFine_polygons.json", found)
    drawn, description = labels(tmp_path)
    assert set(description.classes) == {"car", "road"}  # all is labelled: what no shape covers is ignored
    assert {split: len(description.dataset(split)) for split in description.splits} == {"train": 2, "val": 1}
    car = description.class_index("car")
    for label in drawn.values():
        assert np.array_equal(label, np.where(blank((1, 5, 20, 10, 30)), car, 1 - car))
    assert not examine(tmp_path).problems


def version_3(*regions) -> dict:
    """(numbers, option of the class) of each region, of one image and of another; as VIA 3 writes them."""
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1"},
        "attribute": {"1": {"aname": "kind", "type": 4, "options": {"0": "balloon", "1": "string"}}},
        "file": {"1": {"fid": "1", "fname": "a.png", "type": 2}, "2": {"fid": "2", "fname": "b.png", "type": 2}},
        "metadata": {
            f"{view}_{number}": {"vid": view, "flg": 0, "z": [], "xy": numbers, "av": {"1": option}}
            for view in ("1", "2")
            for number, (numbers, option) in enumerate(regions)
        },
        "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
    }


def test_version_3(tmp_path: Path) -> None:
    polygon, rectangle, point = [7, 10, 5, 30, 5, 30, 20, 10, 20], [2, 40, 30, 10, 6], [1, 3, 4]
    found = version_3((polygon, "0"), (rectangle, "1"), (point, "1"), ([], "0"))
    write(folder(tmp_path) / "via_project.json", found)
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "balloon", "string")
    for label in drawn.values():
        assert np.array_equal(label, TRUTH)
    found["metadata"]["1_0"]["vid"] = "9"
    write(tmp_path / "via_project.json", found)
    with pytest.raises(ValueError, match="region 1 has no xy, or belongs to no view of a file"):
        examine(tmp_path)
