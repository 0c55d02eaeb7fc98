"""A window of a bilinearly resized 8-bit RGB image and no pixel beside it, by numba (extra `fast`), to OpenCV's bits.

OpenCV resizes in whole numbers: weights are multiples of 1/2048, first along rows, whose results lose 4 bits, then
along columns, whose products lose 16 bits each. Here the three bands of a pixel lie in one number of 64 bits, 21 bits
each, so that a multiplication along a row does all of them; a row that two rows of the window need is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from intarsia.contracts import Size
from intarsia.data.numba_compile import compiled, inlined

Pixels = npt.NDArray[np.uint8]
Window = Callable[[Pixels, int, Size, Size, tuple[int, int], Size], Pixels | None]
"""From rows (n, W, 3), the number of the first one, the image's size, the size it is resized to, corner and size of the
window in it: the window (h, w, 3), or None where OpenCV has another rule."""

_float, _int, _short, _long = np.float32, np.int32, np.int16, np.uint64
_ONE, _WHOLE, _HALF = _float(1), _float(2048), 0.5
_BAND = _long(0x7FFF)
_SAME = 1e-9


def _place(position: Any, step: Any) -> Any:
    """(pixel before, part of the way to the next one) of a resized pixel's centre."""
    place = _float((position + _HALF) * step - _HALF)
    before = np.floor(place)
    return int(before), place - _float(before)


def _columns(start: Any, step: Any, width: Any, before: Any, weight: Any) -> Any:
    """Fill in the pixel left of each column and the weight of the one behind it; whether both are always a whole."""
    for x in range(before.shape[0]):
        left, part = _placed(start + x, step)
        if left < 0:
            left, part = 0, _float(0)
        if left >= width - 1:
            left, part = width - 1, _float(0)
        before[x], weight[x] = _long(left), _long(np.rint(part * _WHOLE))
        if weight[x] + _long(np.rint((_ONE - part) * _WHOLE)) != _long(2048):
            return False
    return True


def _along(row: Any, first: Any, before: Any, weight: Any, packed: Any, sums: Any, bands: Any) -> None:
    """Resize a row (W * 3) from its pixel `first` on: into three bands, in 1/128."""
    count = packed.shape[0] - 1
    stretch = row[3 * first : 3 * (first + count)]
    for x in range(count):
        packed[x] = (
            _long(stretch[3 * x]) | (_long(stretch[3 * x + 1]) << _long(21)) | (_long(stretch[3 * x + 2]) << _long(42))
        )
    packed[count] = packed[count - 1]
    for x in range(before.shape[0]):
        left = packed[before[x] - _long(first)]
        sums[x] = (left << _long(11)) + (packed[before[x] - _long(first) + _long(1)] - left) * weight[x]
    red, green, blue = bands[0], bands[1], bands[2]
    for x in range(before.shape[0]):
        all_ = sums[x]
        red[x] = _short((all_ >> _long(4)) & _BAND)
        green[x] = _short((all_ >> _long(25)) & _BAND)
        blue[x] = _short((all_ >> _long(46)) & _BAND)


def _between(above: Any, below: Any, first: Any, second: Any) -> Any:
    """Of two values in 1/128 and their weights: 8 bits."""
    products = _int(_short((first * _int(above)) >> _int(16))) + _int(_short((second * _int(below)) >> _int(16)))
    return (products + _int(2)) >> _int(2)


def _fill_window(
    rows: Any, top: Any, height: Any, width: Any, down: Any, across: Any, start_y: Any, start_x: Any, out: Any
) -> Any:
    """Fill in out (h, w * 3), whose first pixel is start_y, start_x of the resized image; whether that was possible.

    rows: (n, W * 3) from the image's row `top` on, of `height`. down, across: how many pixels of the image one of the
    resized one takes.
    """
    count = out.shape[1] // 3
    before, weight = np.empty(count, np.uint64), np.empty(count, np.uint64)
    if not _filled(start_x, across, width, before, weight):
        return False
    first = int(before[0])
    packed = np.empty(min(int(before[count - 1]) + 2, width) - first + 1, np.uint64)
    sums, bands = np.empty(count, np.uint64), np.empty((2, 3, count), np.int16)
    held = np.full(2, -1)
    for y in range(out.shape[0]):
        place, part = _placed(start_y + y, down)
        upper, lower = min(max(place, 0), height - 1), min(max(place + 1, 0), height - 1)
        above = 1 if held[1] == upper else 0
        if upper < top or lower >= top + rows.shape[0]:
            return False
        if held[above] != upper:
            above = 1 if held[0] == lower else 0
            _resize_row(rows[upper - top], first, before, weight, packed, sums, bands[above])
            held[above] = upper
        below = above if lower == upper else 1 - above
        if held[below] != lower:
            _resize_row(rows[lower - top], first, before, weight, packed, sums, bands[below])
            held[below] = lower
        one, two = _int(_short(np.rint((_ONE - part) * _WHOLE))), _int(_short(np.rint(part * _WHOLE)))
        row, a, b = out[y], bands[above], bands[below]
        red, green, blue, red_, green_, blue_ = a[0], a[1], a[2], b[0], b[1], b[2]
        for x in range(count):
            row[3 * x] = _mixed(red[x], red_[x], one, two)
            row[3 * x + 1] = _mixed(green[x], green_[x], one, two)
            row[3 * x + 2] = _mixed(blue[x], blue_[x], one, two)
    return True


_placed, _filled, _resize_row, _mixed = inlined(_place), inlined(_columns), inlined(_along), inlined(_between)
_SIGNATURE = types.boolean(
    types.Array(types.uint8, 2, "C", readonly=True), types.int64, types.int64, types.int64, types.float64,
    types.float64, types.int64, types.int64, types.uint8[:, ::1],
)  # fmt: skip


def make_window(plain: Callable[[Pixels, Size, tuple[int, int], Size], Pixels]) -> Window | None:
    """The window by numba; None where numba fails, or gives other bits than `plain` does from a whole image."""
    function = compiled(_SIGNATURE, _fill_window)
    if function is None:
        return None

    def window(rows: Pixels, top: int, old: Size, size: Size, corner: tuple[int, int], shape: Size) -> Pixels | None:
        down, across = 1.0 / (size[0] / old[0]), 1.0 / (size[1] / old[1])  # as OpenCV has them, to the bit
        if abs(down - 2) < _SAME and abs(across - 2) < _SAME:
            return None  # the mean of four pixels is the rule then
        assert rows.shape[1:] == (old[1], 3), rows.shape
        out = np.empty((*shape, 3), np.uint8)
        flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
        done = function(flat, top, *old, down, across, *corner, out.reshape(shape[0], -1))
        return out if done else None

    return window if _is_equal(window, plain) else None


def _is_equal(window: Window, plain: Callable[[Pixels, Size, tuple[int, int], Size], Pixels]) -> bool:
    """For noise that is made larger, smaller, wider and narrower."""
    image = np.random.default_rng(0).integers(0, 256, (61, 147, 3), dtype=np.uint8)
    for size in ((61, 147), (123, 311), (70, 161), (59, 98), (31, 300), (122, 40)):
        corner = size[0] // 3, size[1] // 5
        for start, shape in (((0, 0), size), (corner, (size[0] - corner[0], size[1] // 2))):
            found = window(image, 0, (61, 147), size, start, shape)
            if found is None or not np.array_equal(found, plain(image, size, start, shape)):
                return False
    return True
