"""Decoding of image and label files.

Images are decoded by OpenCV, as published results had it; labels by Pillow, which keeps palette indices as they are
stored, or, if they are plain greys, by what is faster. Files are checked for being whole and of a sane size first
(`data/headers.py`), since decoders differ in how silently they fill in what is missing. They differ in what they make
of bands, white and orientation, too: all of that is decided by `data/bands.py`.
"""

from __future__ import annotations

import functools
import io
import math
import os
import stat
import warnings
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.data.bands import (
    GREY,
    Bands,
    FileBands,
    band_mode,
)
from intarsia.data.containers import member_bytes, packed_image, packed_label
from intarsia.data.decoders import (
    BY_OPENCV,
    DecodedImage,
    cause,
    read_by_opencv,
    read_by_pillow,
    read_tiff,
    tiff_header,
)
from intarsia.data.dicom import DICOM_SUFFIXES, is_dicom, read_dicom
from intarsia.data.fast_png import PngRows, fast_stored_png, is_grey_png
from intarsia.data.headers import JPEG, NUMPY, TIFF, checked, cut_off, lacks_end
from intarsia.data.pages import page_file
from intarsia.data.sidecar import Sidecar, read_sidecar
from intarsia.data.slices import (
    VOLUME_SUFFIXES,
    Part,
    is_volume,
    part_of,
    read_slice,
    some_values,
    suffix_of,
    whole_numbers,
)
from intarsia.data.top_rows import TopRows
from intarsia.terminal import Notice

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".avif"),
    *(".jpe", ".jfif", ".apng", ".heic", ".heif", ".hif", *DICOM_SUFFIXES, *VOLUME_SUFFIXES),
)
"""File endings that `read_image` decodes, in lower case: what is looked for in folders. Where several files could be
meant, the earlier ending counts. `.npy` holds (H, W) or (H, W, C) and is read as stored. Of volumes the slices are
images (`data/slices.py`)."""

_FILLS = (b"\x55" * 256, b"\xaa" * 256)
"""What is put behind a JPEG without end: if any of it becomes pixels, some were missing."""


def is_image_name(path: str | Path) -> bool:
    """Whether a file has one of the endings in `IMAGE_SUFFIXES`."""
    return suffix_of(path) in IMAGE_SUFFIXES


def read_image(
    path: str | Path, *, bands: Bands = "rgb", max_pixels: int | None = None, page: int = 0
) -> npt.NDArray[Any]:
    """The image (H, W, C) of a file.

    bands: "rgb" gives (H, W, 3) uint8 RGB whatever the file holds: the bands that it calls red, green and blue, turned
    as EXIF or TIFF say, alpha dropped, grey repeated, more than 8 bits reduced to the upper 8. "raw" gives what is in
    the file: any type, every band in the order of the file, alpha included, unrotated; fewer than 8 bits are stretched
    to 8. Palettes are looked up and a white of 0 is inverted either way.
    max_pixels: of the largest image that is read, by default `headers.MAX_PIXELS`. page: of a file that holds several
    images (`data/pages.py`), counted from 0; a path may say it, too, and names a slice of a volume (`data/slices.py`).

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
    if (plane := packed_image(path)) is not None:
        return DecodedImage(plane.whole(), plane.bands_of)
    file, part = part_of(path)
    if part is not None:
        if is_volume(file):
            return _decode_slice(str(path), file, part, max_pixels)
        path, page = file, part.index
    data = _read_whole(path, max_pixels, page)
    return _decode_content(data, path, bands, max_pixels, page, read_sidecar(path))


def decode_from_top(path: str | Path, *, bands: Bands, max_pixels: int | None = None) -> DecodedImage | TopRows:
    """As `decode_image`, but what is decoded by rows where a file allows it and the decoders are installed."""
    if part_of(path)[1] is not None or packed_image(path) is not None:
        return decode_image(path, bands=bands, max_pixels=max_pixels)
    data, named = _read_whole(path, max_pixels), read_sidecar(path)
    rows = TopRows.of(data, path, bands) if named is None else None
    return _decode_content(data, path, bands, max_pixels, 0, named) if rows is None else rows


def _decode_content(
    data: bytes, path: str | Path, bands: Bands, max_pixels: int | None, page: int, named: Sidecar | None
) -> DecodedImage:
    """The bytes of a file. named: what stands beside it."""
    if is_dicom(data):
        return DecodedImage(*read_dicom(data, path, frame=page, max_pixels=max_pixels))
    if data.startswith(NUMPY):
        if bands == "rgb":
            raise ValueError(f"{path}: an array file has no colours of its own; read it with bands='raw'")
        array = _read_array(data, path)
        return DecodedImage(array, FileBands(("",) * array.shape[2]))
    bands = bands if named is None else "raw"  # a name is that of a band as it is stored
    if data.startswith(TIFF):
        decoded = read_tiff(data, path, bands, max_pixels)
    elif data.startswith(BY_OPENCV):
        decoded = read_by_opencv(data, path, bands)
    else:
        decoded = read_by_pillow(data, path, max_pixels)
    if named is None:
        return decoded
    return DecodedImage(*named.applied(decoded.samples, decoded.file, is_tiff=data.startswith(TIFF)))


def _decode_slice(path: str, file: str, part: Part, max_pixels: int | None) -> DecodedImage:
    samples = read_slice(Path(file), part, max_pixels=max_pixels)
    roles = (GREY,) if samples.shape[2] == 1 else ("",) * samples.shape[2]
    return DecodedImage(samples, FileBands(roles), functools.partial(some_values, Path(file)), path)


def read_label(path: str | Path, *, colours: bool = False) -> npt.NDArray[Any]:
    """What a label file stores: (H, W) integers, or (H, W, 3) uint8 for colour files.

    Palette files give their indices, or the palette's colours if `colours` is set. One-bit files give 0 and 1, 16-bit
    files keep their 16 bits. Real numbers that are all whole become integers. An alpha channel is dropped.

    A path may name a slice of a volume or stack, or one band of a file (`data/slices.py`).

    Raises ValueError naming the file and the likely cause if it is missing, empty, cut off, damaged or not an image.
    """
    if (plane := packed_label(path)) is not None:
        return plane.whole()[:, :, 0]
    file, part = part_of(path)
    if part is None:
        return _as_integers(_read_label(path, 0, colours))
    if not part.axis:
        return _band(file, part.index)
    if is_volume(file):
        values = read_slice(Path(file), part)
        if values.shape[2] != 1:
            raise ValueError(f"{path}: a label volume has three axes, found a fourth of {values.shape[2]}")
        return whole_numbers(values[:, :, 0], path)
    return _as_integers(_read_label(file, part.index, colours))


def label_from_top(path: str | Path) -> PngRows | None:
    """A label file of 8-bit greys that is decoded by rows; None for any other, or without the decoders.

    Raises ValueError naming the file as `read_label` does.
    """
    if part_of(path)[1] is not None or packed_label(path) is not None:
        return None
    data = _read_whole(path)
    return PngRows.of(data) if is_grey_png(data) else None


def _as_integers(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels that were saved as real numbers, as programs for maps and arrays do; anything else as it is."""
    if array.dtype.kind != "f" or not np.isfinite(array).all() or (np.abs(array) >= 2**31).any():
        return array
    rounded = np.rint(array)
    return rounded.astype(np.int32) if (rounded == array).all() else array


def _band(file: str, number: int) -> npt.NDArray[Any]:
    """One band (H, W), counted from 1."""
    samples = decode_image(file).samples
    if not 1 <= number <= samples.shape[2]:
        raise ValueError(f"{file}: there is no band {number}; the file has {samples.shape[2]}")
    return whole_numbers(samples[:, :, number - 1], file)


def _read_label(path: str | Path, page: int, colours: bool) -> npt.NDArray[Any]:
    data = _read_whole(path, page=page)
    if is_dicom(data):
        return read_dicom(data, path, frame=page)[0][:, :, 0]
    if data.startswith(NUMPY):
        array = _read_array(data, path)
        return array[:, :, 0] if array.shape[2] == 1 else array
    if data.startswith(TIFF) and tiff_header(data, path).bits == 64:  # NumPy's own integers, which Pillow does not know
        samples = read_tiff(data, path, "raw", None).samples
        return samples[:, :, 0] if samples.shape[2] == 1 else samples
    grey = _grey_png(data)
    if grey is not None:
        return grey
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
        raise ValueError(f"{path}: cannot be read as a label image: {cause(data, str(error))}") from None


def _grey_png(data: bytes) -> npt.NDArray[np.uint8] | None:
    """(H, W) of a PNG of 8-bit greys, by what is faster than Pillow with the same result; None for all else."""
    if not is_grey_png(data):
        return None
    fast = fast_stored_png(data)
    if fast is not None:
        return fast
    return cast("npt.NDArray[np.uint8] | None", cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


# --- Files to bytes -----------------------------------------------------------------------------------------------


def _read_whole(path: str | Path, max_pixels: int | None = None, page: int = 0) -> bytes:
    """The content of a regular file, after a look at what its header promises."""
    try:
        data = member_bytes(path)
        if data is None:
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading one might never end
                raise ValueError(
                    f"{path}: is a pipe or a device, expected a file; write what comes from there to a file"
                )
            with open(path, "rb") as file:
                data = file.read()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder, expected a file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy or download it again")
    if is_volume(path):
        raise ValueError(
            f"{path}: is a volume (NIfTI), expected an image: its slices are images, which `slices: z` beside `images` "
            "in a description takes, `intarsia data check` proposes and `intarsia predict` uses by itself; or let the "
            "pipeline load volumes (LoadBiomedicalImageFromFile, LoadBiomedicalAnnotation)"
        )
    try:
        if is_dicom(data):
            return data
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


def read_array(path: str | Path) -> npt.NDArray[Any]:
    """The numbers of a file that NumPy saved (.npy), of any shape.

    Raises ValueError naming the file if it is missing, cut off or something else; objects are not read.
    """
    return _numbers(_read_whole(path), path)


def _numbers(data: bytes, path: str | Path) -> npt.NDArray[Any]:
    try:
        return _array_of(data)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a NumPy array: {error}") from None


def _read_array(data: bytes, path: str | Path) -> npt.NDArray[Any]:
    array = _numbers(data, path)
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
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # OpenCV does not ask for the order of bytes
