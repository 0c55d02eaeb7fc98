"""What the headers of image files promise, looked at before a decoder believes them.

Decoders are C libraries: they allocate what a header asks for, fill in silently what is missing, and complain to
standard error without naming a file. What can be seen from outside is therefore checked here: that the file is whole,
that its checksums hold, and that its pixels are few enough to be held and not more than its bytes can stand for.

Sources of the layouts: PNG (W3C recommendation, third edition), JPEG (ITU-T T.81, annex B), BMP (Microsoft's
BITMAPINFOHEADER), WebP (RFC 9649). TIFF has a file of its own, `data/tiff.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sized

from intarsia.data.fast_libraries import crc32

MAX_PIXELS = 2**28
"""Pixels of the largest image that is read whole, 16,384 x 16,384, unless the user allows more (`--max-pixels`)."""

PNG, JPEG, NUMPY = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\x93NUMPY"
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

_DEFLATE = 1032
"""A byte of a deflate stream stands for at most so many (RFC 1951: 258 bytes in two bits)."""

_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PNG_KEPT = (*_PNG_CRITICAL, b"tRNS", b"eXIf")

_JPEG_ALONE = {0x01, *range(0xD0, 0xD8)}
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_HUFFMAN_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7}
_JPEG_ARITHMETIC_FRAMES = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


def checked(data: bytes, *, max_pixels: int | None = None) -> bytes:
    """What of a PNG, JPEG, BMP or WebP file a decoder may be given: all of it, or of a PNG the chunks that make pixels.

    max_pixels: of an image, in place of `MAX_PIXELS`. Other files are given back as they are; of a JPEG see also
    `lacks_end`. Raises ValueError with the cause, which names no file.
    """
    if data.startswith(PNG):
        return _checked_png(data, max_pixels)
    if data.startswith(JPEG):
        _check_jpeg(data, max_pixels)
    elif data.startswith(b"BM"):
        _check_bmp(data, max_pixels)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _check_webp(data, max_pixels)
    return data


def check_size(width: int, height: int, *, most: int | None = None, is_tiff: bool = False) -> None:
    """Raises ValueError if a picture of this size has no pixels, or more than `most`, by default `MAX_PIXELS`."""
    if width < 1 or height < 1:
        raise damaged(f"the header says {width} x {height} pixels")
    most = MAX_PIXELS if most is None else most
    if width * height > most:
        as_raster = "predict it" if is_tiff else "make it a GeoTIFF and predict that"
        raise ValueError(
            f"its header says {width:,} x {height:,} pixels, more than the {most:,} that are read whole: {as_raster} "
            f"window by window, with  -o NAME.tif ; cut it into tiles; or allow it with --max-pixels {width * height}"
        )


def check_content(promised: int, found: int) -> None:
    """Raises ValueError if a header promises more bytes of pixels than those that were found can stand for."""
    if promised > found:
        raise damaged(f"the header promises {promised:,} bytes of pixels, and the content cannot hold them")


def cut_off(data: Sized) -> ValueError:
    """The error for a file that ends too early."""
    return ValueError(f"the file is cut off after {len(data)} bytes; copy or download it again")


def damaged(what: str) -> ValueError:
    """The error for a file that contradicts itself."""
    return ValueError(f"cannot be read as an image: it is damaged ({what}); copy or download it again")


def _checked_png(data: bytes, max_pixels: int | None) -> bytes:
    """The chunks that make pixels. Profiles, texts and animations only give decoders something to stumble over."""
    view = memoryview(data)
    kept: list[memoryview] = [view[:8]]
    coded, position, kind = 0, 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise cut_off(data)
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise cut_off(data)
        is_whole = crc32(view[position + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
        if not kind[0] & 0x20:  # a capital: the chunk is no extra
            if kind not in _PNG_CRITICAL or (kind == b"IHDR") != (position == 8):
                raise damaged(f"chunk {kind!r} at byte {position}")
            if not is_whole:
                raise damaged(f"the checksum of chunk {kind!r} at byte {position}")
        elif position == 8:
            raise damaged(f"it begins with chunk {kind!r}")
        if is_whole and kind in _PNG_KEPT:
            kept.append(view[position:end])
        coded += length if kind == b"IDAT" else 0
        position = end
    _check_png_header(view[16:], coded, max_pixels)
    return data if sum(map(len, kept)) == len(data) else b"".join(kept)


def _check_png_header(header: memoryview, coded: int, max_pixels: int | None) -> None:
    """The content of the first chunk against the number of coded bytes."""
    width, height, depth, colour, compression, filtering, interlace = struct.unpack_from(">IIBBBBB", header)
    if depth not in _PNG_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise damaged(f"the header says {depth} bits, colours {colour}, {compression}, {filtering}, {interlace}")
    check_size(width, height, most=max_pixels)
    check_content(height * -(-width * depth * _PNG_CHANNELS[colour] // 8), _DEFLATE * coded)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and end of the content of each segment up to the first scan, which is the last.

    Raises ValueError if the file ends before, or a segment is too short to be one.
    """
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 4 > len(data):
            raise cut_off(data)
        marker = data[position + 1]
        if marker in (0x00, 0xFF) or marker in _JPEG_ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < 2:
            raise damaged(f"a segment of {length} bytes at byte {position}")
        yield marker, position + 4, position + 2 + length
        if marker == _JPEG_SCAN:
            return
        position += 2 + length


def lacks_end(data: bytes) -> bool:
    """Whether a JPEG has no end marker: it was cut off, unless its writer spares the marker."""
    *_, (_, start, _) = jpeg_segments(data)
    return data.rfind(_JPEG_END, start) < 0


def _check_jpeg(data: bytes, max_pixels: int | None) -> None:
    """Walks the segments up to the first scan, past thumbnails, whose end markers look like the image's own."""
    has_frame = False
    for marker, start, _ in jpeg_segments(data):
        if marker not in _JPEG_HUFFMAN_FRAMES | _JPEG_ARITHMETIC_FRAMES:
            continue
        if start + 5 > len(data):
            raise cut_off(data)
        height, width = struct.unpack_from(">HH", data, start + 1)
        check_size(width, height, most=max_pixels)
        if marker in _JPEG_HUFFMAN_FRAMES:  # each block of 8 x 8 takes a bit at least
            check_content(width * height, 64 * 8 * len(data))
        has_frame = True
    if not has_frame:
        raise damaged("no frame header")


def _check_bmp(data: bytes, max_pixels: int | None) -> None:
    if len(data) < 34:
        raise cut_off(data)
    pixels, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    check_size(width, abs(height), most=max_pixels)
    if compression in (0, 3):
        rows = abs(height) * (-(-width * bits // 32) * 4)
        if pixels + rows - 3 > len(data):  # some writers spare the padding of the last row
            raise cut_off(data)


def _check_webp(data: bytes, max_pixels: int | None) -> None:
    (size,) = struct.unpack_from("<I", data, 4)
    if len(data) < 30 or 8 + size > len(data):
        raise cut_off(data)
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise damaged(f"chunk {kind!r}")
    check_size(width, height, most=max_pixels)
