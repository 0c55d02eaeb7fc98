"""Bytes of files to arrays, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.data.headers import check_size, checked

Pixels = npt.NDArray[np.uint8]


def decoded_bgr(data: bytes) -> Pixels:
    """An image of any format as (H, W, 3) blue, green, red; grey ones three times, of animations the first frame."""
    size_of(data)
    image = None if data[:4] == b"GIF8" else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:  # OpenCV before 4.11 knows no GIF
        with Image.open(io.BytesIO(data)) as file:
            image = np.asarray(file.convert("RGB"))[:, :, ::-1]
    return np.asarray(image, np.uint8)


def decoded_rgb(data: bytes) -> Pixels:
    """As `decoded_bgr`, (H, W, 3) red, green, blue."""
    return np.ascontiguousarray(decoded_bgr(data)[:, :, ::-1])


def size_of(data: bytes) -> tuple[int, int]:
    """(H, W) of an image file, without decoding it. Raises ValueError for a damaged or absurdly large one."""
    checked(data)
    try:
        with Image.open(io.BytesIO(data)) as file:
            width, height = file.size
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected an image: {error}") from None
    check_size(width, height)
    return height, width


def png_of_bgr(image: Pixels) -> bytes:
    """(H, W, 3) blue, green, red as a PNG file."""
    return _png(image)


def png_of_rgb(image: Pixels) -> bytes:
    """(H, W, 3) red, green, blue as a PNG file."""
    return _png(np.ascontiguousarray(image[:, :, ::-1]))


def png_of_label(label: Pixels) -> bytes:
    """(H, W) as a grey PNG file."""
    return _png(np.ascontiguousarray(label))


def _png(array: npt.NDArray[Any]) -> bytes:
    ok, data = cv2.imencode(".png", array)
    assert ok
    return data.tobytes()


def recoded(label: npt.NDArray[Any], table: Mapping[int, int], otherwise: int | None = None) -> Pixels:
    """(H, W) values through a table; what is not in it becomes `otherwise`, or stays as it is."""
    lookup = np.arange(256, dtype=np.uint8) if otherwise is None else np.full(256, otherwise, np.uint8)
    for old, new in table.items():
        lookup[old] = new
    return lookup[label.astype(np.uint8)]


def classes_of_colours(image: Pixels, colours: Mapping[tuple[int, int, int], int]) -> Pixels:
    """(H, W, 3) red, green, blue to (H, W): the class of each colour, 0 for any other."""
    keys = image[:, :, 0].astype(np.int32) << 16 | image[:, :, 1].astype(np.int32) << 8 | image[:, :, 2]
    label = np.zeros(keys.shape, np.uint8)
    for (red, green, blue), value in colours.items():
        label[keys == (red << 16 | green << 8 | blue)] = value
    return label
