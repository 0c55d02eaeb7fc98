"""A window of a resized image with less work than the whole: what a crop behind a resizing transform needs."""

from __future__ import annotations

import math
import threading
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.fast_libraries import fast_library
from intarsia.data.rows import RowArray
from intarsia.data.transforms.resize import Array, Backend, Interpolation, resize_array

if TYPE_CHECKING:
    from intarsia.data.transforms.resize_kernel import Window

_MARGIN = 3
"""Pixels behind the last that a window needs, so that an edge is where it is in the whole image, or far away."""

_SCRATCH = threading.local()


def resized_window(
    array: Array,
    size: Size,
    interpolation: Interpolation,
    corner: tuple[int, int],
    window: Size,
    backend: Backend = "cv2",
) -> Array:
    """``resize_array(array, size, interpolation, backend)[top : top + h, left : left + w]``, to the bit.

    Of 8-bit colours, bilinear by OpenCV, what lies below and to the right of the window is not computed: the place of a
    pixel comes from its distance to the upper left corner and the two factors, which are given to OpenCV here, and its
    8-bit results are integers whatever the width (of real numbers they are not). From a `RowArray`, only the rows that
    the window needs are read; what is computed of the others is thrown away. With the extra `fast`, where that is less,
    nothing beside the window is computed.
    """
    height, width = array.shape[:2]
    is_quick = array.ndim == 3 and array.shape[2] <= 4 and interpolation == "bilinear" and size[0] * size[1] > 0
    if not is_quick or array.dtype != np.uint8 or backend != "cv2":
        whole = array.rows(0, height) if isinstance(array, RowArray) else array
        return _cut(resize_array(whole, size, interpolation, backend), corner, window)
    first, last = _reach(height, size[0], corner[0], window[0])
    left, right = _reach(width, size[1], corner[1], window[1])
    factors = size[0] / height, size[1] / width
    made = round(last * factors[0]), round(right * factors[1])  # as OpenCV rounds: to the even of two
    shape = min(window[0], size[0] - corner[0]), min(window[1], size[1] - corner[1])
    if array.shape[2] == 3 and min(shape) > 0 and _is_wasteful(made, shape, (last - first, right - left)):
        kernel = fast_window()
        rows = array.rows(first, last) if isinstance(array, RowArray) else array[first:last]
        quick = None if kernel is None else kernel(rows, first, (height, width), size, corner, shape)
        if quick is not None:
            return quick
    if isinstance(array, RowArray):
        source = _scratch("source", (last, right, array.shape[2]))
        source[first:] = array.rows(first, last)[:, :right]
    else:
        source = np.ascontiguousarray(array[:last, :right])
    target = _scratch("target", (*made, array.shape[2]))
    found = cv2.resize(source, None, target, factors[1], factors[0], cv2.INTER_LINEAR).reshape(*made, array.shape[2])
    return _cut(found, corner, window).copy()


def _is_wasteful(made: Size, shape: Size, reach: Size) -> bool:
    """Whether OpenCV, which makes all pixels up to the window's last one, takes longer for them than numba does for the
    window: 2 ns and more for a pixel, against 1 for one of the window, 1.5 for one of the source and 0.5 for one of its
    rows when they have their new width (a Xeon with AVX-512, 2026-12-01).
    """
    return 4 * made[0] * made[1] > 2 * shape[0] * shape[1] + reach[0] * (3 * reach[1] + shape[1])


@cache
def fast_window() -> Window | None:
    """The window by numba, if that is there and gives the same."""
    if fast_library("numba") is None:
        return None
    from intarsia.data.transforms.resize_kernel import make_window

    def plain(image: Array, size: Size, corner: tuple[int, int], window: Size) -> Array:
        return _cut(resize_array(image, size, "bilinear"), corner, window)

    return make_window(plain)


def _reach(old: int, new: int, start: int, length: int) -> tuple[int, int]:
    """The first pixel that a stretch of a resized side needs, and the one behind the last, with a margin."""
    step = old / new
    first = math.floor((start + 0.5) * step - 0.5) - _MARGIN - math.ceil(step)
    last = math.ceil((start + length + 0.5) * step + 0.5) + _MARGIN + math.ceil(step)
    return max(first, 0), min(last, old)


def _scratch(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Memory of this thread that was used before: new memory costs more than what is done with it here."""
    kept: npt.NDArray[np.uint8] | None = getattr(_SCRATCH, name, None)
    count = math.prod(shape)
    if kept is None or len(kept) < count:
        kept = np.empty(count + count // 8, np.uint8)
        setattr(_SCRATCH, name, kept)
    return kept[:count].reshape(shape)


def _cut(array: Array, corner: tuple[int, int], window: Size) -> Array:
    return array[corner[0] : corner[0] + window[0], corner[1] : corner[1] + window[1]]
