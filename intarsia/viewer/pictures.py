"""What a browser gets of an image or a label map, as bytes."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.visual.files import picture_bytes
from intarsia.visual.overlay import Picture

Label = npt.NDArray[np.integer[Any]]
Confidence = npt.NDArray[np.uint8]
"""From 0 to 255 for 0 to 1."""

LONGEST = 4096
"""Pixels of the longer side that a browser gets; larger images and labels are reduced to it."""

THUMBNAIL = 128
LOSSLESS = 1 << 20
"""Pixels up to which images are sent as PNG, so that what one sees enlarged are their own pixels."""

HEADER = struct.Struct("<4I")
"""Before the values of a packed map: width, height, bytes of a value, whether confidences follow."""


def thumbnail(image: Picture) -> bytes:
    """A small picture as JPEG."""
    return picture_bytes(_within(image, THUMBNAIL), ".jpg")


def shown_image(image: Picture) -> tuple[bytes, str]:
    """A picture for the screen, and its media type."""
    image = _within(image, LONGEST)
    lossless = image.shape[0] * image.shape[1] <= LOSSLESS
    return picture_bytes(image, ".png" if lossless else ".jpg"), "image/png" if lossless else "image/jpeg"


def pack(label: Label, values: int, confidence: Confidence | None = None) -> bytes:
    """A label map (H, W), and confidences of this size, as bytes: `HEADER`, the rows of one, the rows of the other.

    values: how many label values there are; what is none of them, such as ignored pixels, becomes the largest number of
    8 bits, or of 16 where there are more than 255.
    """
    dtype: Any = np.uint8 if values <= 255 else np.dtype("<u2")
    inside = (label >= 0) & (label < values)
    packed = label.astype(dtype)
    packed[~inside] = np.iinfo(dtype).max
    height, width = label.shape
    head = HEADER.pack(width, height, packed.itemsize, confidence is not None)
    return head + packed.tobytes() + (b"" if confidence is None else confidence.tobytes())


def unpack(data: bytes) -> tuple[Label, Confidence | None]:
    """What `pack` was given, what is no label value being as `pack` says."""
    width, height, size, sure = HEADER.unpack_from(data)
    count = width * height
    label = np.frombuffer(data, np.uint8 if size == 1 else "<u2", count, HEADER.size).reshape(height, width)
    if not sure:
        return label, None
    return label, np.frombuffer(data, np.uint8, count, HEADER.size + count * size).reshape(height, width)


def shown_map(data: bytes) -> bytes:
    """A packed map with at most `LONGEST` pixels a side: of larger ones every n-th row and column."""
    width, height, _, _ = HEADER.unpack_from(data)
    if max(width, height) <= LONGEST:
        return data
    size = _size(height, width, LONGEST)
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, (height, width), strict=True))
    label, confidence = unpack(data)
    values = 255 if label.dtype == np.uint8 else 65535
    return pack(
        label[rows[:, None], columns], values, None if confidence is None else confidence[rows[:, None], columns]
    )


def _within(image: Picture, side: int) -> Picture:
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    new = _size(height, width, side)
    return np.asarray(cv2.resize(image, (new[1], new[0]), interpolation=cv2.INTER_AREA), np.uint8)


def _size(height: int, width: int, side: int) -> tuple[int, int]:
    factor = side / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))
