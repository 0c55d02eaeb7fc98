"""JPEG files of greys or three colours by simplejpeg (extra `fast`), to the same bits as OpenCV's.

Both decode by libjpeg-turbo, of which simplejpeg's copy is built with more of the processor's instructions. Rows below
the last that is wanted are spared by a frame header (ITU-T T.81, B.2.2) that says fewer: blocks are coded one row after
the other, but in progressive files.
"""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.fast_libraries import fast_library
from intarsia.data.headers import JPEG, jpeg_segments

_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_BELOW = 16
"""Rows that are decoded further and thrown away: enlarging colours looks at the next row of them, which may be of the
next blocks."""


def fast_stored_jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    """(H, W, 1) of a grey JPEG, (H, W, 3) of a coloured one; None where the usual decoder is to say."""
    frame = _frame(data)
    library = None if frame is None else fast_library("simplejpeg")
    if frame is None or library is None:
        return None
    try:
        return _decoded(library, data, frame[2], strict=True)
    except ValueError:  # damaged, or of a kind that is not decoded: the usual decoder fills in, or has the words
        return None


class JpegRows:
    """A JPEG (H, W, B) of which no more is decoded than down to the last row that is asked for."""

    def __init__(self, data: bytes, place: int, bands: int, library: ModuleType) -> None:
        height, width = struct.unpack_from(">HH", data, place)
        self.size = (int(height), int(width))
        self.bands = bands
        self._data, self._place, self._library = data, place, library
        self._found = np.empty((0, width, bands), np.uint8)

    @classmethod
    def of(cls, data: bytes) -> JpegRows | None:
        """None for a file that the usual decoder is to read, or without the library."""
        frame = _frame(data)
        library = None if frame is None or frame[0] == _PROGRESSIVE else fast_library("simplejpeg")
        return None if frame is None or library is None else cls(data, frame[1], frame[2], library)

    def rows(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The rows from `start` to before `stop` (n, W, B). Raises ValueError if the file is damaged."""
        if stop > len(self._found):
            height = stop + _BELOW
            if len(self._found) or height >= self.size[0]:  # who asks twice may ask again
                self._found = _decoded(self._library, self._data, self.bands, strict=True)
            else:
                fewer = bytearray(self._data)
                struct.pack_into(">H", fewer, self._place, height)
                self._found = _decoded(self._library, bytes(fewer), self.bands, strict=False)[:stop]
        return self._found[start:stop]


def _frame(data: bytes) -> tuple[int, int, int] | None:
    """The kind of the frame, the byte of its height, and its number of bands; None for other files."""
    if not data.startswith(JPEG):
        return None
    for marker, start, stop in jpeg_segments(data):
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            bands = data[start + 5] if stop - start > 5 else 0
            return (marker, start + 1, bands) if data[start] == 8 and bands in (1, 3) else None
    return None


def _decoded(library: Any, data: bytes, bands: int, *, strict: bool) -> npt.NDArray[np.uint8]:
    """strict: raises ValueError for what libjpeg only warns of, such as bytes behind the last row."""
    found: npt.NDArray[np.uint8] = library.decode_jpeg(data, "GRAY" if bands == 1 else "RGB", strict=strict)
    return found
