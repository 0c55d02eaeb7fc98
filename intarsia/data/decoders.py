"""Decoders: the bytes of an image file -> its samples as they are stored, and what its bands are.

OpenCV decodes what published results were made with; Pillow and GDAL what OpenCV does not, or not faithfully. Whether a
file is whole, and how large, has been looked at before (`data/headers.py`).
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.data import gdal
from intarsia.data.bands import (
    ALPHA,
    GREY,
    PALETTE,
    RGB,
    Bands,
    FileBands,
    brightness,
    eight_bits,
    looked_up,
    rgb_bands,
    upright,
)
from intarsia.data.exif import orientation_of
from intarsia.data.fast_jpeg import fast_stored_jpeg
from intarsia.data.fast_png import fast_stored_png
from intarsia.data.headers import JPEG, PNG, TIFF, check_size
from intarsia.data.heif import is_heif, register_heif
from intarsia.data.jpeg2000 import JPEG2000, is_jpeg2000, jpeg2000_bits
from intarsia.data.tiff import CMYK, INDEXED, YCBCR, TiffHeader, read_header

BY_OPENCV = (JPEG, PNG, *TIFF, b"BM", b"RIFF")
_PORTABLE = tuple(b"P%d" % number for number in range(1, 8))
_BY_PILLOW = ("GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""Formats that are read besides. Not all of Pillow's: one of them runs programs, one takes any bytes for its own."""

_FOREIGN = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!DOCTYPE", "it is a web page: the download was answered with an error or a login form"),
    (b"<html", "it is a web page: the download was answered with an error or a login form"),
    (b"%PDF", "it is a PDF document"),
    (b"PK\x03\x04", "it is a zip archive (.npz is one, too): unpack it first"),
    (b"\x1f\x8b", "it is a gzip archive: unpack it first"),
    (b"INTPACK", "it is packed data, which training and evaluation take (--data) and prediction does not"),
)

_ROLES = {1: (GREY,), 2: (GREY, ALPHA), 3: RGB, 4: (*RGB, ALPHA)}
"""What the bands of formats are that have no others."""

if "OPENCV_LOG_LEVEL" not in os.environ:
    # What it would say of damaged files, naming none, is said by the errors of these modules.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # likewise, unless the program listens to it


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """samples: (H, W, B) as they are stored, but that more is brighter and palettes are looked up. file: what they
    are. whole: of a slice, gives some of the values (n, B) of its volume. volume: of a slice, the path that names it.
    """

    samples: npt.NDArray[Any]
    file: FileBands
    whole: Callable[[], npt.NDArray[Any]] | None = None
    volume: str = ""

    def rgb(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3), as it is to be seen. Raises ValueError, naming no file, for numbers or bands without colours."""
        chosen = rgb_bands(self.file)
        if self.samples.dtype.kind != "u" or self.samples.dtype.itemsize > 2:
            raise ValueError(
                f"expected colours of 8 or 16 bits, found {self.samples.dtype} numbers; store it as 8-bit RGB, or use "
                "a model that was trained with `bands: raw`"
            )
        samples = self.samples if chosen == (0, 1, 2) == tuple(range(self.samples.shape[2])) else self.take(chosen)
        return np.ascontiguousarray(upright(eight_bits(samples, self.file.bits), self.file.orientation))

    def take(self, chosen: tuple[int, ...]) -> npt.NDArray[Any]:
        """The chosen bands (H, W, C), counted from 0."""
        if len(set(chosen)) == 1:
            return np.repeat(self.samples[:, :, chosen[0], None], len(chosen), axis=2)
        return self.samples[:, :, list(chosen)]


_UNDECODED = (
    f"the content is damaged, or of a kind that OpenCV {cv2.__version__} does not decode: store it as PNG or 8-bit TIFF"
)
_WIDE_INTEGERS = int(cv2.__version__.partition(".")[0]) >= 5
"""Whether OpenCV decodes TIFFs of integers of 64 bits, and of unsigned ones of 32: its version 4 does not."""


def cause(data: bytes, otherwise: str) -> str:
    """Why bytes are no image that is decoded here: what they are instead, or `otherwise`."""
    head = data[:64].lstrip()
    for start, found in _FOREIGN:
        if head[: len(start)].lower() == start.lower():
            return found
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        return f"it is in the format {brand!r} (HEIF family), which may not be decoded here: convert it to JPEG or PNG"
    if not data.startswith((*BY_OPENCV, *JPEG2000, *_PORTABLE, b"GIF8")):
        return f"its first bytes {data[:8]!r} belong to no image format that is known here"
    return otherwise


# --- Bytes to samples ---------------------------------------------------------------------------------------------


def decoded(data: bytes, flags: int, path: str | Path) -> npt.NDArray[Any]:
    """What OpenCV decodes, in its order of colours. Raises ValueError, naming the file; MemoryError."""
    image: npt.NDArray[Any] | None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError from None
        raise ValueError(f"{path}: cannot be read as an image: {cause(data, str(error).strip())}") from None
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image: {cause(data, _UNDECODED)}")
    return image


def rgb_order(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """OpenCV's (H, W) or (H, W, C), whose colours come from blue to red -> (H, W, C) from red to blue."""
    if image.ndim == 2:
        return image[:, :, None]
    if image.shape[2] not in (3, 4):
        return image
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        return np.ascontiguousarray(image[:, :, [2, 1, 0, 3][: image.shape[2]]])
    code = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return np.asarray(cv2.cvtColor(image, code))


def read_by_opencv(data: bytes, path: str | Path, bands: Bands) -> DecodedImage:
    """JPEG, PNG, BMP and WebP; without the orientation, of which OpenCV's versions differ in what they understand."""
    is_png = data.startswith(PNG)
    fast = fast_stored_png(data) if is_png else fast_stored_jpeg(data)
    if fast is not None:
        samples: npt.NDArray[Any] = fast[:, :, None] if fast.ndim == 2 else fast
        if bands == "rgb" and samples.shape[2] == 1:
            samples = np.repeat(samples, 3, axis=2)
    elif bands == "rgb" and not (is_png and data[24] == 16):
        samples = decoded(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, path)
    else:
        samples = rgb_order(decoded(data, cv2.IMREAD_UNCHANGED, path))
        if is_png and data[25] == 4 and samples.shape[2] == 4:  # grey with alpha, whose grey OpenCV repeats
            samples = samples[:, :, 2:]
    return DecodedImage(samples, FileBands(_ROLES[samples.shape[2]], orientation=orientation_of(data)))


def read_by_pillow(data: bytes, path: str | Path, max_pixels: int | None) -> DecodedImage:
    """The formats for which OpenCV is not asked."""
    Image.init()
    if is_heif(data):
        register_heif(path)
    bits = jpeg2000_bits(data) if is_jpeg2000(data) else ()
    if (max(bits, default=8) > 8 and len(bits) > 1) or len(bits) > 4:  # Pillow has no mode for these
        return _read_by_rasterio(data, path, f"a JPEG 2000 file with {len(bits)} bands of {max(bits)} bits")
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in _BY_PILLOW if name in Image.OPEN]) as file:
            check_size(*file.size, most=max_pixels)
            orientation = file.getexif().get(274, 1)
            if file.mode in ("P", "PA"):
                array = np.array(file.convert("RGBA" if file.has_transparency_data else "RGB"))
            else:
                array = np.array(file.convert("L") if file.mode == "1" else file)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises what its readers trip over: OSError, SyntaxError, struct.error, KeyError
        raise ValueError(f"{path}: cannot be read as an image: {cause(data, str(error))}") from None
    array = array[:, :, None] if array.ndim == 2 else array
    if array.dtype == np.int32:  # 16 bits of a format that has no more
        array = array.astype(np.uint16)
    depth = bits[0] if bits and array.dtype == np.uint16 else 0
    file_bands = FileBands(
        _ROLES[array.shape[2]], bits=depth, orientation=orientation if orientation in range(1, 9) else 1
    )
    return DecodedImage(array >> (16 - depth) if depth else array, file_bands)


# --- TIFF ---------------------------------------------------------------------------------------------------------


def tiff_header(data: bytes, path: str | Path, max_pixels: int | None = None) -> TiffHeader:
    """What a TIFF says of itself. Raises ValueError, naming the file."""
    try:
        return read_header(data, max_pixels=max_pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_tiff(data: bytes, path: str | Path, bands: Bands, max_pixels: int | None) -> DecodedImage:
    """Every band as it is stored; which decoder can do that depends on what is stored."""
    header = tiff_header(data, path, max_pixels)
    if header.patches:  # no decoder shall turn or invert anything by itself
        patched = bytearray(data)
        for place, value in header.patches.items():
            patched[place : place + len(value)] = value
        data = bytes(patched)
    file = header.file
    if header.bits == 8 and (header.photometric == YCBCR or (header.photometric == CMYK and bands == "rgb")):
        return DecodedImage(decoded(data, cv2.IMREAD_COLOR_RGB, path), replace(file, roles=RGB, space=""))
    if header.bits in (2, 4) and header.bands == 1 and header.photometric != INDEXED:
        return _bright(_few_bits(data, path), replace(file, bits=8))
    samples = _by_opencv(data, path, header)
    if samples is None:
        odd = f" of {header.bits} bits" if header.bits not in (8, 16, 32, 64) or header.bands == 1 else ""
        found = _read_by_rasterio(data, path, f"a TIFF with {header.bands} bands{odd}")
        return replace(found, file=replace(found.file, orientation=file.orientation))
    if header.photometric == INDEXED:
        return DecodedImage(samples, replace(file, roles=_ROLES[samples.shape[2]], bits=8))
    if header.bits == 1:
        file = replace(file, bits=8)
    if header.bits in (10, 12, 14):
        samples = samples >> (16 - header.bits)  # OpenCV puts them into the upper bits
    return _bright(samples, file)


def _few_bits(data: bytes, path: str | Path) -> npt.NDArray[np.uint8]:
    """(H, W, 1): greys of 2 or 4 bits, which Pillow stretches to 8."""
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            return np.array(image.convert("L"))[:, :, None]
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises what its readers trip over: OSError, SyntaxError, struct.error, KeyError
        raise ValueError(f"{path}: cannot be read as an image: {cause(data, str(error))}") from None


def _bright(samples: npt.NDArray[Any], file: FileBands) -> DecodedImage:
    bits = max(file.bits, 8) if file.bits else 0
    return DecodedImage(brightness(samples, file), replace(file, bits=bits, inverted=False))


def _by_opencv(data: bytes, path: str | Path, header: TiffHeader) -> npt.NDArray[Any] | None:
    """The samples (H, W, B); None where OpenCV leaves out some, mixes four of 8 bits, or knows no such numbers."""
    if header.bits not in (1, 8, 10, 12, 14, 16, 32, 64) and header.photometric != INDEXED:
        return None
    if header.bits > 8 and header.photometric in (INDEXED, CMYK):
        return None
    if not _WIDE_INTEGERS and (header.bits, header.kind) in ((32, "unsigned"), (64, "unsigned"), (64, "signed")):
        return None
    if header.bands > 4 or (header.bands == 4 and header.bits <= 8) or (header.bits == 1 and header.bands > 1):
        return None
    if header.bands == 2 and header.photometric != INDEXED:  # OpenCV gives one, or, of 32 bits and more, none
        return None
    samples = rgb_order(decoded(data, cv2.IMREAD_UNCHANGED, path))
    return samples if samples.shape[2] == header.bands or header.photometric == INDEXED else None


def _read_by_rasterio(data: bytes, path: str | Path, what: str) -> DecodedImage:
    """All bands of what no other decoder here can do. Raises ValueError if rasterio is not installed."""
    try:
        rasterio = gdal.raster_library()
    except ValueError:
        raise ValueError(
            f'{path}: {what} needs rasterio: pip install "intarsia[raster]"; or convert it to .npy'
        ) from None
    try:
        with gdal.without_place(), rasterio.MemoryFile(data) as memory, memory.open() as source:
            file = gdal.file_bands(source)
            samples = np.ascontiguousarray(np.moveaxis(source.read(), 0, 2))
            if file.roles[0] == PALETTE:
                return DecodedImage(*looked_up(samples, file, gdal.palette(source)))
    except rasterio.errors.RasterioError as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None
    return _bright(samples, file)
