"""Moving the pixels of a whole sample at once: image and maps of real numbers mixed, labels and names the nearest one.

Every geometry here is done in one step, since each interpolation blurs a little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample, Size
from intarsia.data.transforms.arguments import in_type_of, label_and_fill
from intarsia.data.transforms.resize import map_interpolation

Array = npt.NDArray[Any]
Mix: TypeAlias = "Callable[[Array, int, Sequence[float]], Any]"
"""(array of at most four bands, OpenCV's border mode, its value for each band) -> the array, bilinearly moved."""

_CV2_TYPES = (np.uint8, np.uint16, np.int16, np.float32, np.float64)
_CV2_BANDS = 4  # how many bands a border of one colour has


def resampled(
    sample: Sample, source: npt.NDArray[np.int32], mix: Mix, *, image_value: Array, label_value: int
) -> Sample:
    """The sample with its pixels taken from other places.

    source: (h, w), for each new pixel the number of the old one that is nearest, row by row, and -1 outside. mix: the
    same bilinearly. image_value: of each band outside of the image; maps have 0 there, and the label `label_value`.
    """
    height, width = sample.image.shape[:2]
    size = (source.shape[0], source.shape[1])
    outside = source < 0

    def nearest(array: Array, fill: int) -> Array:
        taken: Array = array.reshape(height * width, *array.shape[2:])[source]
        taken[outside] = fill
        return taken

    def moved(array: Array) -> Array:
        if map_interpolation(array) == "nearest":
            return nearest(array, 0)
        mixed = _mixed(array, mix, size, None)
        mixed[outside] = 0
        return mixed

    return replace(
        sample,
        image=_mixed(sample.image, mix, size, image_value),
        label=None if sample.label is None else nearest(*label_and_fill(sample.label, label_value)),
        maps={name: moved(value) for name, value in sample.maps.items()},
        meta=replace(sample.meta, valid=None),
    )


def remapped(
    sample: Sample,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    *,
    image_value: Array,
    label_value: int,
) -> Sample:
    """The sample seen through a map of places.

    x, y: (h, w), where in the old image each new pixel comes from, in pixels; the middle of the first is 0. The other
    arguments are those of `resampled`.
    """
    height, width = sample.image.shape[:2]
    column = np.rint(x.clip(-1, width)).astype(np.int32)
    row = np.rint(y.clip(-1, height)).astype(np.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = np.where(inside, row * width + column, -1).astype(np.int32)

    def mix(array: Array, border: int, value: Sequence[float]) -> Any:
        return cv2.remap(array, x, y, cv2.INTER_LINEAR, borderMode=border, borderValue=value)

    return resampled(sample, source, mix, image_value=image_value, label_value=label_value)


def check_image(owner: str, sample: Sample) -> Size:
    """Height and width. Raises ValueError for a volume, whose slices alone can be moved like this."""
    if sample.image.ndim != 3:
        raise ValueError(f"{owner}: expected an image (height, width, bands), found {sample.image.shape}")
    return sample.image.shape[0], sample.image.shape[1]


def _mixed(array: Array, mix: Mix, size: Size, fill: Array | None) -> Array:
    """(H, W) or (H, W, C) of any type and any number of bands, at a new size.

    fill: of each band outside, which the border is mixed with; None: the border goes on, since a mixture of a real
    number with nothing would be a wrong one.
    """
    if array.dtype.type not in _CV2_TYPES:
        return in_type_of(_mixed(array.astype(np.float64), mix, size, fill), array)
    if array.ndim == 3 and array.shape[2] > _CV2_BANDS:
        parts = [slice(first, first + _CV2_BANDS) for first in range(0, array.shape[2], _CV2_BANDS)]
        fills = [None if fill is None else fill[part] for part in parts]
        groups = [_mixed(array[:, :, part], mix, size, own) for part, own in zip(parts, fills, strict=True)]
        return np.concatenate(groups, axis=2)
    border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    found = mix(np.ascontiguousarray(array), border, [0.0] if fill is None else [float(value) for value in fill])
    return np.asarray(found).reshape(size + array.shape[2:])
