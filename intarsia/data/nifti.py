"""Volumes in NIfTI files (.nii, .nii.gz), versions 1 and 2: the numbers in them, without a library.

https://nifti.nimh.nih.gov/nifti-1 describes the header. Only volumes in one file are read, not pairs of .hdr and .img.
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


@dataclass(frozen=True, slots=True)
class _Version:
    """Size of the header, and where in it what is needed lies: (offset, struct format)."""

    size: int
    axes: tuple[int, str]
    type: tuple[int, str]
    start: tuple[int, str]
    scale: tuple[int, str]
    magic: tuple[int, bytes]


_VERSIONS = (
    _Version(348, (40, "8h"), (70, "h"), (108, "f"), (112, "2f"), (344, b"n+1\0")),
    _Version(540, (16, "8q"), (12, "h"), (168, "q"), (176, "2d"), (4, b"n+2\0")),
)


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
    if count > MAX_PIXELS:
        raise ValueError(f"expected a volume of at most {MAX_PIXELS:,} numbers, found {shape}; cut it into parts")
    start = int(_unpacked(data, order, version.start)[0])
    if start < version.size or start + count * dtype.itemsize > len(data):
        raise ValueError(
            f"the file is cut off: its header promises {count * dtype.itemsize:,} bytes of numbers from byte {start}, "
            f"and there are {len(data):,} bytes in all"
        )
    numbers = np.frombuffer(data, dtype, count, start).reshape(shape, order="F").astype(np.float64)
    slope, offset = _unpacked(data, order, version.scale)
    if math.isfinite(slope) and slope != 0:  # 0: there is no scale
        numbers = numbers * slope + (offset if math.isfinite(offset) else 0.0)
    while numbers.ndim > 3 and numbers.shape[-1] == 1:
        numbers = numbers[..., 0]
    if numbers.ndim not in (3, 4):
        raise ValueError(f"expected a volume (X, Y, Z) or (X, Y, Z, N), found axes of {shape}")
    return numbers


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
