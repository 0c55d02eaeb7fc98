"""Photometric distortion of 8-bit RGB images in one pass, compiled by numba (extra `fast`), to OpenCV's bits.

OpenCV goes over an image four times for saturation or hue: to HSV, a band out, the band in, and back. Here a pixel
stays in the processor's registers for all that is done to it. The numbers are OpenCV's: whole ones on the way to HSV,
with multiples of 1/4096 in place of divisions, and float32 on the way back, rounded towards zero. Whether a product is
rounded before it is taken from one depends on how OpenCV was compiled, so that `make_kernel` compares colours with it
first. The last columns of an image are fewer than OpenCV takes at a time, and rounded to the nearest: they are its own.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

from intarsia.data.numba_compile import compiled, inlined
from intarsia.data.transforms.distortion import Distortion

Pixels = npt.NDArray[np.uint8]
Plain = Callable[[Pixels, Distortion], Pixels]
"""From an image (H, W, 3) and what is drawn for it the image that is distorted so."""

_AT_A_TIME = 64
"""OpenCV takes 16 or 32 pixels of a row at a time; 64 would be the next."""

_FMA3 = 12  # OpenCV's number for these instructions of x86

_int, _float = np.int32, np.float32
_SATURATION, _HUE = _float(255 << 12), _float(30 << 12)  # the whole of each, in 1/4096; a sector has 30 hues
_PER_HUE, _PER_LEVEL = _float(6 / 180), _float(1 / 255)
_NOTHING, _ONE, _FULL = _float(0), _float(1), _float(255)


def _product_and_sum(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """The function a * b + c that rounds once."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(a, b, c), generate


def _to_hsv(r: Any, g: Any, b: Any) -> Any:
    value = max(r, max(g, b))
    spread = value - min(r, min(g, b))
    by_value = _int(np.rint(_SATURATION / _float(max(value, _int(1)))))
    by_spread = _int(np.rint(_HUE / _float(max(spread, _int(1)))))
    saturation = (spread * by_value + _int(2048)) >> _int(12)
    if value == r:
        hue = g - b
    elif value == g:
        hue = b - r + _int(2) * spread
    else:
        hue = r - g + _int(4) * spread
    hue = (hue * by_spread + _int(2048)) >> _int(12)
    return hue + _int(180) if hue < 0 else hue, saturation, value


def _to_rgb(hue: Any, saturation: Any, value: Any, fused: Any) -> Any:
    """fused: whether a product is rounded with the difference that it is part of, or before."""
    place = _float(hue) * _PER_HUE
    sector = _int(place)
    part = place - _float(sector)
    if sector & _int(1) == 0:  # the band between rises through the even sectors and falls through the odd ones
        part = _ONE - part
    saturated, bright = _float(saturation) * _PER_LEVEL, _float(value) * _PER_LEVEL
    share = _fma(-saturated, part, _ONE) if fused else _ONE - saturated * part
    high, low = _int(bright * _FULL), _int(bright * (_ONE - saturated) * _FULL)
    between = _int(bright * share * _FULL)
    r = high if (sector == 0) | (sector == 5) else (low if (sector == 2) | (sector == 3) else between)
    g = high if (sector == 1) | (sector == 2) else (low if sector >= 4 else between)
    b = high if (sector == 3) | (sector == 4) else (low if sector <= 1 else between)
    return r, g, b


def _brighten(level: Any, offset: Any, factor: Any) -> Any:
    """A number added and then multiplied, rounded down each time."""
    return _multiplied(_int(min(_FULL, max(_NOTHING, _float(level) + offset))), factor)


def _multiply(level: Any, factor: Any) -> Any:
    return _int(min(_FULL, _float(level) * factor))


def _saturate(r: Any, g: Any, b: Any, factor: Any, fused: Any) -> Any:
    hue, saturation, value = _hsv(r, g, b)
    return _rgb(hue, _int(min(_FULL, _float(saturation) * factor)), value, fused)


def _turn(r: Any, g: Any, b: Any, steps: Any, fused: Any) -> Any:
    hue, saturation, value = _hsv(r, g, b)
    hue += steps
    return _rgb(hue - _int(180) if hue >= 180 else hue, saturation, value, fused)


def _distort(
    rows: Any, out: Any, pixels: Any, add: Any, first: Any, saturates: Any, factor: Any, turns: Any, steps: Any,
    last: Any, fused: Any,
) -> None:  # fmt: skip
    """Of rows and out (H, W * 3) the first `pixels` columns.

    add: to every band, before it is multiplied by `first`; by `last` at the end. factor: of the saturation. steps: 0 to
    179. There is a loop for each case, without a branch, so that it is vectorized.
    """
    for y in range(rows.shape[0]):
        row, to = rows[y], out[y]
        if saturates and turns:
            for x in range(pixels):
                r, g = _brightened(row[3 * x], add, first), _brightened(row[3 * x + 1], add, first)
                r, g, b = _saturated(r, g, _brightened(row[3 * x + 2], add, first), factor, fused)
                r, g, b = _turned(r, g, b, steps, fused)
                to[3 * x], to[3 * x + 1] = _multiplied(r, last), _multiplied(g, last)
                to[3 * x + 2] = _multiplied(b, last)
        elif saturates:
            for x in range(pixels):
                r, g = _brightened(row[3 * x], add, first), _brightened(row[3 * x + 1], add, first)
                r, g, b = _saturated(r, g, _brightened(row[3 * x + 2], add, first), factor, fused)
                to[3 * x], to[3 * x + 1] = _multiplied(r, last), _multiplied(g, last)
                to[3 * x + 2] = _multiplied(b, last)
        else:
            for x in range(pixels):
                r, g = _brightened(row[3 * x], add, first), _brightened(row[3 * x + 1], add, first)
                r, g, b = _turned(r, g, _brightened(row[3 * x + 2], add, first), steps, fused)
                to[3 * x], to[3 * x + 1] = _multiplied(r, last), _multiplied(g, last)
                to[3 * x + 2] = _multiplied(b, last)


_fma: Any = intrinsic(_product_and_sum)
_hsv, _rgb = inlined(_to_hsv), inlined(_to_rgb)
_multiplied, _brightened = inlined(_multiply), inlined(_brighten)
_saturated, _turned = inlined(_saturate), inlined(_turn)
_SIGNATURE = types.void(
    types.Array(types.uint8, 2, "C", readonly=True), types.uint8[:, ::1], types.int64,
    types.float32, types.float32, types.boolean, types.float32, types.boolean, types.int32, types.float32,
    types.boolean,
)  # fmt: skip


def make_kernel(plain: Plain) -> Plain | None:
    """What gives the same as `plain` in less time; None where it would not, or takes longer on this processor."""
    function = compiled(_SIGNATURE, _distort) if _can_fuse() else None
    if function is None:
        return None
    for fused in (True, False):
        kernel = _kernel(function, plain, fused)
        if _is_equal_and_faster(kernel, plain):
            return kernel
    return None


def _can_fuse() -> bool:
    """Whether the processor has an instruction for it: without, a function is called that a system may not have."""
    return platform.machine().lower() in ("arm64", "aarch64") or bool(cv2.checkHardwareSupport(_FMA3))


def _kernel(function: Any, plain: Plain, fused: bool) -> Plain:
    def kernel(image: Pixels, drawn: Distortion) -> Pixels:
        height, width = image.shape[:2]
        pixels = width - width % _AT_A_TIME
        saturates, turns = drawn.saturation is not None, drawn.hue is not None
        if not pixels or not (saturates or turns):
            return plain(image, drawn)
        out = np.empty(image.shape, np.uint8)
        rows = np.ascontiguousarray(image).reshape(height, -1)
        contrast = 1.0 if drawn.contrast is None else drawn.contrast
        before, after = (contrast, 1.0) if drawn.contrast_first else (1.0, contrast)
        function(
            rows, out.reshape(height, -1), pixels, drawn.brightness or 0.0, before, saturates, drawn.saturation or 0.0,
            turns, (drawn.hue or 0) % 180, after, fused,
        )  # fmt: skip
        if pixels < width:
            out[:, pixels:] = plain(np.ascontiguousarray(image[:, pixels:]), drawn)
        return out

    return kernel


def _is_equal_and_faster(kernel: Plain, plain: Plain) -> bool:
    """By a quarter of a million colours: of those that round differently there are one in 20,000."""
    spread = np.arange(1 << 18, dtype=np.uint32) * np.uint32(0x9E3779B1) >> np.uint32(8)  # evenly over all colours
    colours = np.ascontiguousarray(spread.view(np.uint8).reshape(512, 512, 4)[:, :, :3])
    taken = {kernel: 0.0, plain: 0.0}
    for way in taken:
        way(colours[:1], Distortion(None, False, None, 1.0, None))  # what is called first takes longer
    for drawn in (
        Distortion(None, False, None, 1.37, None), Distortion(None, False, None, None, -7),
        Distortion(13.7, True, 0.83, 0.71, 11), Distortion(-4.2, False, 1.21, 1.37, None),
    ):  # fmt: skip
        found = {}
        for way in taken:
            started = time.process_time()
            found[way] = way(colours, drawn)
            taken[way] += time.process_time() - started
        if not np.array_equal(found[kernel], found[plain]):
            return False
    return taken[kernel] < taken[plain]
