"""Run lengths in tables of competitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools import SIZE, blank, image, labels, write

from intarsia.data.annotations.formats import open_annotations
from intarsia.data.annotations.source import AnnotationSource

ONE, TWO = blank((1, 5, 20, 10, 34)), blank((2, 22, 38, 3, 55), (2, 30, 33, 20, 40))


def runs(mask: np.ndarray, order: str = "F") -> str:
    """Starts from 1 and lengths, found pixel by pixel."""
    words: list[int] = []
    flat = [False, *np.ravel(mask > 0, order=order).tolist(), False]
    for place in range(1, len(flat)):
        if flat[place] and not flat[place - 1]:
            words.append(place)
        elif flat[place - 1] and not flat[place]:
            words.append(place - words[-1])
    return " ".join(map(str, words))


def folder(root: Path, text: str) -> Path:
    for seed, name in enumerate("abc"):
        image(root / f"images/{name}.png", seed)
    write(root / "train.csv", text)
    return root


@pytest.mark.parametrize("order", ["F", "C"])
@pytest.mark.parametrize("suffix", [".png", ""])
def test_objects_of_one_class(tmp_path: Path, order, suffix) -> None:
    rows = f"a{suffix},{runs(ONE, order)}\na{suffix},{runs(TWO, order)}\nb{suffix},{runs(TWO, order)}\nc{suffix},-1\n"
    drawn, description = labels(folder(tmp_path, f"ImageId, EncodedPixels\n{rows}"))
    assert description.classes == ("background", "object")
    assert np.array_equal(drawn["a"], (ONE > 0) | (TWO > 0))
    assert np.array_equal(drawn["b"], TWO > 0)
    assert not drawn["c"].any()


@pytest.mark.parametrize(
    "text",
    [
        "ImageId,ClassId,EncodedPixels\na.png,1,{one}\na.png,2,{two}\nb.png,2,{two}\nc.png,1,\n",
        "ImageId_ClassId,EncodedPixels\na.png_1,{one}\na.png_2,{two}\nb.png_1,\nb.png_2,{two}\nc.png_1,\n",
        'id,"class",rle,height,width\na,1,{one},40,60\na,2,{two},40,60\nb,2,{two},40,60\nc,1,,40,60\n',
    ],
)
def test_classes(tmp_path: Path, text) -> None:
    drawn, description = labels(folder(tmp_path, text.format(one=runs(ONE), two=runs(TWO))))
    assert description.classes == ("background", "1", "2")
    assert np.array_equal(drawn["a"], np.where(TWO > 0, TWO, ONE))
    assert np.array_equal(drawn["b"], TWO)
    assert not drawn["c"].any()


def test_an_example_of_a_submission_is_no_label(tmp_path: Path) -> None:
    folder(tmp_path, f"ImageId,EncodedPixels\na.png,{runs(ONE)}\nb.png,{runs(TWO)}\n")
    write(tmp_path / "sample_submission.csv", "ImageId,EncodedPixels\nc.png,1 2\n")
    assert set(labels(tmp_path)[0]) == {"a", "b"}


def test_a_table_that_counts_along_the_rows_of_square_images_says_so(tmp_path: Path) -> None:
    image(tmp_path / "a.png", size=(40, 40))
    write(tmp_path / "train.csv", f"ImageId,EncodedPixels\na.png,{runs(ONE[:, :40], 'C')}\n")
    for name, expected in (("rle_csv_rows", ONE[:, :40]), ("rle_csv", ONE[:, :40].T)):
        (shape,) = (
            open_annotations(tmp_path, AnnotationSource(name, "train.csv")).draw("a.png", lambda: (40, 40)).shapes
        )
        assert np.array_equal(shape.area.mask, expected > 0)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("1 2 3", "expected pairs of a start and a length"),
        ("1 x", "expected pairs"),
        ("0 4", "counted from 1"),
        ("2399 3", "a run ends behind the 2,400 pixels"),
        ("10 5 3 2", "runs lie over each other"),
    ],
)
def test_damaged_runs_are_named(tmp_path: Path, found, message) -> None:
    folder(tmp_path, f"ImageId,EncodedPixels\na.png,{found}\n")
    with pytest.raises(ValueError, match=rf"train.csv:2: .*{message}"):
        open_annotations(tmp_path, AnnotationSource("rle_csv", "train.csv")).draw("a.png", lambda: SIZE)
