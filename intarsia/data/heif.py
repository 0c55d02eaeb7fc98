"""HEIC: photos of telephones, in HEIF containers with HEVC inside. Pillow reads them once pillow-heif is installed.

What AVIF has inside Pillow reads by itself. Brands: ISO/IEC 23008-12, annex B.
"""

from __future__ import annotations

from pathlib import Path

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_COMMON = (b"mif1", b"msf1")
"""Brands that say nothing of what is inside; the compatible brands behind them do."""


def is_heif(data: bytes) -> bool:
    """Whether bytes are a HEIF file with HEVC inside."""
    if data[4:8] != b"ftyp":
        return False
    brands = [data[start : start + 4] for start in (8, *range(16, min(int.from_bytes(data[:4], "big"), 256), 4))]
    return brands[0] in _BRANDS or (brands[0] in _COMMON and not {b"avif", b"avis"} & set(brands))


def register_heif(path: str | Path) -> None:
    """Let Pillow read such files. Raises ValueError naming the file that needs it if pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        raise ValueError(
            f'{path}: a HEIC file needs pillow-heif: pip install "intarsia[heif]"; or convert it to JPEG or PNG'
        ) from None
    pillow_heif.register_heif_opener(thumbnails=False)
