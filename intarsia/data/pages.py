"""Files that hold several images: pages of a TIFF, frames of a GIF, PNG, WebP or AVIF.

Sources of the layouts: TIFF 6.0 and BigTIFF, the PNG specification (third edition, `acTL`), RFC 9649 (WebP), GIF89a.
"""

from __future__ import annotations

import io
import mmap
import struct
from pathlib import Path

from PIL import Image

from intarsia.data.dicom import count_frames, is_dicom
from intarsia.data.headers import PNG, TIFF, check_size

MOST = 65_536
"""Pages that are counted: a chain of directories may lead back to its beginning."""

_SUBFILE_TYPE, _REDUCED, _MASK = 254, 1, 4
"""TIFF's tag for what a directory is: a smaller copy and a mask are no pages."""

_BY_PILLOW = ("GIF", "AVIF", "PNG", "WEBP")


def count_pages(file: Path | bytes) -> int:
    """How many images a file holds, at least 1; also of a file that is damaged, or none that is known here."""
    if isinstance(file, bytes):
        return _count(file)
    try:
        with open(file, "rb") as stream:
            head = stream.read(132)
            if is_dicom(head):
                return count_frames(file)
            if not _may_have_pages(head):
                return 1
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _count(data)
    except (OSError, ValueError):
        return 1


def page_file(data: bytes, page: int, *, max_pixels: int | None = None) -> bytes:
    """One image of several, counted from 0, as a file of its own.

    A page of a TIFF is the same file with another beginning, so that whatever reads the first page reads it alike. A
    frame is a PNG of what a viewer shows: frames of animations only store what changes.

    Raises ValueError, naming no file, if there is no such page or it cannot be decoded.
    """
    if data.startswith(TIFF):
        found = _directories(data)
        if page < len(found):
            order, is_big = _tiff_kind(data)
            place, width = (8, "Q") if is_big else (4, "I")
            moved = struct.pack(order + width, found[page])
            return data[:place] + moved + data[place + len(moved) :]
        raise ValueError(f"there is no page {page + 1}; the file holds {len(found)}")
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in _BY_PILLOW if name in Image.OPEN]) as image:
            check_size(*image.size, most=max_pixels)
            image.seek(page)
            frame = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except Exception as error:  # Pillow raises what its readers trip over: EOFError, OSError, SyntaxError, struct.error
        raise ValueError(f"there is no frame {page + 1} that can be decoded: {error}") from None
    encoded = io.BytesIO()
    frame.save(encoded, "PNG", compress_level=0)
    return encoded.getvalue()


def _may_have_pages(head: bytes) -> bool:
    return head.startswith((*TIFF, PNG, b"GIF8")) or head[8:12] == b"WEBP" or head[4:12] in (b"ftypavis", b"ftypavif")


def _count(data: bytes | mmap.mmap) -> int:
    head = data[:16]
    if not _may_have_pages(head):
        return 1
    try:
        if head.startswith(TIFF):
            return max(1, len(_directories(data)))
        if head.startswith(PNG):
            return _png_frames(data)
        if head[8:12] == b"WEBP":
            return _webp_frames(data)
        return _frames_by_pillow(data)
    except (struct.error, ValueError, IndexError):  # its reader says what is damaged
        return 1


def _tiff_kind(data: bytes | mmap.mmap) -> tuple[str, bool]:
    """The byte order, and whether offsets have 64 bits."""
    order = "<" if data[:2] == b"II" else ">"
    return order, struct.unpack_from(order + "H", data, 2)[0] == 43


def _directories(data: bytes | mmap.mmap) -> list[int]:
    """The offset of every directory that is a page of its own."""
    order, is_big = _tiff_kind(data)
    number, entry = (order + "Q", order + "HHQQ") if is_big else (order + "I", order + "HHII")
    count = order + ("Q" if is_big else "H")
    (offset,) = struct.unpack_from(number, data, 8 if is_big else 4)
    found: list[int] = []
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MOST:
        seen.add(offset)
        (entries,) = struct.unpack_from(count, data, offset)
        first, size = offset + struct.calcsize(count), struct.calcsize(entry)
        if first + entries * size > len(data):
            break
        kind = 0
        for start in range(first, first + min(entries, 64) * size, size):  # entries are sorted, and this is the lowest
            tag, _, _, value = struct.unpack_from(entry, data, start)
            if tag == _SUBFILE_TYPE:
                kind = value & 0xFFFFFFFF if order == "<" or not is_big else value >> 32
        if not found or not kind & (_REDUCED | _MASK):
            found.append(offset)
        (offset,) = struct.unpack_from(number, data, first + entries * size)
    return found


def _png_frames(data: bytes | mmap.mmap) -> int:
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            return max(1, int(struct.unpack_from(">I", data, position + 8)[0]))
        if kind == b"IDAT":
            break
        position += 12 + length
    return 1


def _webp_frames(data: bytes | mmap.mmap) -> int:
    if data[12:16] != b"VP8X" or not data[20] & 2:
        return 1
    frames, position = 0, 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        frames += kind == b"ANMF"
        position += 8 + length + length % 2
    return max(1, frames)


def _frames_by_pillow(data: bytes | mmap.mmap) -> int:
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in ("GIF", "AVIF") if name in Image.OPEN]) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # what its reader trips over is said when it is read
        return 1
