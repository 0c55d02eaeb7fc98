"""Any image as one for looking at: 8 bits, three bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ends = tuple[float, float]
"""What becomes black and what becomes white."""


def ends_of(image: npt.NDArray[Any]) -> Ends:
    """Those of 8 bits; of other numbers the 2nd and 98th percentile of what is finite."""
    if image.dtype == np.uint8:
        return 0.0, 255.0
    finite = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    low, high = np.percentile(finite, (2, 98)) if finite.size else (0.0, 1.0)
    return float(low), float(high)


def as_picture(image: npt.NDArray[Any], ends: Ends | None = None) -> npt.NDArray[np.uint8]:
    """Any image (H, W, C) as 8-bit RGB (H, W, 3): its first three bands, or its first as grey; what is nan is black.

    ends: for numbers of other types than 8 bits; None: those of these bands. With given ones several pictures have the
    same brightness.

    Raises ValueError for what is no image.
    """
    if image.ndim != 3 or not image.size:
        raise ValueError(f"expected an image (height, width, bands), found {image.shape}: volumes are not shown here")
    bands = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if bands.dtype == np.uint8:
        return np.ascontiguousarray(bands)
    low, high = ends if ends is not None else ends_of(bands)
    values: npt.NDArray[Any] = bands.astype(np.float64 if bands.dtype.itemsize > 2 else np.float32)
    stretched = np.nan_to_num((values - low) / max(high - low, 1e-9)).clip(0, 1)
    return np.asarray(stretched * 255, np.uint8)
