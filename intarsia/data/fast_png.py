"""PNG files of 8 bits, grey or RGB, by pyspng and isal (extra `fast`), to the same bits as OpenCV's and Pillow's.

Most of the time of a PNG goes into inflating it. isal does that in less than half of the time of zlib, and stops at the
row that is wanted; pyspng then undoes the filters, for which it is given a PNG whose content is stored uncompressed.
That a file is whole and the checksums of its chunks hold has been looked at before (`data/headers.py`). Format: PNG
(W3C recommendation, third edition), zlib (RFC 1950), stored blocks (RFC 1951, section 3.2.4).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.fast_libraries import fast_library
from intarsia.data.headers import PNG

_GREY, _RGB = 0, 2
_LONGEST = 65535
"""Bytes of a stored block."""
_PIECE, _STRIP = 2**16, 2**17
"""Compressed bytes that are inflated, and bytes of rows that are decoded, at a time: few enough for the cache."""


def is_simple(data: bytes, *colours: int) -> bool:
    """Whether a file is a PNG of 8 bits in one of the colour types of PNG, rows in order, no colour transparent."""
    if not data.startswith(PNG) or data[24] != 8 or data[25] not in colours or data[28]:
        return False
    return data.find(b"tRNS", 33, data.find(b"IDAT")) < 0


def fast_stored_png(data: bytes) -> npt.NDArray[np.uint8] | None:
    """(H, W) of a grey PNG, (H, W, 3) of a coloured one; None where the usual decoder is to say."""
    if not is_simple(data, _GREY, _RGB):
        return None
    rows = PngRows.of(data)
    try:
        found = _decoded(data, data[25]) if rows is None else rows.rows(0, rows.size[0])
    except ValueError:  # damaged: the usual decoder has the words for it
        return None
    return None if found is None else found[:, :, 0] if data[25] == _GREY else found


def is_grey_png(data: bytes) -> bool:
    """Whether a file is a PNG of 8-bit greys and nothing else: what most labels are."""
    return is_simple(data, _GREY)


class PngRows:
    """A PNG (H, W, B) of which no more is decoded than down to the last row that is asked for."""

    def __init__(self, data: bytes, inflater: Any) -> None:
        width, height = struct.unpack_from(">II", data, 16)
        self.size = (int(height), int(width))
        self._colour = data[25]
        self.bands = 3 if self._colour == _RGB else 1
        self._inflater = inflater.decompressobj()
        self._checksums = inflater.adler32, inflater.crc32
        self._coded = memoryview(b"".join(_content(data)))
        self._piece: bytes | memoryview = b""  # of what is coded, what comes next
        self._found = np.empty((0, width, self.bands), np.uint8)

    @classmethod
    def of(cls, data: bytes) -> PngRows | None:
        """None for a file that the usual decoder is to read, or without the libraries."""
        if not is_simple(data, _GREY, _RGB) or fast_library("pyspng") is None:
            return None
        inflater = fast_library("isal.isal_zlib")
        return None if inflater is None else cls(data, inflater)

    def rows(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The rows from `start` to before `stop` (n, W, B). Raises ValueError if they are damaged."""
        if stop > len(self._found):
            more = self._next(stop - len(self._found))
            self._found = np.concatenate([self._found, more]) if len(self._found) else more
        return self._found[start:stop]

    def _next(self, count: int) -> npt.NDArray[np.uint8]:
        """So many rows below those that were found."""
        found = np.empty((count, *self._found.shape[1:]), np.uint8)
        above = self._found[-1:].tobytes()  # which the filters of a row look at
        length = 1 + found[:1].size
        step = max(_STRIP // length, 1)
        for start in range(0, count, step):
            part = found[start : start + step]
            filtered = self._inflated(len(part) * length)
            decoded = _decoded(self._png(above, filtered, len(part)), self._colour)
            assert decoded is not None
            part[:] = decoded[1:] if above else decoded
            above = part[-1:].tobytes()
        return found

    def _inflated(self, length: int) -> bytes:
        found: list[bytes] = []
        while length:
            if not self._piece:
                self._piece, self._coded = self._coded[:_PIECE], self._coded[_PIECE:]
            is_last = not self._piece  # even so there may be pixels that it holds back
            try:
                found.append(self._inflater.decompress(self._piece, length))
            except Exception as error:  # isal's own kind of error, which derives from Exception alone
                raise ValueError(str(error)) from None
            self._piece = self._inflater.unconsumed_tail
            length -= len(found[-1])
            if is_last and not found[-1]:
                raise ValueError("the compressed pixels end too early")
        return b"".join(found)

    def _png(self, above: bytes, filtered: bytes, count: int) -> bytes:
        """A file with so many rows that are filtered and stored uncompressed, below one that is not filtered."""
        adler32, crc32 = self._checksums
        content = b"\0" + above + filtered if above else filtered
        parts: list[bytes | memoryview] = [b"IDAT\x78\x01"]
        view = memoryview(content)
        for start in range(0, len(content), _LONGEST):
            block = view[start : start + _LONGEST]
            is_last = start + _LONGEST >= len(content)
            parts += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
        parts.append(struct.pack(">I", adler32(content)))
        header = b"IHDR" + struct.pack(">IIBBBBB", self.size[1], count + bool(above), 8, self._colour, 0, 0, 0)
        pixels = b"".join(parts)
        chunks = [PNG]
        for chunk in (header, pixels, b"IEND"):
            chunks += [struct.pack(">I", len(chunk) - 4), chunk, struct.pack(">I", crc32(chunk))]
        return b"".join(chunks)


def _content(data: bytes) -> list[memoryview]:
    """The content of the chunks that hold the pixels."""
    view, found, position = memoryview(data), [], len(PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            found.append(view[position + 8 : position + 8 + length])
        position += 12 + length
    return found


def _decoded(data: bytes, colour: int) -> npt.NDArray[np.uint8] | None:
    """(H, W, B), by pyspng; None without it. Raises ValueError for a damaged file."""
    library = fast_library("pyspng")
    if library is None:
        return None
    try:
        found: npt.NDArray[Any] = library.load(data, format="L" if colour == _GREY else "RGB")
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    return found[:, :, None] if found.ndim == 2 else found
