"""Supervisely's JSON for each image."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest
from tools import SIZE, blank, image, labels, png, write

from intarsia.data.annotations.supervisely import Supervisely
from intarsia.data.doctor.examine import examine


def polygon(title, exterior, *interior):
    points = {"exterior": exterior, "interior": list(interior)}
    return {"classTitle": title, "geometryType": "polygon", "points": points, "tags": []}


def bitmap(title, mask, origin):
    data = base64.b64encode(zlib.compress(png(mask))).decode()
    return {"classTitle": title, "geometryType": "bitmap", "bitmap": {"data": data, "origin": origin}}


def file(*objects, size=SIZE):
    return {"description": "", "tags": [], "size": {"height": size[0], "width": size[1]}, "objects": list(objects)}


def corners(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def folder(root: Path, *objects, name="a.jpg") -> Path:
    image(root / f"ds/img/{name}")
    write(root / f"ds/ann/{name}.json", file(*objects))
    write(root / "meta.json", {"classes": [{"title": "leaf", "shape": "polygon", "color": "#FF0000"}], "tags": []})
    return root


def test_polygons_with_holes_bitmaps_and_rectangles(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((6, 8)) < 0.5
    rgba = np.zeros((6, 8, 4), np.uint8)
    rgba[mask] = (255, 255, 255, 255)
    rectangle = {**polygon("spot", [[50, 2], [55, 4]]), "geometryType": "rectangle"}
    objects = (
        polygon("leaf", corners(4.0, 4.0, 30.4, 30.0), corners(10, 10, 20, 20)),
        rectangle,
        bitmap("spot", rgba, [40, 30]),
        bitmap("leaf", (mask * 255).astype(np.uint8), [30, 32]),
    )
    drawn, description = labels(folder(tmp_path, *objects))
    assert description.classes == ("background", "leaf", "spot")
    expected = blank((1, 4, 30, 4, 30), (0, 10, 20, 10, 20), (2, 2, 5, 50, 56))
    expected[30:36, 40:48][mask] = 2
    expected[32:38, 30:38][mask] = 1
    assert np.array_equal(drawn["a"], expected)


def test_whole_numbers_are_pixels_with_their_border(tmp_path: Path) -> None:
    outline = polygon("leaf", corners(4, 4, 30, 20), corners(10, 10, 14, 14))
    beyond = polygon("leaf", corners(50, 30, 5000, 5000))
    drawn = labels(folder(tmp_path, outline, beyond))[0]["a"]
    assert np.array_equal(drawn, blank((1, 4, 21, 4, 31), (0, 10, 15, 10, 15), (1, 30, 40, 50, 60)))


def test_train_and_val_as_data_sets_of_a_project(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number in range(2):
            image(tmp_path / f"{split}/img/{number}.png", number + 10 * (split == "val"))
            write(tmp_path / f"{split}/ann/{number}.png.json", file(polygon("leaf", corners(1, 1, 9, 9))))
    write(tmp_path / "meta.json", {"classes": []})
    description = examine(tmp_path).proposal()
    assert {split: [p.image for p in description.pairs(split)] for split in description.splits} == {
        "train": ["train/img/0.png", "train/img/1.png"],
        "val": ["val/img/0.png", "val/img/1.png"],
    }


def test_points_and_lines_are_told(tmp_path: Path) -> None:
    point = {**polygon("leaf", [[1, 1]]), "geometryType": "point"}
    findings = examine(folder(tmp_path, polygon("leaf", corners(1, 1, 9, 9)), point))
    (warning,) = [finding for finding in findings.warnings if finding.kind == "annotations without area"]
    assert warning.files == ("ds/ann/a.jpg.json: object 2 (leaf) is a point",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"points": {}}, "object 1: has no classTitle"),
        ({"classTitle": "leaf", "geometryType": "polygon"}, r"object 1 \(leaf\): has no points"),
        (polygon("leaf", "x"), "expected the corners"),
        ({"classTitle": "leaf", "bitmap": {"data": "x"}}, "no origin and data"),
        ({"classTitle": "leaf", "bitmap": {"data": "x", "origin": [0, 0]}}, "no picture in base64 and zlib"),
        (
            {
                "classTitle": "leaf",
                "bitmap": {"data": base64.b64encode(zlib.compress(b"x" * 99)[:-3]).decode(), "origin": [0, 0]},
            },
            "cut off",
        ),
        (
            {
                "classTitle": "leaf",
                "bitmap": {"data": base64.b64encode(zlib.compress(b"x")).decode(), "origin": [0, 0]},
            },
            "cannot be read as a PNG",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, entry, message) -> None:
    root = folder(tmp_path, entry)
    opened = Supervisely().look_through(root / "ds/ann", None)
    with pytest.raises(ValueError, match=rf"a\.jpg\.json: .*{message}|a\.jpg\.json: {message}"):
        opened.draw("a.jpg.json", lambda: SIZE)
