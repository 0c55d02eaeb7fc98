"""Decoding of image and label files.

Images are decoded by OpenCV, as published results had it; labels by Pillow, which keeps palette indices as they are
stored. Files are checked for being whole first, since decoders differ in how silently they fill in what is missing.
"""

from __future__ import annotations

import importlib
import io
import struct
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Bands = Literal["colour", "stored"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy")
"""File endings that `read_image` decodes, in lower case. `.npy` holds (H, W) or (H, W, C) and is read as stored."""

_FOREIGN = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!DOCTYPE", "it is a web page: the download was answered with an error or a login form"),
    (b"<html", "it is a web page: the download was answered with an error or a login form"),
    (b"%PDF", "it is a PDF document"),
    (b"PK\x03\x04", "it is a zip archive: unpack it first"),
    (b"\x1f\x8b", "it is a gzip archive: unpack it first"),
)
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def read_image(path: str | Path, *, bands: Bands = "colour") -> npt.NDArray[Any]:
    """The image (H, W, C) of a file.

    bands: "colour" gives (H, W, 3) uint8 RGB whatever the file holds: the EXIF orientation is applied, alpha dropped,
    grey repeated, 16 bits reduced to 8. "stored" gives what is in the file: any type, any number of bands, alpha
    included, unrotated; three and four bands are in the order RGB(A).

    Raises ValueError naming the file and the likely cause if it is missing, empty, cut off or not an image.
    """
    data = _read_whole(path)
    if str(path).lower().endswith(".npy"):
        return _read_array(data, path, bands)
    if bands == "stored" and data.startswith(_TIFF):
        return _read_tiff(data, path)
    buffer = np.frombuffer(data, np.uint8)
    if bands == "stored":
        return _rgb_order(_decoded(buffer, cv2.IMREAD_UNCHANGED, data, path))
    return _decoded(buffer, cv2.IMREAD_COLOR_RGB, data, path)


def read_label(path: str | Path, *, colours: bool = False) -> npt.NDArray[Any]:
    """What a label file stores: (H, W) integers, or (H, W, 3) uint8 for colour files.

    Palette files give their indices, or the palette's colours if `colours` is set. One-bit files give 0 and 1, 16-bit
    files keep their 16 bits. An alpha channel is dropped.

    Raises ValueError naming the file and the likely cause if it is missing, empty, cut off or not an image.
    """
    data = _read_whole(path)
    if str(path).lower().endswith(".npy"):
        array = _read_array(data, path, "stored")
        return array[:, :, 0] if array.shape[2] == 1 else array
    try:
        with Image.open(io.BytesIO(data)) as file:
            image: Image.Image = file
            if image.mode in ("P", "PA") and colours:
                image = image.convert("RGB")
            elif image.mode in ("LA", "PA"):
                image = image.getchannel(0)
            elif image.mode in ("RGBA", "RGBX", "CMYK", "YCbCr"):
                image = image.convert("RGB")
            return np.array(image)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: {error}. If the file is yours, raise PIL.Image.MAX_IMAGE_PIXELS.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as a label image: {_cause(data, str(error))}") from None


def _read_whole(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder, expected a file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy or download it again")
    if _is_cut_off(data):
        raise ValueError(f"{path}: the file is cut off after {len(data)} bytes; copy or download it again")
    return data


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end. Other formats are left to their decoder."""
    if data.startswith(_PNG):
        return b"IEND" not in data[-4096:] and b"IEND" not in data
    if not data.startswith(_JPEG):
        return False
    # The end marker FF D9 cannot occur inside coded pixels, but a thumbnail in the header has one of its own: the
    # header's segments are skipped by their length until the scan begins.
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker == 0xDA:
            return data.rfind(b"\xff\xd9", position) < 0
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position >= len(data) - 4


def _decoded(buffer: npt.NDArray[np.uint8], flags: int, data: bytes, path: str | Path) -> npt.NDArray[Any]:
    try:
        image = cv2.imdecode(buffer, flags)
    except cv2.error as error:
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, str(error).strip())}") from None
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, 'the content is damaged')}")
    return np.asarray(image)


def _cause(data: bytes, otherwise: str) -> str:
    head = data[:64].lstrip()
    for start, cause in _FOREIGN:
        if head[: len(start)].lower() == start.lower():
            return cause
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        return f"it is in the format {brand!r} (HEIF family), which OpenCV may not decode: convert it to JPEG or PNG"
    if not data.startswith((_JPEG, _PNG, *_TIFF, b"BM", b"RIFF", b"GIF8")):
        return f"its first bytes {data[:8]!r} belong to no image format that is known here"
    return otherwise


def _rgb_order(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if image.ndim == 2:
        return image[:, :, None]
    if image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    if image.shape[2] == 4:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    return image


def _read_array(data: bytes, path: str | Path, bands: Bands) -> npt.NDArray[Any]:
    if bands != "stored":
        raise ValueError(f"{path}: an array file has no colours of its own; read it with bands='stored'")
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a NumPy array: {error}") from None
    if array.ndim not in (2, 3):
        raise ValueError(f"{path}: expected an array (H, W) or (H, W, C), found shape {array.shape}")
    return array[:, :, None] if array.ndim == 2 else array


def _read_tiff(data: bytes, path: str | Path) -> npt.NDArray[Any]:
    """A TIFF with every band. OpenCV knows up to four and may leave out some silently; rasterio takes over then."""
    bands = _tiff_bands(data)
    if bands is not None and bands <= 4:
        image = _rgb_order(_decoded(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, data, path))
        if image.shape[2] == bands:
            return image
    try:
        rasterio: Any = importlib.import_module("rasterio")
    except ImportError:
        count = "an unknown number of" if bands is None else bands
        raise ValueError(
            f'{path}: a TIFF with {count} bands needs rasterio: pip install "intarsia[raster]"; or convert it to .npy'
        ) from None
    with rasterio.MemoryFile(data) as memory, memory.open() as source:
        return np.ascontiguousarray(np.moveaxis(source.read(), 0, 2))


def _tiff_bands(data: bytes) -> int | None:
    """SamplesPerPixel (tag 277) of the first picture of a classic TIFF; None for BigTIFF and damaged headers."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (magic, offset) = struct.unpack_from(order + "HI", data, 2)
        if magic != 42:
            return None
        (entries,) = struct.unpack_from(order + "H", data, offset)
        for entry in range(entries):
            (tag,) = struct.unpack_from(order + "H", data, offset + 2 + 12 * entry)
            if tag == 277:
                return int(struct.unpack_from(order + "H", data, offset + 10 + 12 * entry)[0])
    except struct.error:
        return None
    return 1
