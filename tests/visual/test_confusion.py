"""The confusion matrix as a picture and as tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.visual.confusion import (
    ABSENT,
    RIGHT,
    WRONG,
    matrix_colours,
    row_shares,
    save_matrix_picture,
    save_matrix_tables,
)

MATRIX = np.array([[6, 2, 0], [0, 0, 0], [1, 0, 3]])
CLASSES = ("sky", "road, wet", "car")


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_tables_have_pixels_and_shares(tmp_path: Path) -> None:
    pixels, shares = save_matrix_tables(tmp_path / "matrix.csv", MATRIX, CLASSES)
    assert shares.name == "matrix_shares.csv"
    assert rows(pixels) == [
        ["truth / predicted", *CLASSES],
        ["sky", "6", "2", "0"],
        ["road, wet", "0", "0", "0"],
        ["car", "1", "0", "3"],
    ]
    assert rows(shares)[1:] == [
        ["sky", "0.750000", "0.250000", "0.000000"],
        ["road, wet", "", "", ""],
        ["car", "0.250000", "0.000000", "0.750000"],
    ]


def test_right_is_blue_wrong_is_orange_and_absent_grey() -> None:
    colours = matrix_colours(np.array([[1.0, 0.0, 0.25], [1.0, 0.0, 0.0], [np.nan] * 3]))
    assert tuple(colours[0, 0]) == RIGHT
    assert tuple(colours[1, 0]) == WRONG
    assert tuple(colours[0, 1]) == tuple(colours[1, 1]) == (255, 255, 255)
    assert colours[0, 2].tolist() == [round(255 + 0.5 * (value - 255)) for value in WRONG]
    assert all(tuple(colour) == ABSENT for colour in colours[2])


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.nonzero((np.abs(picture.astype(int) - colour) <= 2).all(axis=2))


def test_the_picture_has_each_class_in_its_place(tmp_path: Path) -> None:
    """The diagonal runs from the upper left to the lower right, and a confusion is in the row of the truth."""
    matrix = np.diag([5, 5, 5, 5])
    matrix[3] = [5, 0, 0, 0]
    picture = np.array(Image.open(save_matrix_picture(tmp_path / "m.png", matrix, ["a", "b", "c", "d"])).convert("RGB"))
    right, wrong = where(picture, RIGHT), where(picture, WRONG)
    cell = (right[0].max() - right[0].min()) / 3
    assert wrong[0].mean() == pytest.approx(right[0].min() + 3.5 * cell, abs=4)
    assert wrong[1].mean() == pytest.approx(right[1].min() + 0.5 * cell, abs=4)
    for number in range(3):
        inside = (right[0] - right[0].min()) // cell == number
        assert right[1][inside].mean() == pytest.approx(right[1].min() + (number + 0.5) * cell, abs=6)


def test_names_of_150_classes_have_lines_of_their_own(tmp_path: Path) -> None:
    """At the left of the matrix: as many lines of ink as classes, and none of them touches the picture's edge."""
    classes = [f"class number {index}" for index in range(150)]
    matrix = np.diag(np.arange(1, 151))
    picture = np.array(Image.open(save_matrix_picture(tmp_path / "m.png", matrix, classes, title="t")).convert("L"))
    colours = np.array(Image.open(tmp_path / "m.png").convert("RGB"))
    top, left = (int(axis.min()) for axis in where(colours, RIGHT))
    bottom = int(where(colours, RIGHT)[0].max())
    names = (picture[top : bottom + 1, left - 60 : left - 4] < 120).any(axis=1)  # the shares of labels, digits all
    begun = int((names[1:] & ~names[:-1]).sum()) + int(names[0])
    assert begun == 150
    assert (picture[:, :3] > 200).all()


def test_shares_of_rows() -> None:
    assert np.allclose(row_shares(MATRIX)[[0, 2]].sum(axis=1), 1)
    assert np.isnan(row_shares(MATRIX)[1]).all()
