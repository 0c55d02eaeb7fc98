"""Pictures and arrays as files."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from intarsia.contracts import PathLike
from intarsia.io.whole_files import write_bytes
from intarsia.terminal import Notice
from intarsia.visual.overlay import HATCHED

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

LONGEST_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}
"""Pixels of a side at most: libjpeg's limit, which is a little below that of the format, and WebP's own."""

SOFTWARE = "Intarsia"
"""What TIFF files of ours have as the software that wrote them."""

MARK = b"Software\0Intarsia"
"""What PNG and JPEG files of ours have in their beginning, as a text or a comment: who made them."""


def save_picture(path: PathLike, picture: npt.NDArray[np.uint8]) -> Path:
    """Write a picture (H, W, 3) RGB. The suffix decides the format; JPEG and WebP are written at a quality of 92.

    One that is too large for its format (`LONGEST_SIDE`) is made smaller, with a warning.

    Raises ValueError for a suffix outside `PICTURE_SUFFIXES`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise ValueError(
            f"{path}: expected a picture's suffix, {', '.join(PICTURE_SUFFIXES)}, found {suffix or 'none'!r}"
        )
    if max(picture.shape) > LONGEST_SIDE.get(suffix, math.inf):
        warnings.warn(f"{path}: {too_large(suffix)}", Notice, stacklevel=2)
    return write_bytes(path, picture_bytes(picture, suffix))


def too_large(suffix: str) -> str:
    """What is said of a picture that is made smaller for its format."""
    name = Image.registered_extensions()[suffix]
    return f"the picture is made smaller, since {name} ends at {LONGEST_SIDE[suffix]:,} pixels a side"


def save_label(path: PathLike, label: npt.NDArray[np.integer[Any]], palette: Sequence[Sequence[int]]) -> Path:
    """Write class indices (H, W) as PNG: 8 bits with a palette up to 256 classes, 16-bit grey beyond.

    The values in the file are the class indices; the palette only makes viewers show colours. Read it with Pillow,
    which keeps indices (`np.array(Image.open(path))`); OpenCV turns palettes into colours.

    Raises ValueError for a suffix other than .png, since the others lose or change values.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(
            f"{path}: label maps are written as .png, which keeps every value; found {path.suffix or 'no suffix'!r}"
        )
    return write_bytes(path, label_bytes(label, palette))


# --- Encoding -----------------------------------------------------------------------------------------------------


def fitting(picture: npt.NDArray[np.uint8], suffix: str) -> npt.NDArray[np.uint8]:
    """The picture, made smaller if its sides are longer than the format of a suffix can hold."""
    height, width = picture.shape[:2]
    scale = LONGEST_SIDE.get(suffix, math.inf) / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def picture_bytes(picture: npt.NDArray[np.uint8], suffix: str) -> bytes:
    """A picture (H, W, 3) RGB in the format of a suffix such as ".jpg", made to fit it."""
    options: dict[str, Any] = {"compress_level": 6} if suffix == ".png" else {"quality": 92}
    if suffix in (".jpg", ".jpeg"):
        options["subsampling"] = 0  # thin contours and text keep their colour
    return _encoded(Image.fromarray(fitting(picture, suffix)), suffix, **options)


def label_bytes(label: npt.NDArray[np.integer[Any]], palette: Sequence[Sequence[int]]) -> bytes:
    """Class indices (H, W) as PNG, as `save_label` writes them; 255 without a class of this index is shown grey."""
    largest = int(label.max())
    if max(len(palette) - 1, largest) > 255:
        return grey_bytes(label.astype(np.uint16))
    values = [int(value) for colour in palette for value in colour]
    if len(palette) < 256 and largest == 255:
        # The file has as many bits as its palette needs, so that larger values want a whole one.
        values += [0] * (3 * 255 - len(values)) + list(HATCHED)
    image = Image.fromarray(label.astype(np.uint8), mode="P")
    image.putpalette(values)
    return _encoded(image, ".png")


def grey_bytes(values: npt.NDArray[np.uint8 | np.uint16], *, compress_level: int = 6) -> bytes:
    """Numbers (H, W) as grey PNG of 8 or 16 bits, whatever reads it. Level 1 suits numbers that are mostly noise."""
    return _encoded(Image.fromarray(values), ".png", compress_level=compress_level)


def _encoded(image: Image.Image, suffix: str, **options: Any) -> bytes:
    """With the mark in PNG and JPEG."""
    key, _, value = MARK.decode().partition("\0")
    if suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text(key, value)
    elif suffix in (".jpg", ".jpeg"):
        options["comment"] = MARK
    encoded = io.BytesIO()
    image.save(encoded, format=Image.registered_extensions()[suffix], **options)
    return encoded.getvalue()
