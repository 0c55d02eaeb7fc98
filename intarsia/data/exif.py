"""How a photo is to be turned: the orientation that cameras write beside the pixels.

It is read here and applied by `bands.upright`, whichever library decodes: libraries, and their versions, differ in
which formats they turn. Sources: Exif 2.32 (CIPA DC-008), PNG (third edition, eXIf), WebP (RFC 9649, EXIF).
"""

from __future__ import annotations

import struct

from intarsia.data.headers import JPEG, PNG, jpeg_segments

_ORIENTATION, _SHORT = 274, 3
_APP1, _EXIF = 0xE1, b"Exif\0\0"


def orientation_of(data: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP file, 1 (upright) to 8; 1 where it says none, or nonsense."""
    try:
        return _orientation(_exif(data))
    except struct.error:
        return 1


def _exif(data: bytes) -> bytes:
    """What stands in the file as Exif, from its byte order on; empty without one."""
    if data.startswith(JPEG):
        for marker, start, stop in jpeg_segments(data):
            if marker == _APP1 and data[start : start + len(_EXIF)] == _EXIF:
                return data[start + len(_EXIF) : stop]
        return b""
    if data.startswith(PNG):
        if data.find(b"eXIf", 8, data.find(b"IDAT")) < 0 and data.find(b"eXIf", data.rfind(b"IDAT")) < 0:
            return b""  # without a look at each chunk, of which there may be tens of thousands
        return _chunk(data, 8, b"eXIf", "big", trailer=4)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _chunk(data, 12, b"EXIF", "little").removeprefix(_EXIF)
    return b""


def _chunk(data: bytes, position: int, wanted: bytes, order: str, *, trailer: int = 0) -> bytes:
    """The content of a chunk of PNG (length, kind, content, checksum) or of RIFF (kind, length, content, padding)."""
    while position + 8 <= len(data):
        first, second = data[position : position + 4], data[position + 4 : position + 8]
        kind, length = (second, first) if order == "big" else (first, second)
        size = int.from_bytes(length, "big" if order == "big" else "little")
        if kind == wanted:
            return data[position + 8 : position + 8 + size]
        position += 8 + size + (trailer if order == "big" else size % 2)
    return b""


def _orientation(exif: bytes) -> int:
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    order = "<" if exif[:1] == b"I" else ">"
    (first,) = struct.unpack_from(order + "I", exif, 4)
    (entries,) = struct.unpack_from(order + "H", exif, first)
    for start in range(first + 2, first + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", exif, start)
        if (tag, kind, count) == (_ORIENTATION, _SHORT, 1):
            (value,) = struct.unpack_from(order + "H", exif, start + 8)
            return int(value) if 1 <= value <= 8 else 1
    return 1
