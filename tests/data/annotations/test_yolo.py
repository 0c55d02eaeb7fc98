"""YOLO's texts of polygons, as Ultralytics and Roboflow lay them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools import SIZE, blank, image, labels, write

from intarsia.data.annotations.yolo import Yolo, read_names
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine

HEIGHT, WIDTH = SIZE


def line(number, left, top, right, bottom) -> str:
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return " ".join([str(number), *(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners)])


def test_roboflow_with_an_image_without_objects(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("valid", 2)):
        for number in range(count):
            image(tmp_path / f"{split}/images/{split}{number}.jpg", number + 10 * (split == "valid"))
            text = line(1, 5, 5, 25, 25) + "\n" + line(0, 10, 10, 20, 20) + "\n"
            write(tmp_path / f"{split}/labels/{split}{number}.txt", text if number else "")
    (tmp_path / "train/labels/train0.txt").unlink()
    write(
        tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 3\nnames: ['spot', 'leaf', 'no']\n"
    )
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "spot", "leaf")
    assert {split: len(description.pairs(split)) for split in description.splits} == {"train": 3, "val": 2}
    expected = blank((2, 5, 25, 5, 25), (1, 10, 20, 10, 20))
    assert np.array_equal(drawn["train2"], expected)
    assert np.array_equal(drawn["valid1"], expected)
    assert not drawn["train0"].any()
    (warning,) = [finding for finding in examine(tmp_path).warnings if finding.kind == "images without shapes"]
    assert warning.files == ("train/images/train0.jpg", "valid/images/valid0.jpg")


def test_ultralytics_with_names_by_number(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number in range(2):
            image(tmp_path / f"images/{split}/{number}.jpg", number + 10 * (split == "val"))
            write(tmp_path / f"labels/{split}/{number}.txt", line(5, 0, 0, 60, 20))
    write(tmp_path / "coco8.yaml", "path: x\ntrain: images/train\nnames:\n  0: person\n  5: bus\n")
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "bus")
    assert np.array_equal(drawn["0"], blank((1, 0, 20, 0, 60)))


def test_beside_the_images_with_classes_txt_and_without_any_names(tmp_path: Path) -> None:
    for root in ("named", "bare"):
        for number in range(2):
            image(tmp_path / root / f"{number}.png", number)
            write(tmp_path / root / f"{number}.txt", line(1, 1, 1, 9, 9))
    write(tmp_path / "named/classes.txt", "leaf\nspot\n")
    assert labels(tmp_path / "named")[1].classes == ("background", "spot")
    assert labels(tmp_path / "bare")[1].classes == ("background", "class_1")
    assert not [f for f in examine(tmp_path / "named").warnings if f.kind == "label without image"]


def test_boxes_among_polygons_are_told(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", f"{line(0, 1, 1, 9, 9)}\n0 0.5 0.5 0.1 0.1\n")
    (warning,) = [f for f in examine(tmp_path).warnings if f.kind == "annotations without area"]
    assert warning.files == ("a.txt: line 2 (class_0) is a box",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.1 0.1 0.2 0.2 0.3\n", r"a\.txt:1: expected the number of a class and pairs"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.4\nleaf 1 2\n", r"a\.txt:2: expected the number"),
        ("0 10 10 20 20 30 10\n", r"a\.txt: line 1: 30 is no fraction"),
        ("0 0.1 0.1 0.2 nan 0.3 0.4\n", r"a\.txt:1: expected"),
        ("7 0.1 0.1 0.2 0.2 0.3 0.4\n", r"a\.txt: line 1: the class 7 is not in .*classes.txt, which names 0 to 0"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, text, message) -> None:
    write(tmp_path / "a.txt", text)
    opened = Yolo().look_through(tmp_path, write(tmp_path / "classes.txt", "leaf\n"))
    assert list(opened.keys) == ["a.txt"]
    with pytest.raises(ValueError, match=message):
        opened.draw("a.txt", lambda: SIZE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: 2\n", "has no list `names`"),
        ("names: {0: a, 99999999: b}\n", "at most 65000"),
        ("names: [a", "not valid YAML"),
        ("names: &x [a]\nnc: *x\n", "aliases"),
        ("[" * 100_000, "not valid YAML"),
    ],
)
def test_names_that_cannot_be_read(tmp_path: Path, text, message) -> None:
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{message}|{message}"):
        read_names(write(tmp_path / "data.yaml", text))


def test_lists_tell_the_splits(tmp_path: Path) -> None:
    """`train: train.txt` in the YAML was passed over, and a share taken out instead."""
    for number in range(6):
        image(tmp_path / f"images/{number}.jpg", number)
        write(tmp_path / f"labels/{number}.txt", line(0, 5, 5, 25, 25))
    write(tmp_path / "train.txt", "".join(f"./images/{number}.jpg\n" for number in range(4)))
    write(tmp_path / "val.txt", "./images/4.jpg\n./images/5.jpg\n")
    write(tmp_path / "data.yaml", "train: train.txt\nval: val.txt\nnames: ['leaf']\n")
    _, description = labels(tmp_path)
    assert {split: len(description.pairs(split)) for split in description.splits} == {"train": 4, "val": 2}
    write_description(description, tmp_path / "mine.yaml")
    again = read_description(tmp_path / "mine.yaml")
    assert [pair.image for pair in again.pairs("val")] == ["images/4.jpg", "images/5.jpg"]
