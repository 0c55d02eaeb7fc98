"""Decoding of image and label files.

Images are decoded by OpenCV, as published results had it; labels by Pillow, which keeps palette indices as they are
stored. Files are checked for being whole and of a sane size first (`data/headers.py`), since decoders differ in how
silently they fill in what is missing. They differ in what they make of bands, white and orientation, too: all of that
is decided by `data/bands.py`.
"""

from __future__ import annotations

import io
import math
import os
import stat
import warnings
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
    band_mode,
    brightness,
    eight_bits,
    looked_up,
    rgb_bands,
    upright,
)
from intarsia.data.exif import orientation_of
from intarsia.data.headers import JPEG, NUMPY, PNG, TIFF, check_size, checked, cut_off, lacks_end
from intarsia.data.jpeg2000 import JPEG2000, is_jpeg2000, jpeg2000_bits
from intarsia.data.pages import page_file
from intarsia.data.sidecar import read_sidecar
from intarsia.data.tiff import CMYK, INDEXED, YCBCR, TiffHeader, read_header
from intarsia.terminal import Notice

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".avif"),
    *(".jpe", ".jfif", ".apng"),
)
"""File endings that `read_image` decodes, in lower case: what is looked for in folders. Where several files could be
meant, the earlier ending counts. `.npy` holds (H, W) or (H, W, C) and is read as stored."""

_BY_OPENCV = (JPEG, PNG, *TIFF, b"BM", b"RIFF")
_PORTABLE = tuple(b"P%d" % number for number in range(1, 8))
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

_ROLES = {1: (GREY,), 2: (GREY, ALPHA), 3: RGB, 4: (*RGB, ALPHA)}
"""What the bands of formats are that have no others."""

_FILLS = (b"\x55" * 256, b"\xaa" * 256)
"""What is put behind a JPEG without end: if any of it becomes pixels, some were missing."""

if "OPENCV_LOG_LEVEL" not in os.environ:
    # What it would say of damaged files, naming none, is said by the errors of this module.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """samples: (H, W, B) as they are stored, but that more is brighter and palettes are looked up. file: what they
    are.
    """

    samples: npt.NDArray[Any]
    file: FileBands

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


def read_image(
    path: str | Path, *, bands: Bands = "rgb", max_pixels: int | None = None, page: int = 0
) -> npt.NDArray[Any]:
    """The image (H, W, C) of a file.

    bands: "rgb" gives (H, W, 3) uint8 RGB whatever the file holds: the bands that it calls red, green and blue, turned
    as EXIF or TIFF say, alpha dropped, grey repeated, more than 8 bits reduced to the upper 8. "raw" gives what is in
    the file: any type, every band in the order of the file, alpha included, unrotated; fewer than 8 bits are stretched
    to 8. Palettes are looked up and a white of 0 is inverted either way.
    max_pixels: of the largest image that is read, by default `headers.MAX_PIXELS`. page: of a file that holds several
    images (`data/pages.py`), counted from 0.

    Raises ValueError naming the file and the likely cause if it is missing, empty, cut off, damaged, too large to be
    read whole or not an image, and if "rgb" is asked of numbers or bands that are no colours.
    """
    mode = band_mode(bands)
    decoded = decode_image(path, bands=mode, max_pixels=max_pixels, page=page)
    if mode == "raw":
        return decoded.samples
    try:
        return decoded.rgb()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def decode_image(
    path: str | Path, *, bands: Bands = "raw", max_pixels: int | None = None, page: int = 0
) -> DecodedImage:
    """The samples of a file with what they are.

    bands: "rgb" leaves out what a model of colours does not look at, which is faster.

    Raises ValueError as `read_image` does, and for an array file if colours are asked of it.
    """
    try:
        return _decode(path, bands, max_pixels, page)
    except MemoryError:
        raise ValueError(
            f"{path}: its pixels do not fit into memory: make it a GeoTIFF, if it is none, and predict it window by "
            "window, with  -o NAME.tif ; or cut it into tiles"
        ) from None


def _decode(path: str | Path, bands: Bands, max_pixels: int | None, page: int) -> DecodedImage:
    data = _read_whole(path, max_pixels, page)
    if data.startswith(NUMPY):
        if bands == "rgb":
            raise ValueError(f"{path}: an array file has no colours of its own; read it with bands='raw'")
        array = _read_array(data, path)
        return DecodedImage(array, FileBands(("",) * array.shape[2]))
    named = read_sidecar(path)
    bands = bands if named is None else "raw"  # a name is that of a band as it is stored
    if data.startswith(TIFF):
        decoded = _read_tiff(data, path, bands, max_pixels)
    elif data.startswith(_BY_OPENCV):
        decoded = _read_by_opencv(data, path, bands)
    else:
        decoded = _read_by_pillow(data, path, max_pixels)
    if named is None:
        return decoded
    return DecodedImage(*named.applied(decoded.samples, decoded.file, is_tiff=data.startswith(TIFF)))


def read_label(path: str | Path, *, colours: bool = False) -> npt.NDArray[Any]:
    """What a label file stores: (H, W) integers, or (H, W, 3) uint8 for colour files.

    Palette files give their indices, or the palette's colours if `colours` is set. One-bit files give 0 and 1, 16-bit
    files keep their 16 bits. An alpha channel is dropped.

    Raises ValueError naming the file and the likely cause if it is missing, empty, cut off, damaged or not an image.
    """
    data = _read_whole(path)
    if data.startswith(NUMPY):
        array = _read_array(data, path)
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


def _read_whole(path: str | Path, max_pixels: int | None = None, page: int = 0) -> bytes:
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
        whole = checked(data, max_pixels=max_pixels)
        if page:
            return checked(page_file(data, page, max_pixels=max_pixels), max_pixels=max_pixels)
        return _with_end(whole, path) if whole.startswith(JPEG) and lacks_end(whole) else whole
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _with_end(data: bytes, path: str | Path) -> bytes:
    """A JPEG that lacks its end marker, as some cameras leave them, with it. Raises ValueError if pixels are missing.

    A decoder would fill them in. What is put behind the data tells: if every pixel was there, none of it is looked at.
    """
    start = data.removesuffix(b"\xff")
    try:  # by Pillow, which does not speak of what it finds
        found = []
        for fill in (b"", *_FILLS):
            with Image.open(io.BytesIO(start + fill + b"\xff\xd9"), formats=["JPEG"]) as image:
                found.append(np.array(image))
    except Exception:  # Pillow raises what its readers trip over: OSError, SyntaxError, struct.error
        raise cut_off(data) from None
    if not all(np.array_equal(found[0], other) for other in found[1:]):
        raise cut_off(data)
    warnings.warn(f"{path}: the JPEG has no end marker; every pixel of it is there", Notice, stacklevel=2)
    return start + b"\xff\xd9"


_UNDECODED = (
    f"the content is damaged, or of a kind that OpenCV {cv2.__version__} does not decode (4.x reads no TIFF of "
    "integers of 32 bits): store it as PNG or 8-bit TIFF"
)


def _cause(data: bytes, otherwise: str) -> str:
    head = data[:64].lstrip()
    for start, cause in _FOREIGN:
        if head[: len(start)].lower() == start.lower():
            return cause
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        return f"it is in the format {brand!r} (HEIF family), which may not be decoded here: convert it to JPEG or PNG"
    if not data.startswith((*_BY_OPENCV, *JPEG2000, *_PORTABLE, b"GIF8")):
        return f"its first bytes {data[:8]!r} belong to no image format that is known here"
    return otherwise


# --- Bytes to samples ---------------------------------------------------------------------------------------------


def _decoded(data: bytes, flags: int, path: str | Path) -> npt.NDArray[Any]:
    image: npt.NDArray[Any] | None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError from None
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, str(error).strip())}") from None
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, _UNDECODED)}")
    return image


def _rgb_order(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """OpenCV's (H, W) or (H, W, C), whose colours come from blue to red -> (H, W, C) from red to blue."""
    if image.ndim == 2:
        return image[:, :, None]
    if image.shape[2] not in (3, 4):
        return image
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        return np.ascontiguousarray(image[:, :, [2, 1, 0, 3][: image.shape[2]]])
    code = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return np.asarray(cv2.cvtColor(image, code))


def _read_by_opencv(data: bytes, path: str | Path, bands: Bands) -> DecodedImage:
    """JPEG, PNG, BMP and WebP; without the orientation, of which OpenCV's versions differ in what they understand."""
    is_png = data.startswith(PNG)
    if bands == "rgb" and not (is_png and data[24] == 16):
        samples = _decoded(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, path)
    else:
        samples = _rgb_order(_decoded(data, cv2.IMREAD_UNCHANGED, path))
        if is_png and data[25] == 4 and samples.shape[2] == 4:  # grey with alpha, whose grey OpenCV repeats
            samples = samples[:, :, 2:]
    return DecodedImage(samples, FileBands(_ROLES[samples.shape[2]], orientation=orientation_of(data)))


def _read_by_pillow(data: bytes, path: str | Path, max_pixels: int | None) -> DecodedImage:
    """The formats for which OpenCV is not asked."""
    Image.init()
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
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, str(error))}") from None
    array = array[:, :, None] if array.ndim == 2 else array
    if array.dtype == np.int32:  # 16 bits of a format that has no more
        array = array.astype(np.uint16)
    depth = bits[0] if bits and array.dtype == np.uint16 else 0
    file_bands = FileBands(
        _ROLES[array.shape[2]], bits=depth, orientation=orientation if orientation in range(1, 9) else 1
    )
    return DecodedImage(array >> (16 - depth) if depth else array, file_bands)


def _read_array(data: bytes, path: str | Path) -> npt.NDArray[Any]:
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


def _tiff_header(data: bytes, path: str | Path, max_pixels: int | None = None) -> TiffHeader:
    try:
        return read_header(data, max_pixels=max_pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_tiff(data: bytes, path: str | Path, bands: Bands, max_pixels: int | None) -> DecodedImage:
    """Every band as it is stored; which decoder can do that depends on what is stored."""
    header = _tiff_header(data, path, max_pixels)
    if header.patches:  # no decoder shall turn or invert anything by itself
        patched = bytearray(data)
        for place, value in header.patches.items():
            patched[place : place + len(value)] = value
        data = bytes(patched)
    file = header.file
    if header.bits == 8 and (header.photometric == YCBCR or (header.photometric == CMYK and bands == "rgb")):
        return DecodedImage(_decoded(data, cv2.IMREAD_COLOR_RGB, path), replace(file, roles=RGB, space=""))
    if header.bits in (2, 4) and header.bands == 1 and header.photometric != INDEXED:
        return _bright(_few_bits(data, path), replace(file, bits=8))
    samples = _by_opencv(data, path, header)
    if samples is None:
        odd = "" if header.bits in (8, 16, 32, 64) else f" of {header.bits} bits"
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
        raise ValueError(f"{path}: cannot be read as an image: {_cause(data, str(error))}") from None


def _bright(samples: npt.NDArray[Any], file: FileBands) -> DecodedImage:
    bits = max(file.bits, 8) if file.bits else 0
    return DecodedImage(brightness(samples, file), replace(file, bits=bits, inverted=False))


def _by_opencv(data: bytes, path: str | Path, header: TiffHeader) -> npt.NDArray[Any] | None:
    """The samples (H, W, B); None where OpenCV leaves out some, mixes four of 8 bits, or knows no such numbers."""
    if header.bits not in (1, 8, 10, 12, 14, 16, 32, 64) and header.photometric != INDEXED:
        return None
    if header.bits > 8 and header.photometric in (INDEXED, CMYK):
        return None
    if header.bands > 4 or (header.bands == 4 and header.bits <= 8) or (header.bits == 1 and header.bands > 1):
        return None
    samples = _rgb_order(_decoded(data, cv2.IMREAD_UNCHANGED, path))
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
