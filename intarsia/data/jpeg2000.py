"""What a JPEG 2000 file says about its samples (ISO/IEC 15444-1, annexes A and I)."""

from __future__ import annotations

import struct

JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""How files begin: as a box file, or with the code stream itself."""

_CODE_STREAM = b"\xff\x4f\xff\x51"


def is_jpeg2000(data: bytes) -> bool:
    """Whether this is one, by its first bytes."""
    return data.startswith(JPEG2000)


def jpeg2000_bits(data: bytes) -> tuple[int, ...]:
    """The bits of each component; empty if the file does not say it."""
    start = data.find(_CODE_STREAM)
    try:
        (count,) = struct.unpack_from(">H", data, start + 40)
        return tuple((data[start + 42 + 3 * component] & 0x7F) + 1 for component in range(count)) if start >= 0 else ()
    except (struct.error, IndexError):
        return ()
