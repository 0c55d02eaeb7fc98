"""An image under the colours of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX

Picture = npt.NDArray[np.uint8]
Label = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Values = TypeVar("Values", bound=npt.NDArray[Any])

MINIMUM_WIDTH = 480
"""Pixels that a picture with text should be wide."""

CONTOUR = 0.4
"""What remains of the brightness on a contour."""

HATCHED = (130, 130, 130)
"""The mean of the two greys in which pixels without a class are hatched: what stands for them in a legend."""


def enlarged(image: Picture | None, label: Values, *, width: int = MINIMUM_WIDTH) -> tuple[Picture | None, Values]:
    """Image and label (or a mask), both enlarged by the smallest whole factor that makes them at least `width` wide."""
    factor = -(-width // label.shape[1])
    if factor <= 1:
        return image, label
    size = (label.shape[1] * factor, label.shape[0] * factor)
    larger: Any = label.repeat(factor, axis=0).repeat(factor, axis=1)
    return None if image is None else _picture(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)), larger


def coloured(
    label: Label,
    palette: Sequence[Sequence[int]],
    *,
    ignore_index: int | None = IGNORE_INDEX,
    uncertain: Mask | None = None,
) -> Picture:
    """Each pixel in the colour of its class, (H, W, 3).

    Ignored pixels, values without a class and pixels of `uncertain` (H, W) are hatched grey.
    """
    count = len(palette)
    table = np.zeros((count + 1, 3), np.uint8)
    table[:count] = palette
    last = label.dtype.type(min(count, np.iinfo(label.dtype).max))  # 256 classes fill 8 bits
    picture = table.take(np.minimum(label, last), axis=0)
    void = void_mask(label, count, ignore_index=ignore_index)
    if uncertain is not None:
        void |= uncertain
    if void.any():
        picture[void] = hatching(label.shape[0], label.shape[1])[void]
    return picture


def void_mask(label: Label, num_classes: int, *, ignore_index: int | None = IGNORE_INDEX) -> Mask:
    """Where a label names no class. Without an `ignore_index`, every value of a class stands for it."""
    outside = np.asarray((label < 0) | (label >= num_classes))
    return outside if ignore_index is None else outside | (label == ignore_index)


def hatching(height: int, width: int) -> Picture:
    """Diagonal stripes in two greys, (H, W, 3)."""
    period = max(6, 2 * (max(height, width) // 120))
    diagonal = np.add.outer(np.arange(height), np.arange(width)) % period
    return np.where(diagonal[:, :, None] < period // 3, np.uint8(148), np.uint8(112)).repeat(3, axis=2).astype(np.uint8)


def contours(label: Label) -> Mask:
    """Lines between classes: one pixel wide, more on large pictures."""
    edge = np.zeros(label.shape, np.uint8)
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    edge[:-1] |= label[:-1] != label[1:]
    thickness = max(1, round(min(label.shape) / 700))
    if thickness > 1:
        edge = _picture(cv2.dilate(edge, np.ones((thickness, thickness), np.uint8)))
    return edge.astype(np.bool_)


def blend(
    image: Picture | None,
    label: Label,
    palette: Sequence[Sequence[int]],
    *,
    opacity: float = 0.5,
    ignore_index: int | None = IGNORE_INDEX,
    outline: bool = True,
    uncertain: Mask | None = None,
) -> Picture:
    """Image (H, W, 3) under the colours of `label` (H, W), with darker contours between classes.

    opacity: share of the colours. Without an image the colours stand alone. Black, the usual colour of a background,
    is see-through at any opacity below 1. uncertain: (H, W), pixels that are hatched instead of coloured.
    Raises ValueError for an opacity outside 0..1 or sizes that differ.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity: expected a number from 0 to 1, found {opacity}")
    colours = coloured(label, palette, ignore_index=ignore_index, uncertain=uncertain)
    if image is None:
        picture = colours
    elif image.shape != colours.shape:
        raise ValueError(f"expected image and label of one size, found image {image.shape} and label {label.shape}")
    else:
        picture = _picture(cv2.addWeighted(image, 1 - opacity, colours, opacity, 0))
        if opacity < 1:
            picture = _picture(cv2.copyTo(image, cv2.inRange(colours, (0, 0, 0), (0, 0, 0)), picture))
    if outline:
        line = contours(label)
        picture[line] = (picture[line] * CONTOUR).astype(np.uint8)
    return picture


def _picture(array: Any) -> Picture:
    return np.asarray(array, dtype=np.uint8)
