"""Polygons and run lengths against pycocotools, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data.annotations import raster
from intarsia.data.annotations.raster import paint
from intarsia.data.annotations.rle import counts_of_text, mask_of_counts
from intarsia.data.annotations.shapes import Bitmap, Outline, box, ellipse, ring_of

coco = pytest.importorskip("pycocotools.mask")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")

places = st.one_of(
    st.floats(-30, 90, allow_nan=False, width=32),
    st.integers(-10, 60).map(float),
    st.integers(-100, 300).map(lambda n: n / 5),
)
polygons = st.lists(st.lists(st.tuples(places, places), min_size=3, max_size=12), min_size=1, max_size=3)


def drawn(rings, height, width):
    label = np.zeros((height, width), np.uint8)
    paint(label, Outline(tuple((np.array(ring, np.float64),) for ring in rings)), 1)
    return label


@settings(max_examples=150, deadline=None)
@given(polygons, st.integers(1, 60), st.integers(1, 60))
def test_polygons_give_the_masks_of_pycocotools(rings, height, width) -> None:
    flat = [[float(part) for point in ring for part in point] for ring in rings]
    expected = coco.decode(coco.merge(coco.frPyObjects(flat, height, width)))
    assert np.array_equal(drawn(rings, height, width), expected)


def test_large_polygons_too() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ring = rng.uniform(-200, 1500, (rng.integers(3, 200), 2))
        expected = coco.decode(coco.merge(coco.frPyObjects([ring.ravel().tolist()], 900, 1200)))
        assert np.array_equal(drawn([ring], 900, 1200), expected)


def test_in_pieces_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    ring = rng.uniform(-20, 120, (300, 2))
    whole = drawn([ring], 90, 100)
    monkeypatch.setattr(raster, "_AT_ONCE", 7)
    assert np.array_equal(drawn([ring], 90, 100), whole)


def test_a_pixel_belongs_to_what_holds_its_centre() -> None:
    assert drawn([[[1, 1], [4, 1], [4, 3], [1, 3]]], 5, 6).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_a_ring_within_a_ring_is_a_hole_and_one_within_that_is_none() -> None:
    label = np.zeros((9, 9), np.uint8)
    rings = tuple(box(n, n, 9 - n, 9 - n, "") for n in (0, 2, 4))
    paint(label, Outline((rings,)), 7)
    expected = np.full((9, 9), 7)
    expected[2:7, 2:7] = 0
    expected[4, 4] = 7
    assert np.array_equal(label, expected)


def test_bitmaps_are_cut_at_the_border() -> None:
    label = np.zeros((3, 4), np.uint8)
    paint(label, Bitmap(np.ones((2, 3), np.bool_), -1, 2), 5)
    paint(label, Bitmap(np.ones((2, 2), np.bool_), 2, -1), 6)
    paint(label, Bitmap(np.ones((2, 2), np.bool_), 9, 9), 7)
    assert label.tolist() == [[0, 0, 5, 5], [0, 0, 0, 0], [6, 0, 0, 0]]


def test_an_ellipse_has_its_area_and_a_turned_box_stands_upright() -> None:
    label = np.zeros((300, 300), np.uint8)
    paint(label, Outline(((ellipse(150, 140, 100, 50, ""),),)), 1)
    assert abs(int(label.sum()) - np.pi * 100 * 50) < 40
    assert label[:, 150].nonzero()[0][[0, -1]].tolist() == [90, 189]
    upright = np.zeros((20, 20), np.uint8)
    paint(upright, Outline(((box(5, 8, 15, 12, "", 90.0),),)), 1)
    assert np.argwhere(upright).min(0).tolist() == [5, 8]
    assert np.argwhere(upright).max(0).tolist() == [14, 11]


@pytest.mark.parametrize(
    "values", [[[0, 0], [1, float("nan")], [1, 1]], [[0, 0], [1e12, 0], [1, 1]], [1, 2, 3], ["a", "b"], [[1, 2, 3]], 7]
)
def test_what_is_no_polygon_is_named(values) -> None:
    with pytest.raises(ValueError, match=r"^shape 3: "):
        ring_of(values, "shape 3")


def test_more_work_than_a_shape_may_make_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "_MOST_CROSSINGS", 10)
    with pytest.raises(ValueError, match="simplify the outline"):
        drawn([[[0, 0], [50, 0], [50, 50], [0, 50]]], 60, 60)


masks = st.integers(1, 12).flatmap(
    lambda height: st.integers(1, 12).flatmap(
        lambda width: st.lists(st.booleans(), min_size=height * width, max_size=height * width).map(
            lambda flat: np.array(flat).reshape(height, width)
        )
    )
)


@settings(max_examples=200, deadline=None)
@given(masks)
def test_compressed_run_lengths_come_back(mask) -> None:
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(mask_of_counts(counts_of_text(text), mask.shape, by_column=True), mask)


def test_long_runs_come_back() -> None:
    mask = np.zeros((700, 900), np.bool_)
    mask[100:650, 3:880] = True
    mask[200:300, 50:70] = False
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(mask_of_counts(counts_of_text(text), mask.shape, by_column=True), mask)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_run_lengths_or_refused(text) -> None:
    try:
        counts_of_text(text)
    except ValueError as error:
        assert "run lengths are damaged" in str(error)  # noqa: PT017


@pytest.mark.parametrize("counts", [[1, 2], [-1, 13], [1.5, 10.5], [[12]], "abc", [2**70], [5, 100, 3], None, [True]])
def test_wrong_run_lengths_are_refused(counts) -> None:
    with pytest.raises(ValueError, match="run"):
        mask_of_counts(counts, (3, 4), by_column=True)


def test_run_lengths_by_row() -> None:
    assert mask_of_counts([1, 2, 3], (2, 3), by_column=False).tolist() == [[False, True, True], [False, False, False]]
