"""Depths as files: numbers, not pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from intarsia.visual.files import SOFTWARE, grey_bytes

SUFFIXES = (".tif", ".tiff", ".png", ".npy")

PER_UNIT = 1000
"""Steps of a 16-bit file to the unit: millimetres to the metre."""

MOST = 65535
_SOFTWARE_TAG = 305


def depth_bytes(depth: npt.NDArray[np.float32], suffix: str) -> bytes:
    """Depths (H, W) in the format of a suffix: float32 as they are (.tif, .npy), or thousandths in 16 bits (.png).

    In 16 bits, 0 stands for what is no number, and for depths below half a step.

    Raises ValueError for a suffix outside `SUFFIXES`, and for a depth that 16 bits do not hold.
    """
    if suffix in (".tif", ".tiff"):
        return _tiff(depth)
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, depth, allow_pickle=False)
        return buffer.getvalue()
    if suffix == ".png":
        return grey_bytes(thousandths(depth))
    raise ValueError(f"depths are written as {', '.join(SUFFIXES)}, found {suffix or 'no suffix'!r}")


def thousandths(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Depths (H, W) as whole thousandths, rounded to even. Raises ValueError for one below 0 or above 65.535."""
    steps = np.rint(depth.astype(np.float64) * PER_UNIT)
    steps[~np.isfinite(depth)] = 0
    least, most = float(steps.min()), float(steps.max())
    if least < 0 or most > MOST:
        wrong = (least if least < 0 else most) / PER_UNIT
        raise ValueError(
            f"16 bits hold depths from 0 to {MOST / PER_UNIT:g} in thousandths, found {wrong:.6g}: write float32 (.tif)"
        )
    return np.asarray(steps, np.uint16)


def _tiff(depth: npt.NDArray[np.float32]) -> bytes:
    """Deflated, which every reader of TIFF knows, and marked as ours."""
    tags: Any = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_SOFTWARE_TAG] = SOFTWARE
    encoded = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(depth))
    image.save(encoded, format="TIFF", compression="tiff_adobe_deflate", tiffinfo=tags)
    return encoded.getvalue()
