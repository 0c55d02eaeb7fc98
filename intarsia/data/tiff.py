"""The first directory of a TIFF: what is in the file, and whether the file holds all of it.

Sources: TIFF 6.0 (Adobe, 1992), BigTIFF (libtiff's document of the same name), GeoTIFF (OGC 19-008r4); the tag in which
GDAL names bands is described in its GTiff driver's manual.
"""

from __future__ import annotations

import html
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import ALPHA, GREY, PALETTE, RGB, FileBands
from intarsia.data.headers import check_content, check_size, cut_off, damaged

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _BANDS, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 274, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_SOFTWARE, _COLOUR_MAP, _GDAL_METADATA, _GDAL_NODATA = 305, 320, 42112, 42113
_PLACED = {33550, 33922, 34264, 50844}
"""Pixel scale, tie points, transformation, rational polynomials: each places the image on Earth."""

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
_TEXT, _LONGEST_TEXT = 2, 2**20

_LIKELY_BITS = {*range(1, 17), 24, 32, 64, 128}
_EXPANSION = {1: 1, 5: 4096, 7: 4096, 8: 1032, 32773: 128, 32946: 1032}
"""How many bytes of pixels a byte may stand for: as it is, LZW, JPEG, deflate, PackBits. Others have no bound."""

_LARGEST_TILE = 2**26

WHITE_IS_ZERO, BLACK_IS_ZERO, COLOURS, INDEXED, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
"""TIFF's codes for what the samples mean."""

_SPACES = {5: "CMYK", 6: "YCbCr", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32844: "LOGL", 32845: "LOGLUV"}
_ALPHAS = (1, 2)
_ITEM = re.compile(r'<Item name="(COLORINTERP|DESCRIPTION)" sample="(\d{1,5})"[^<>]*>([^<]*)</Item>')

SampleKind = Literal["unsigned", "signed", "float", "complex"]
_KINDS: dict[int, SampleKind] = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned", 5: "complex", 6: "complex"}

Content: TypeAlias = "bytes | mmap.mmap"


@dataclass
class _Tags:
    """numbers: the values of tags that hold unsigned integers. texts: of some. places: byte and type of a tag's
    value.
    """

    numbers: dict[int, npt.NDArray[np.unsignedinteger]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    places: dict[int, tuple[int, str]] = field(default_factory=dict)

    def first(self, tag: int, otherwise: int) -> int:
        return int(self.numbers[tag][0]) if tag in self.numbers else otherwise


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """width, height: as stored. bits, kind: of a sample, in the first band. photometric: what the samples mean.

    file: what the bands are. placed: whether the image lies somewhere on Earth. software: that wrote it. nodata: the
    value of missing pixels, if there is one. patches: at which byte of the file to write what, for a decoder to leave
    orientation and black and white as they are stored.
    """

    width: int
    height: int
    bands: int
    bits: int
    kind: SampleKind
    photometric: int
    file: FileBands
    placed: bool = False
    software: str = ""
    nodata: float | None = None
    patches: Mapping[int, bytes] = field(default_factory=dict)


def read_header(data: bytes, *, max_pixels: int | None = None) -> TiffHeader:
    """What the first picture of a TIFF is.

    Raises ValueError with the cause, which names no file, if the file is cut off or contradicts itself, or if the
    picture is too large to be read whole.
    """
    tags = _directory(data)
    header = _header(tags, order="<" if data[:2] == b"II" else ">")
    check_size(header.width, header.height, most=max_pixels, is_tiff=True)
    bits = tags.numbers.get(_BITS, np.ones(1, np.uint16))
    if header.bands < 1 or not set(bits.tolist()) <= _LIKELY_BITS:
        raise damaged(f"{header.bands} bands of {bits.tolist()[:8]} bits")
    _check_pixels(data, tags, header)
    return header


def peek_header(path: Path) -> TiffHeader | None:
    """The same of a file of any size, of which only the directory is read; None if that cannot be read."""
    if not path.is_file():  # a pipe would never be opened
        return None
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_directory(data), order="<" if data[:2] == b"II" else ">")
    except (OSError, ValueError):
        return None


def _header(tags: _Tags, order: str) -> TiffHeader:
    photometric, bands = tags.first(_PHOTOMETRIC, BLACK_IS_ZERO), tags.first(_BANDS, 1)
    bits, kind = tags.first(_BITS, 1), _KINDS.get(tags.first(_FORMAT, 1), "unsigned")
    orientation = tags.first(_ORIENTATION, 1)
    roles, descriptions = _named(tags, photometric, min(bands, 2**16))
    is_inverted = photometric == WHITE_IS_ZERO
    patches = [(tags.places[_ORIENTATION], 1)] if 2 <= orientation <= 8 else []
    if roles[:1] == (PALETTE,) and photometric != INDEXED and {_COLOUR_MAP, _PHOTOMETRIC} <= set(tags.places):
        photometric = INDEXED  # of which GDAL was told when the file was there already
        patches.append((tags.places[_PHOTOMETRIC], INDEXED))
    elif is_inverted:
        patches.append((tags.places[_PHOTOMETRIC], BLACK_IS_ZERO))
    return TiffHeader(
        width=tags.first(_WIDTH, 0),
        height=tags.first(_HEIGHT, 0),
        bands=bands,
        bits=bits,
        kind=kind,
        photometric=photometric,
        file=FileBands(
            roles,
            descriptions,
            bits=bits if kind == "unsigned" and photometric != INDEXED else 0,
            inverted=is_inverted and photometric != INDEXED,
            space=_SPACES.get(photometric, ""),
            orientation=orientation if 1 <= orientation <= 8 else 1,
        ),
        placed=not _PLACED.isdisjoint(tags.places),
        software=tags.texts.get(_SOFTWARE, ""),
        nodata=_number(tags.texts.get(_GDAL_NODATA, "")),
        patches={place: np.array(value, order + kind).tobytes() for (place, kind), value in patches},
    )


def _named(tags: _Tags, photometric: int, bands: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Roles and descriptions of the bands: what the colour space says, the extra samples, and GDAL's own tag."""
    roles = [""] * bands
    first = {WHITE_IS_ZERO: (GREY,), BLACK_IS_ZERO: (GREY,), INDEXED: (PALETTE,)}.get(photometric, RGB)
    if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, INDEXED, COLOURS, YCBCR):
        roles[: len(first)] = first[:bands]
    extra = tags.numbers[_EXTRA].tolist()[:bands] if _EXTRA in tags.numbers else []
    for band, meaning in enumerate(extra, bands - len(extra)):
        roles[band] = ALPHA if meaning in _ALPHAS else ""
    descriptions = [""] * bands
    for name, sample, text in _ITEM.findall(tags.texts.get(_GDAL_METADATA, "")):
        if int(sample) < bands:
            word = html.unescape(text).strip()
            if name == "DESCRIPTION":
                descriptions[int(sample)] = word
            else:
                roles[int(sample)] = role_of(word)
    return tuple(roles), tuple(descriptions)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def role_of(word: str) -> str:
    """A colour interpretation as GDAL writes it ("Red", "gray", "undefined") -> a role of `FileBands`."""
    word = word.lower()
    return {"undefined": "", "gray": GREY}.get(word, word)


def _directory(data: Content) -> _Tags:
    """The first directory. Raises ValueError if it does not lie in the file."""
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
        tags = _Tags()
        for start in range(first, first + entries * step, step):
            tag, kind, count = entry.unpack_from(data, start)
            size, position = count * _BYTES.get(kind, 0), start + entry.size
            if size > inside:
                (position,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, position)
            if position + size > len(data):
                raise cut_off(data)
            if tag in tags.places:
                continue
            tags.places[tag] = position, _UNSIGNED.get(kind, "")
            if kind in _UNSIGNED and count:
                tags.numbers[tag] = np.frombuffer(data[position : position + size], order + _UNSIGNED[kind], count)
            elif tag in (_SOFTWARE, _GDAL_METADATA, _GDAL_NODATA) and kind == _TEXT and count <= _LONGEST_TEXT:
                tags.texts[tag] = data[position : position + size].decode("utf-8", "replace").rstrip("\0")
    except (struct.error, OverflowError):
        raise cut_off(data) from None
    return tags


def _check_pixels(data: bytes, tags: _Tags, header: TiffHeader) -> None:
    """That strips or tiles are all there, lie inside the file, and can hold what is promised."""
    is_tiled = _TILE_OFFSETS in tags.numbers
    offsets = tags.numbers.get(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS)
    counts = tags.numbers.get(_TILE_COUNTS if is_tiled else _STRIP_COUNTS)
    if offsets is None or counts is None:
        raise damaged("the directory does not say where the pixels are")
    wide = tags.first(_TILE_WIDTH, 0) if is_tiled else header.width
    rows = tags.first(_ROWS_PER_STRIP, header.height)
    high = tags.first(_TILE_HEIGHT, 0) if is_tiled else min(rows, header.height)
    bits = header.bits * header.bands
    pixels = header.width * header.height
    if wide < 1 or high < 1 or (is_tiled and wide * high * bits // 8 > max(_LARGEST_TILE, 4 * pixels * bits // 8)):
        raise damaged(f"parts of {wide} x {high} pixels")
    parts = -(-header.width // wide) * -(-header.height // high)
    parts *= header.bands if tags.first(_PLANAR, 1) == 2 else 1
    if min(len(offsets), len(counts)) < parts:
        raise damaged(f"{min(len(offsets), len(counts))} of {parts} parts are listed")
    stored = counts > 0  # GDAL leaves out parts in which there is nothing
    if (offsets[:parts].astype(np.float64) + counts[:parts] > len(data))[stored[:parts]].any():
        raise cut_off(data)
    expansion = _EXPANSION.get(tags.first(_COMPRESSION, 1))
    if expansion is not None and stored[:parts].all():
        expansion *= 4 if header.photometric == YCBCR else 1  # with colours at a half or a quarter of the size
        check_content(pixels * bits // 8, expansion * min(int(counts[:parts].sum(dtype=np.uint64)), len(data)))
