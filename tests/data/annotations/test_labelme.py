"""LabelMe's JSON beside each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools import SIZE, blank, image, labels, png_text, write

from intarsia.data.annotations.labelme import LabelMe
from intarsia.data.annotations.raster import paint
from intarsia.data.doctor.examine import examine


def shape(name, points, kind="polygon", **other):
    return {"label": name, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **other}


def file(*shapes, size=SIZE):
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "..\\somewhere\\a.jpg",
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


def folder(root: Path, *shapes) -> Path:
    image(root / "a.jpg")
    write(root / "a.json", file(*shapes))
    return root


SQUARE = shape("spot", [[10, 10], [20, 10], [20, 20], [10, 20]])


def test_every_kind_of_area_in_its_order(tmp_path: Path) -> None:
    mask = np.array([[255, 0], [255, 255]], np.uint8)
    shapes = (
        shape("leaf", [[5, 5], [30, 5], [30, 30], [5, 30]], None),
        SQUARE,
        shape("leaf", [[55, 12], [50, 8]], "rectangle"),
        shape("spot", [[50, 30], [50, 35]], "circle"),
        shape("leaf", [[40, 3], [41, 4]], "mask", mask=png_text(mask)),
    )
    drawn, description = labels(folder(tmp_path, *shapes))
    assert description.classes == ("background", "leaf", "spot")
    expected = blank((1, 5, 30, 5, 30), (2, 10, 20, 10, 20), (1, 8, 12, 50, 55))
    expected[3:5, 40:42][mask > 0] = 1
    disc = drawn["a"].copy()[25:35, 45:55] == 2
    expected[25:35, 45:55][disc] = 2
    assert np.array_equal(drawn["a"], expected)
    assert abs(int(disc.sum()) - np.pi * 25) < 4


def test_points_and_lines_are_told_and_passed_over(tmp_path: Path) -> None:
    lines = [shape("leaf", [[1, 1], [5, 5]], "line"), shape("leaf", [[1, 1]], "point")]
    findings = examine(folder(tmp_path, SQUARE, *lines, shape("leaf", [[1, 1], [2, 2]])))
    (warning,) = [finding for finding in findings.warnings if finding.kind == "annotations without area"]
    assert warning.files[0] == "a.json: shape 2 (leaf) is a line"
    assert len(warning.files) == 3
    assert findings.proposal().classes == ("background", "spot")


def test_images_and_annotations_in_folders_of_their_own(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "val")):
        for number in range(2):
            image(tmp_path / f"images/{split}/{number}.jpg", 10 * seed + number)
            write(tmp_path / f"json/{split}/{number}.json", file(SQUARE))
    image(tmp_path / "images/train/7.jpg", 99)
    write(tmp_path / "json/train/8.json", file(SQUARE))
    findings = examine(tmp_path)
    description = findings.proposal()
    pairs = description.pairs("val")
    assert [(pair.image, pair.label) for pair in pairs] == [
        ("images/val/0.jpg", "json/val/0.json"),
        ("images/val/1.jpg", "json/val/1.json"),
    ]
    kinds = {finding.kind: finding.files for finding in findings.warnings}
    assert kinds["image without label"] == ("images/train/7.jpg",)
    assert kinds["label without image"] == ("json/train/8.json",)
    assert len(description.pairs("train")) == 2


def test_a_file_that_does_not_say_the_size_takes_that_of_the_image(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    found = file(SQUARE)
    del found["imageHeight"]
    write(tmp_path / "a.json", found)
    assert np.array_equal(labels(tmp_path)[0]["a"], blank((1, 10, 20, 10, 20)))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"points": []}, "shape 1: has no label"),
        (shape("leaf", [[1, 1], [float("nan"), 2], [3, 3]]), r"shape 1 \(leaf\): its corner"),
        (shape("leaf", [[1, 1], [2, 2], [3, 3]], "cube"), "make no shape of type 'cube'"),
        (shape("leaf", [[1, 1], [2, 2]], "mask", mask="?"), "no picture in base64"),
        (shape("leaf", [[1, 1], [2, 2]], "mask", mask="aGFsbG8="), "cannot be read as a PNG"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, entry, message) -> None:
    opened = LabelMe().look_through(folder(tmp_path, entry), None)
    with pytest.raises(ValueError, match=rf"a.json: {message}|a.json: .*{message}"):
        opened.draw("a.json", lambda: SIZE)


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    folder(tmp_path, SQUARE)
    image(tmp_path / "b.jpg", 1)
    (tmp_path / "b.json").write_text('{"shapes": [\n{"label": "x",]}')
    with pytest.raises(ValueError, match=r"b\.json:2: no valid JSON"):
        examine(tmp_path)


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", "quadrilateral"])
def test_turned_rectangles_of_four_corners(tmp_path: Path, kind) -> None:
    """LabelMe's own, and those of X-AnyLabeling: the folder was refused."""
    turned = {
        "label": "roof",
        "shape_type": kind,
        "points": [[10, 20], [20, 10], [30, 20], [20, 30]],
        "direction": 0.785,
    }
    opened = LabelMe().look_through(folder(tmp_path, turned), None)
    (shape,) = opened.draw("a.json", lambda: SIZE).shapes
    label = np.zeros(SIZE, np.uint8)
    paint(label, shape.area, 1, unite=False)
    assert label.sum() == pytest.approx(200, abs=10)
    assert label[20, 20] == 1
    assert not label[11, 11]
