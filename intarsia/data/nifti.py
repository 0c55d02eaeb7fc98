"""Volumes in NIfTI files (.nii, .nii.gz), versions 1 and 2: the numbers in them, without a library.

https://nifti.nimh.nih.gov/nifti-1 describes the header. Only volumes in one file are read, not pairs of .hdr and .img.
`read_nifti` gives a whole volume; `open_nifti` one whose slices are looked at one by one (`data/slices.py`).
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.data.headers import MAX_PIXELS

_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
"""Code of a header -> type of a number. Complex numbers and colours are none."""
_Order = Literal["<", ">"]
_ORDERS: tuple[_Order, ...] = ("<", ">")
_GZIP = b"\x1f\x8b"
_MOST_AXES = 7
_LARGEST_HEADER = 540


@dataclass(frozen=True, slots=True)
class _Version:
    """Size of the header, and where in it what is needed lies: (offset, struct format)."""

    size: int
    axes: tuple[int, str]
    type: tuple[int, str]
    start: tuple[int, str]
    scale: tuple[int, str]
    magic: tuple[int, bytes]
    bits: tuple[int, str]
    spacing: tuple[int, str]
    shown: tuple[int, str]


_VERSIONS = (
    _Version(348, (40, "8h"), (70, "h"), (108, "f"), (112, "2f"), (344, b"n+1\0"), (72, "h"), (76, "8f"), (124, "2f")),
    _Version(540, (16, "8q"), (12, "h"), (168, "q"), (176, "2d"), (4, b"n+2\0"), (14, "h"), (104, "8d"), (192, "2d")),
)


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What a file says of its numbers.

    shape: of 3 or 4 axes, x first. dtype: of the stored numbers. start: their first byte. slope, offset: what they are
    multiplied with and shifted by, 1 and 0 for nothing. spacing: millimetres between neighbours along x, y and z, as
    the file says them. raw: the bytes before the numbers that every file has.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    slope: float
    offset: float
    spacing: tuple[float, float, float]
    raw: bytes

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def values(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What stored numbers mean: of their own type where nothing is to be done, else float32."""
        if (self.slope, self.offset) == (1.0, 0.0):
            return stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return (stored * np.float64(self.slope) + self.offset).astype(np.float32)


def read_nifti(path: str | Path) -> npt.NDArray[np.float64]:
    """The volume of a file, its first axis x: (X, Y, Z), or (X, Y, Z, N) with N images at each place.

    Numbers are multiplied and shifted as the header says.

    Raises ValueError naming the file if it is missing, no NIfTI file, cut off, or larger than what is read whole.
    """
    try:
        if not Path(path).is_file():  # a pipe would be waited for
            raise OSError("there is no file of this name")
        data = _content(Path(path).read_bytes())
        return _decoded(data)
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise ValueError(f"{path}: cannot be read as a NIfTI volume: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def decode_nifti(data: bytes) -> npt.NDArray[np.float64]:
    """The volume in the bytes of a file, as `read_nifti` gives it. Raises ValueError."""
    try:
        return _decoded(_content(data))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot be read as a NIfTI volume: {error}") from None


def _content(data: bytes) -> bytes:
    """What is compressed, no more of it than the largest volume has."""
    if not data.startswith(_GZIP):
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(MAX_PIXELS * 8 + 2**20)


def _decoded(data: bytes) -> npt.NDArray[np.float64]:
    header = _header(data, len(data), most=MAX_PIXELS)
    stored = np.frombuffer(data, header.dtype, math.prod(header.shape), header.start)
    numbers = stored.reshape(header.shape, order="F").astype(np.float64)
    return numbers if (header.slope, header.offset) == (1.0, 0.0) else numbers * header.slope + header.offset


def _header(data: bytes, whole: int | None, *, most: int) -> NiftiHeader:
    """whole: how many bytes the file has when it is unpacked, None if nobody knows. most: numbers that are allowed."""
    version, order = _version(data)
    axes = _unpacked(data, order, version.axes)
    if not 1 <= axes[0] <= _MOST_AXES or min(axes[1 : axes[0] + 1]) < 1:
        raise ValueError(f"a damaged NIfTI header: expected 1 to {_MOST_AXES} axes, each of at least 1, found {axes}")
    shape = tuple(int(length) for length in axes[1 : axes[0] + 1])
    (code,) = _unpacked(data, order, version.type)
    if code not in _TYPES:
        raise ValueError(f"expected a NIfTI volume of numbers, found numbers of type {code} (complex, or colours)")
    dtype = np.dtype(_TYPES[code]).newbyteorder(order)
    count = math.prod(shape)
    if count > most:
        raise ValueError(f"expected a volume of at most {most:,} numbers, found {shape}; cut it into parts")
    start = _unpacked(data, order, version.start)[0]
    start = int(start) if math.isfinite(start) else -1
    if start < version.size or (whole is not None and start + count * dtype.itemsize > whole):
        raise ValueError(
            f"the file is cut off: its header promises {count * dtype.itemsize:,} bytes of numbers from byte {start}, "
            f"and there are {whole or len(data):,} bytes in all"
        )
    axes_of = shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise ValueError(f"expected a volume (X, Y, Z) or (X, Y, Z, N), found axes of {axes_of}")
    slope, offset = (float(number) for number in _unpacked(data, order, version.scale))
    if not math.isfinite(slope) or slope == 0:  # there is no scale
        slope, offset = 1.0, 0.0
    steps = tuple(abs(float(step)) for step in _unpacked(data, order, version.spacing)[1:4])
    return NiftiHeader(
        shape, dtype, start, slope, offset if math.isfinite(offset) else 0.0, (steps[0], steps[1], steps[2]),
        data[: version.size],
    )  # fmt: skip


def _version(data: bytes) -> tuple[_Version, _Order]:
    for version in _VERSIONS:
        for order in _ORDERS:
            offset, magic = version.magic
            has_size = data[:4] == struct.pack(f"{order}i", version.size)
            if has_size and len(data) >= version.size and data[offset : offset + len(magic)] == magic:
                return version, order
    raise ValueError("expected a NIfTI file (.nii, .nii.gz), found another content; NumPy files are read with 'numpy'")


def _unpacked(data: bytes, order: _Order, field: tuple[int, str]) -> tuple[Any, ...]:
    return struct.unpack_from(order + field[1], data, field[0])


# --- Volumes that are looked at slice by slice --------------------------------------------------------------------

MOST_NUMBERS = 2**30
"""Of a volume that is read slice by slice: 512 x 512 x 4096."""

_EXPANSION = 1032
"""A byte of a gzip file stands for at most so many (RFC 1951)."""


def nifti_header(path: Path) -> NiftiHeader:
    """What a file says of itself; of a packed one only the beginning is unpacked.

    Raises ValueError naming the file if it is missing, no NIfTI file, cut off, or promises more than its bytes can
    hold.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError("there is no file of this name")
        there = path.stat().st_size
        with open(path, "rb") as stream:
            if stream.read(2) != _GZIP:
                stream.seek(0)
                return _header(stream.read(_LARGEST_HEADER), there, most=MOST_NUMBERS)
            stream.seek(0)
            with gzip.GzipFile(fileobj=stream) as unpacked:
                header = _header(unpacked.read(_LARGEST_HEADER), None, most=MOST_NUMBERS)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read as a NIfTI volume: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if header.start + header.size > _EXPANSION * there:
        raise ValueError(
            f"{path}: damaged: its header promises {header.size:,} bytes of numbers, and {there:,} bytes of gzip "
            "cannot hold them; copy or download it again"
        )
    return header


def open_nifti(path: Path) -> tuple[NiftiHeader, npt.NDArray[Any]]:
    """The header and the stored numbers (X, Y, Z) or (X, Y, Z, N), which lie in the file where it is not packed.

    Raises ValueError as `nifti_header` does.
    """
    header = nifti_header(path)
    with open(path, "rb") as stream:
        is_packed = stream.read(2) == _GZIP
    try:
        if not is_packed:
            return header, np.memmap(path, header.dtype, "r", header.start, header.shape, "F")
        with gzip.GzipFile(path, "rb") as packed:
            data = packed.read(header.start + header.size)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read as a NIfTI volume: {error}") from None
    if len(data) < header.start + header.size:
        raise ValueError(f"{path}: the file is cut off after {len(data):,} bytes of {header.start + header.size:,}")
    numbers = np.frombuffer(data, header.dtype, math.prod(header.shape), header.start)
    return header, numbers.reshape(header.shape, order="F")


def label_volume_bytes(like: NiftiHeader, labels: npt.NDArray[np.unsignedinteger], *, packed: bool) -> bytes:
    """A file with labels (X, Y, Z) in the place where the volume of a header lies: everything but the numbers is its.

    packed: as .nii.gz.
    """
    assert labels.shape == like.shape[:3]
    code, kind = (2, "u1") if labels.dtype == np.uint8 else (512, "u2")
    version, order = _version(like.raw)
    dtype = np.dtype(kind).newbyteorder(order)
    start = version.size + 4  # four bytes say that no extension follows
    start += -start % 16
    header = bytearray(like.raw)
    for (place, form), numbers in (
        (version.axes, (3, *labels.shape, 1, 1, 1, 1)), (version.type, (code,)), (version.bits, (8 * dtype.itemsize,)),
        (version.start, (start,)), (version.scale, (1, 0)), (version.shown, (0, 0)),
    ):  # fmt: skip
        struct.pack_into(order + form, header, place, *numbers)
    content = bytes(header).ljust(start, b"\0") + labels.astype(dtype).tobytes("F")
    return gzip.compress(content, compresslevel=6, mtime=0) if packed else content
