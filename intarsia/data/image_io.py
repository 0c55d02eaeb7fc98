"""Decoding of image and label files.

Images are decoded by OpenCV, as published results had it; labels by Pillow, which keeps palette indices as they are
stored. Files are checked for being whole and of a sane size first (`data/headers.py`), since decoders differ in how
silently they fill in what is missing.
"""

from __future__ import annotations

import functools
import importlib
import io
import math
import os
import stat
import warnings
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.data.headers import JPEG, NUMPY, PNG, TIFF, check_size, checked
from intarsia.data.pages import page_file
from intarsia.data.tiff import TiffHeader, read_header

Bands = Literal["colour", "stored"]

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".avif"),
    *(".jpe", ".jfif", ".apng"),
)
"""File endings that `read_image` decodes, in lower case: what is looked for in folders. Where several files could be
meant, the earlier ending counts. `.npy` holds (H, W) or (H, W, C) and is read as stored."""

_BY_OPENCV = (JPEG, PNG, *TIFF, b"BM", b"RIFF")
_BY_PILLOW = ("GIF", "PPM", "JPEG2000", "AVIF")
"""Formats that are read besides. Not all of Pillow's: one of them runs programs, one takes any bytes for its own."""

_FOREIGN = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!DOCTYPE", "it is a web page: the download was answered with an error or a login form"),
    (b"<html", "it is a web page: the download was answered with an error or a login form"),
    (b"%PDF", "it is a PDF document"),
    (b"PK\x03\x04", "it is a zip archive (.npz is one, too): unpack it first"),
    (b"\x1f\x8b", "it is a gzip archive: unpack it first"),
)
_TIFF_GREY, _TIFF_RGB, _TIFF_PALETTE, _TIFF_LAB = 1, 2, 3, (8, 9, 10)

if "OPENCV_LOG_LEVEL" not in os.environ:
    # What it would say of damaged files, naming none, is said by the errors of this module.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_image(path: str | Path, *, bands: Bands = "colour", page: int = 0) -> npt.NDArray[Any]:
    """The image (H, W, C) of a file.

    bands: "colour" gives (H, W, 3) uint8 RGB whatever the file holds: the EXIF orientation is applied, alpha dropped,
    grey repeated, 16 bits reduced to 8. "stored" gives what is in the file: any type, any number of bands, alpha
    included, unrotated; three and four bands are in the order RGB(A). Palettes are looked up either way.
    page: of a file that holds several images (`data/pages.py`), counted from 0.

    Raises ValueError naming the file and the likely cause if it is missing, empty, cut off, damaged, too large to be
    read whole or not an image, and if "colour" is asked of numbers that are no colours.
    """
    data = _read_whole(path, page)
    if data.startswith(NUMPY):
        return _read_array(data, path, bands)
    if data.startswith(TIFF):
        return _read_tiff(data, path, bands)
    if not data.startswith(_BY_OPENCV):
        return _read_by_pillow(data, path, bands)
    if bands == "colour":
        return _decoded(data, cv2.IMREAD_COLOR_RGB, path)
    image = _rgb_order(_decoded(data, cv2.IMREAD_UNCHANGED, path))
    return image[:, :, 2:] if _is_grey_with_alpha(data) and image.shape[2] == 4 else image


def read_label(path: str | Path, *, colours: bool = False) -> npt.NDArray[Any]:
    """What a label file stores: (H, W) integers, or (H, W, 3) uint8 for colour files.

    Palette files give their indices, or the palette's colours if `colours` is set. One-bit files give 0 and 1, 16-bit
    files keep their 16 bits. An alpha channel is dropped.

    Raises ValueError naming the file and the likely cause if it is missing, empty, cut off, damaged or not an image.
    """
    data = _read_whole(path)
    if data.startswith(NUMPY):
        array = _read_array(data, path, "stored")
        return array[:, :, 0] if array.shape[2] == 1 else array
    if data.startswith(TIFF):
        _tiff_header(data, path)
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
    except Exception as error:  # Pillow raises what its readers trip over: OSError, SyntaxError, struct.error, KeyError
        raise ValueError(f"{path}: cannot be read as a label image: {_cause(data, str(error))}") from None


# --- Files to bytes -----------------------------------------------------------------------------------------------


def _read_whole(path: str | Path, page: int = 0) -> bytes:
    """The content of a regular file, after a look at what its header promises."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading one might never end
            raise ValueError(f"{path}: is a pipe or a device, expected a file; write what comes from there to a file")
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder, expected a file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy or download it again")
    try:
        whole = checked(data)
        return checked(page_file(data, page)) if page else whole
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _cause(data: bytes, otherwise: str) -> str:
    head = data[:64].lstrip()
    for start, cause in _FOREIGN:
        if head[: len(start)].lower() == start.lower():
            return cause
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        return f"it is in the format {brand!r} (HEIF family), which may not be decoded here: convert it to JPEG or PNG"
    if not data.startswith((*_BY_OPENCV, b"GIF8")):
        return f"its first bytes {data[:8]!r} belong to no image format that is known here"
    return otherwise


# --- Bytes to arrays ----------------------------------------------------------------------------------------------


def _decoded(data: bytes, flags: int, path: str | Path) -> npt.NDArray[Any]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, str(error).strip())}") from None
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, 'the content is damaged')}")
    return np.asarray(image)


def _rgb_order(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if image.ndim == 2:
        return image[:, :, None]
    if image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    if image.shape[2] == 4:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    return image


def _is_grey_with_alpha(data: bytes) -> bool:
    """Whether this is a PNG of colour type 4, whose grey OpenCV repeats."""
    return data.startswith(PNG) and data[25] == 4


def _read_by_pillow(data: bytes, path: str | Path, bands: Bands) -> npt.NDArray[Any]:
    """The formats for which OpenCV is not asked."""
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in _BY_PILLOW if name in Image.OPEN]) as file:
            check_size(*file.size)
            if file.mode in ("P", "PA"):
                array = np.array(file.convert("RGBA" if file.has_transparency_data else "RGB"))
            else:
                array = np.array(file.convert("L") if file.mode == "1" else file)
    except Exception as error:  # Pillow raises what its readers trip over: OSError, SyntaxError, struct.error, KeyError
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, str(error))}") from None
    array = array[:, :, None] if array.ndim == 2 else array
    if bands == "stored":
        return array
    array = _eight_bits(array)
    return np.repeat(array[:, :, :1], 3, axis=2) if array.shape[2] < 3 else array[:, :, :3]


def _eight_bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The upper 8 of 16 bits, which some readers hold in 32."""
    return array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)


def _read_array(data: bytes, path: str | Path, bands: Bands) -> npt.NDArray[Any]:
    if bands != "stored":
        raise ValueError(f"{path}: an array file has no colours of its own; read it with bands='stored'")
    try:
        array = _array_of(data)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a NumPy array: {error}") from None
    if array.ndim not in (2, 3):
        raise ValueError(f"{path}: expected an array (H, W) or (H, W, C), found shape {array.shape}")
    return array[:, :, None] if array.ndim == 2 else array


def _array_of(data: bytes) -> npt.NDArray[Any]:
    """The array of an .npy file, once its header is known to promise no more than there is."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    promised, found = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if promised > found and not dtype.hasobject:
        raise ValueError(f"its header promises {promised:,} bytes of numbers, the file holds {found:,}")
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


# --- TIFF ---------------------------------------------------------------------------------------------------------


def _tiff_header(data: bytes, path: str | Path) -> TiffHeader:
    try:
        return read_header(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_tiff(data: bytes, path: str | Path, bands: Bands) -> npt.NDArray[Any]:
    header = _tiff_header(data, path)
    if bands == "stored":
        return _tiff_numbers(data, path, header)
    _check_colours(header, path)
    # OpenCV multiplies colours by a fourth band, which may be infrared; and rasters often do not say that they are RGB.
    if header.photometric in (_TIFF_GREY, _TIFF_RGB) and header.bands > (3 if header.photometric == _TIFF_RGB else 2):
        return _eight_bits(_tiff_numbers(data, path, header)[:, :, :3])
    return _decoded(data, cv2.IMREAD_COLOR_RGB, path)


def _tiff_numbers(data: bytes, path: str | Path, header: TiffHeader) -> npt.NDArray[Any]:
    """Every band as it is stored. Where OpenCV leaves out some, or mixes four of 8 bits, rasterio takes over."""
    if header.bands <= 3 or (header.bands == 4 and header.bits > 8):
        image = _rgb_order(_decoded(data, cv2.IMREAD_UNCHANGED, path))
        if image.shape[2] == header.bands or header.photometric == _TIFF_PALETTE:
            return image
    try:
        rasterio: Any = importlib.import_module("rasterio")
    except ImportError:
        raise ValueError(
            f'{path}: a TIFF with {header.bands} bands needs rasterio: pip install "intarsia[raster]"; or convert it '
            "to .npy"
        ) from None
    _expect_no_place(rasterio)
    try:
        with rasterio.MemoryFile(data) as memory, memory.open(driver="GTiff") as source:
            return np.ascontiguousarray(np.moveaxis(source.read(), 0, 2))
    except rasterio.errors.RasterioError as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None


def _check_colours(header: TiffHeader, path: str | Path) -> None:
    """Raises ValueError if a TIFF holds numbers that are no colours, or colours that would come out as others."""
    fix = "store it as 8-bit RGB, or use a model that was trained with `bands: stored`"
    if header.kind != "unsigned" or header.bits > 16:
        raise ValueError(
            f"{path}: expected colours of 8 or 16 bits, found {header.kind} numbers of {header.bits}; {fix}"
        )
    if header.bands > 4:
        raise ValueError(f"{path}: expected 1, 3 or 4 bands (grey, RGB, RGBA), found {header.bands}; {fix}")
    if header.photometric in _TIFF_LAB:
        raise ValueError(f"{path}: its colours are CIE L*a*b*; {fix}")


@functools.cache
def _expect_no_place(rasterio: Any) -> None:
    """An image without a place on earth is nothing to be warned of."""
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
