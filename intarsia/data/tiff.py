"""The first directory of a TIFF: what is in the file, and whether the file holds all of it.

Source: TIFF 6.0 (Adobe, 1992), BigTIFF (libtiff's document of the same name).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from intarsia.data.headers import check_content, check_size, cut_off, damaged

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _BANDS, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _FORMAT = 322, 323, 324, 325, 339

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}

_LIKELY_BITS = {*range(1, 17), 24, 32, 64, 128}
_EXPANSION = {1: 1, 5: 4096, 7: 4096, 8: 1032, 32773: 128, 32946: 1032}
"""How many bytes of pixels a byte may stand for: as it is, LZW, JPEG, deflate, PackBits. Others have no bound."""

_LARGEST_TILE = 2**26
_YCBCR = 6

SampleKind = Literal["unsigned", "signed", "float", "complex"]
_KINDS: dict[int, SampleKind] = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned", 5: "complex", 6: "complex"}

_Tags = dict[int, npt.NDArray[np.unsignedinteger]]


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """bits, kind: of a sample, in the first band. photometric: TIFF's code for what the samples mean."""

    width: int
    height: int
    bands: int
    bits: int
    kind: SampleKind
    photometric: int


def read_header(data: bytes) -> TiffHeader:
    """What the first picture of a TIFF is.

    Raises ValueError with the cause, which names no file, if the file is cut off or contradicts itself, or if the
    picture is too large to be read whole.
    """
    tags = _directory(data)
    bits = tags.get(_BITS, np.ones(1, np.uint16))
    header = TiffHeader(
        width=_first(tags, _WIDTH, 0),
        height=_first(tags, _HEIGHT, 0),
        bands=_first(tags, _BANDS, 1),
        bits=int(bits[0]),
        kind=_KINDS.get(_first(tags, _FORMAT, 1), "unsigned"),
        photometric=_first(tags, _PHOTOMETRIC, 1),
    )
    check_size(header.width, header.height)
    if header.bands < 1 or not set(bits.tolist()) <= _LIKELY_BITS:
        raise damaged(f"{header.bands} bands of {bits.tolist()[:8]} bits")
    _check_pixels(data, tags, header)
    return header


def _directory(data: bytes) -> _Tags:
    """The values of all tags of the first directory that hold unsigned integers."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (magic,) = struct.unpack_from(order + "H", data, 2)
        is_big = magic == 43
        (offset,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, offset)
        entry, inside = struct.Struct(order + ("HHQ" if is_big else "HHI")), 8 if is_big else 4
        first, step = offset + (8 if is_big else 2), entry.size + inside
        if entries < 1:
            raise damaged("an empty directory")
        if first + entries * step > len(data):
            raise cut_off(data)
        tags: _Tags = {}
        for start in range(first, first + entries * step, step):
            tag, kind, count = entry.unpack_from(data, start)
            size, position = count * _BYTES.get(kind, 0), start + entry.size
            if size > inside:
                (position,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, position)
            if position + size > len(data):
                raise cut_off(data)
            if kind in _UNSIGNED and count and tag not in tags:
                tags[tag] = np.frombuffer(data, order + _UNSIGNED[kind], count, position)
    except (struct.error, OverflowError):
        raise cut_off(data) from None
    return tags


def _check_pixels(data: bytes, tags: _Tags, header: TiffHeader) -> None:
    """That strips or tiles are all there, lie inside the file, and can hold what is promised."""
    is_tiled = _TILE_OFFSETS in tags
    offsets = tags.get(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS)
    counts = tags.get(_TILE_COUNTS if is_tiled else _STRIP_COUNTS)
    if offsets is None or counts is None:
        raise damaged("the directory does not say where the pixels are")
    wide = _first(tags, _TILE_WIDTH, 0) if is_tiled else header.width
    high = (
        _first(tags, _TILE_HEIGHT, 0) if is_tiled else min(_first(tags, _ROWS_PER_STRIP, header.height), header.height)
    )
    bits = header.bits * header.bands
    pixels = header.width * header.height
    if wide < 1 or high < 1 or (is_tiled and wide * high * bits // 8 > max(_LARGEST_TILE, 4 * pixels * bits // 8)):
        raise damaged(f"parts of {wide} x {high} pixels")
    parts = -(-header.width // wide) * -(-header.height // high)
    parts *= header.bands if _first(tags, _PLANAR, 1) == 2 else 1
    if min(len(offsets), len(counts)) < parts:
        raise damaged(f"{min(len(offsets), len(counts))} of {parts} parts are listed")
    stored = counts > 0  # GDAL leaves out parts in which there is nothing
    if (offsets[:parts].astype(np.float64) + counts[:parts] > len(data))[stored[:parts]].any():
        raise cut_off(data)
    expansion = _EXPANSION.get(_first(tags, _COMPRESSION, 1))
    if expansion is not None and stored[:parts].all():
        expansion *= 4 if header.photometric == _YCBCR else 1  # with colours at a half or a quarter of the size
        check_content(pixels * bits // 8, expansion * min(int(counts[:parts].sum(dtype=np.uint64)), len(data)))


def _first(tags: _Tags, tag: int, otherwise: int) -> int:
    return int(tags[tag][0]) if tag in tags else otherwise
