"""Saturation and hue of 8-bit RGB images by way of HSV in one pass, compiled by numba (extra `fast`), to OpenCV's bits.

OpenCV goes over an image four times for either of them: to HSV, a band out, the band in, and back. Here a pixel stays
in the processor's registers, for both. The numbers are OpenCV's: whole ones on the way to HSV, with multiples of 1/4096
in place of divisions, and float32 on the way back, rounded towards zero. Whether a product is rounded before it is
taken from one depends on how OpenCV was compiled, so that `make_kernel` compares colours with it first. The last
columns of an image are fewer than OpenCV takes at a time, and rounded to the nearest; they are left to it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding
from numba import types
from numba.extending import intrinsic

from intarsia.data.numba_compile import compiled, inlined

Pixels = npt.NDArray[np.uint8]
Plain = Callable[[Pixels, float | None, int | None], Pixels]
"""From an image (H, W, 3), the factor of its saturation and the steps of two degrees by which its hue turns, the image
that has them."""

_AT_A_TIME = 64
"""OpenCV takes 16 or 32 pixels of a row at a time; 64 would be the next."""

_int, _float = np.int32, np.float32
_SATURATION, _HUE = _float(255 << 12), _float(30 << 12)  # the whole of each, in 1/4096; a sector has 30 hues
_PER_HUE, _PER_LEVEL = _float(6 / 180), _float(1 / 255)
_ONE, _FULL = _float(1), _float(255)


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


def _saturate(r: Any, g: Any, b: Any, factor: Any, fused: Any) -> Any:
    hue, saturation, value = _hsv(r, g, b)
    return _rgb(hue, _int(min(_FULL, _float(saturation) * factor)), value, fused)


def _turn(r: Any, g: Any, b: Any, steps: Any, fused: Any) -> Any:
    hue, saturation, value = _hsv(r, g, b)
    hue += steps
    return _rgb(hue - _int(180) if hue >= 180 else hue, saturation, value, fused)


def _change(rows: Any, out: Any, pixels: Any, saturates: Any, factor: Any, turns: Any, steps: Any, fused: Any) -> None:
    """Of rows and out (H, W * 3) the first `pixels` columns, steps from 0 to 179. A loop a case is vectorized."""
    for y in range(rows.shape[0]):
        row, to = rows[y], out[y]
        if saturates and turns:
            for x in range(pixels):
                r, g, b = _saturated(_int(row[3 * x]), _int(row[3 * x + 1]), _int(row[3 * x + 2]), factor, fused)
                to[3 * x], to[3 * x + 1], to[3 * x + 2] = _turned(r, g, b, steps, fused)
        elif saturates:
            for x in range(pixels):
                r, g, b = _int(row[3 * x]), _int(row[3 * x + 1]), _int(row[3 * x + 2])
                to[3 * x], to[3 * x + 1], to[3 * x + 2] = _saturated(r, g, b, factor, fused)
        else:
            for x in range(pixels):
                r, g, b = _int(row[3 * x]), _int(row[3 * x + 1]), _int(row[3 * x + 2])
                to[3 * x], to[3 * x + 1], to[3 * x + 2] = _turned(r, g, b, steps, fused)


_fma: Any = intrinsic(_product_and_sum)
_hsv, _rgb = inlined(_to_hsv), inlined(_to_rgb)
_saturated, _turned = inlined(_saturate), inlined(_turn)
_SIGNATURE = types.void(
    types.Array(types.uint8, 2, "C", readonly=True), types.uint8[:, ::1], types.int64,
    types.boolean, types.float32, types.boolean, types.int32, types.boolean,
)  # fmt: skip


def make_kernel(plain: Plain) -> Plain | None:
    """What gives the same as `plain` in less time; None where it would not, or takes longer on this processor."""
    function = compiled(_SIGNATURE, _change)
    if function is None:
        return None
    for fused in (True, False) if _can_fuse() else (False,):
        kernel = _kernel(function, plain, fused)
        if _is_equal_and_faster(kernel, plain):
            return kernel
    return None


def _can_fuse() -> bool:
    """Whether the processor has an instruction for it; without, LLVM would call a function that may be missing."""
    return platform.machine().lower() in ("arm64", "aarch64") or bool(binding.get_host_cpu_features().get("fma"))


def _kernel(function: Any, plain: Plain, fused: bool) -> Plain:
    def kernel(image: Pixels, factor: float | None, steps: int | None) -> Pixels:
        height, width = image.shape[:2]
        pixels = width - width % _AT_A_TIME
        if not pixels:
            return plain(image, factor, steps)
        out = np.empty(image.shape, np.uint8)
        rows = np.ascontiguousarray(image).reshape(height, -1)
        function(
            rows, out.reshape(height, -1), pixels, factor is not None, factor or 0.0, steps is not None,
            (steps or 0) % 180, fused,
        )  # fmt: skip
        if pixels < width:
            out[:, pixels:] = plain(np.ascontiguousarray(image[:, pixels:]), factor, steps)
        return out

    return kernel


def _is_equal_and_faster(kernel: Plain, plain: Plain) -> bool:
    """By a quarter of a million colours: of those that round differently there are one in 20,000."""
    numbers = np.arange(1 << 18, dtype=np.uint32) * np.uint32(0x9E3779B1) >> np.uint32(
        8
    )  # spread evenly over all colours
    colours = np.ascontiguousarray(numbers.view(np.uint8).reshape(512, 512, 4)[:, :, :3])
    taken = {kernel: 0.0, plain: 0.0}
    for factor, steps in ((1.37, None), (None, 173), (0.71, 11), (1.37, None)):
        found = {}
        for way in taken:
            started = time.process_time()
            found[way] = way(colours, factor, steps)
            taken[way] += time.process_time() - started
        if not np.array_equal(found[kernel], found[plain]):
            return False
    return taken[kernel] < taken[plain]
