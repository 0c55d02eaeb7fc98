"""From shapes to the pixels that belong to them. The one rule for all tools is COCO's.

A pixel belongs to a polygon if its centre does. Corners are rounded to fifths of a pixel before, as COCO's own tools
do, so that polygons give the masks that `pycocotools` gives, pixel by pixel (`tests/data/annotations/test_raster.py`);
no border is added, neighbours share no pixel, and what lies outside of the image is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.annotations.shapes import Bitmap, Outline, Ring

_PARTS = 5  # of a pixel, to which corners are rounded
_BEFORE = _PARTS // 2  # the last part of a column that lies left of its centre
_AT_ONCE = 2**20
_MOST_CROSSINGS = 2**28
"""Places where the edges of one shape cross the columns of an image."""

_Whole = npt.NDArray[np.int64]


def paint(label: npt.NDArray[np.integer], area: Outline | Bitmap, value: int, *, unite: bool = False) -> None:
    """Give the pixels of an area in a label map (H, W) a value. unite: its bits, beside those that they have.

    Raises ValueError for outlines of so many long edges that drawing them would take minutes.
    """
    size = (label.shape[0], label.shape[1])
    for piece in [area] if isinstance(area, Bitmap) else filled(area, size):
        height, width = piece.mask.shape
        top, left = max(piece.top, 0), max(piece.left, 0)
        bottom, right = min(piece.top + height, size[0]), min(piece.left + width, size[1])
        if top < bottom and left < right:
            part = piece.mask[top - piece.top : bottom - piece.top, left - piece.left : right - piece.left]
            if unite:
                label[top:bottom, left:right][part] |= label.dtype.type(value)
            else:
                label[top:bottom, left:right][part] = value


def filled(outline: Outline, size: Size) -> Iterator[Bitmap]:
    """The pixels of each polygon that lie inside an image of a size (height, width)."""
    for rings in outline.polygons:
        piece = _filled([_rounded(ring) for ring in rings if len(ring) > 2], size)
        if piece is not None:
            yield piece


def _rounded(ring: Ring) -> _Whole:
    """Corners in whole fifths of a pixel; cut towards 0, as a C compiler does."""
    whole: _Whole = np.trunc(_PARTS * ring + 0.5).astype(np.int64)
    return whole


def _filled(rings: Sequence[_Whole], size: Size) -> Bitmap | None:
    """Down each column, every edge that is crossed changes from outside to inside or back."""
    if not rings:
        return None
    corners = np.concatenate(rings)
    low, high = corners.min(axis=0) // _PARTS, -(-corners.max(axis=0) // _PARTS)
    left, right = max(int(low[0]), 0), min(int(high[0]) + 1, size[1])
    top, bottom = max(int(low[1]), 0), min(int(high[1]) + 1, size[0])
    if left >= right or top >= bottom:
        return None
    starts = corners
    stops = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    turns = np.zeros((bottom - top + 1, right - left), np.uint8)
    for columns, rows in _crossings(starts, stops, left, right):
        np.add.at(turns, (np.clip(rows, top, bottom) - top, columns - left), 1)  # 256 is 0 again: parity is kept
    inside = np.bitwise_xor.accumulate(turns & 1, axis=0)[:-1]
    return Bitmap(inside.astype(np.bool_), top, left)


def _crossings(starts: _Whole, stops: _Whole, left: int, right: int) -> Iterator[tuple[_Whole, _Whole]]:
    """(column, first row at or below) where edges pass the middle of a column from `left` to before `right`."""
    low, high = np.minimum(starts[:, 0], stops[:, 0]), np.maximum(starts[:, 0], stops[:, 0])
    first = np.maximum(-(-(low - _BEFORE) // _PARTS), left)
    last = np.minimum((high - _BEFORE - 1) // _PARTS, right - 1)
    counts = np.maximum(last - first + 1, 0)
    ends = np.cumsum(counts)
    if len(ends) and ends[-1] > _MOST_CROSSINGS:
        raise ValueError(f"its edges cross the columns of the image {int(ends[-1]):,} times; simplify the outline")
    begin = 0
    while begin < len(ends):
        done = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, done + _AT_ONCE, "right")), begin + 1)
        edges = np.repeat(np.arange(begin, end), counts[begin:end])
        within = np.arange(len(edges)) - np.repeat(ends[begin:end] - counts[begin:end] - done, counts[begin:end])
        columns = first[edges] + within
        yield columns, _rows(starts[edges], stops[edges], columns)
        begin = end


def _rows(start: _Whole, stop: _Whole, columns: _Whole) -> _Whole:
    """The row at which each edge passes the middle of its column, between two fifths of pixels.

    An edge is a chain of fifths, one for each step along its longer side, of which the upper one of the two that lie
    left and right of the middle counts.
    """
    along = np.abs(stop - start)
    is_flat = along[:, 0] >= along[:, 1]
    swap = np.where(is_flat, start[:, 0] > stop[:, 0], start[:, 1] > stop[:, 1])[:, None]
    (x, y), (to_x, to_y) = np.where(swap, stop, start).T, np.where(swap, start, stop).T
    before = _PARTS * columns + _BEFORE
    heights = np.empty(len(columns), np.int64)
    f = is_flat
    slope = (to_y - y)[f] / along[f, 0]
    step = before[f] - x[f]
    heights[f] = np.minimum(np.floor(y[f] + slope * step + 0.5), np.floor(y[f] + slope * (step + 1) + 0.5))
    s = ~is_flat
    slope = (to_x - x)[s] / along[s, 1]
    heights[s] = y[s] + _steps(x[s], slope, before[s]) - 1
    rows: _Whole = np.ceil((heights + 0.5) / _PARTS - 0.5).astype(np.int64)
    return rows


def _steps(x: _Whole, slope: npt.NDArray[np.float64], before: _Whole) -> _Whole:
    """The first step down a steep edge that lies beyond the middle, in the same arithmetic as the chain."""
    rises = slope > 0

    def is_past(step: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        place = np.floor(x + slope * step + 0.5)
        return np.where(rises, place > before, place <= before)

    step = np.ceil((before + 0.5 - x) / slope)
    for _ in range(2):  # rounding may have moved the guess by one or two
        step -= is_past(step - 1)
    for _ in range(2):
        step += ~is_past(step)
    return step.astype(np.int64)
