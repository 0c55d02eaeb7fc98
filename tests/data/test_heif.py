"""HEIC photos: their pixels, their orientation, and what is missing without the extra."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from intarsia.data.heif import is_heif
from intarsia.data.image_io import read_image

pillow_heif.register_heif_opener()


def photo(path: Path, **options: object) -> np.ndarray:
    """Four flat quarters, which a lossy file keeps nearly."""
    colours = np.array([[[230, 20, 20], [20, 200, 20]], [[20, 20, 210], [240, 240, 240]]], np.uint8)
    picture = colours.repeat(24, 0).repeat(32, 1)
    Image.fromarray(picture).save(path, quality=95, **options)
    return picture


def near(found: np.ndarray, expected: np.ndarray) -> bool:
    inner = np.abs(found.astype(int) - expected)[::8, ::8]
    return bool(np.median(inner) < 4)


def test_photos_are_read_upright(tmp_path: Path) -> None:
    picture = photo(tmp_path / "a.heic")
    assert near(read_image(tmp_path / "a.heic"), picture)
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    photo(tmp_path / "b.heic", exif=exif.tobytes())
    turned = read_image(tmp_path / "b.heic")
    assert turned.shape == (64, 48, 3)
    assert near(turned, np.rot90(picture, -1))


def test_what_is_inside_decides(tmp_path: Path) -> None:
    photo(tmp_path / "a.heic")
    data = (tmp_path / "a.heic").read_bytes()
    assert is_heif(data)
    assert not is_heif(b"\0\0\0\x1cftypavif" + data[12:])
    assert is_heif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(40))
    assert not is_heif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + bytes(40))


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"a\.heic: a HEIC file needs pillow-heif: pip install \"intarsia\[heif\]\""):
        read_image(tmp_path / "a.heic")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "a.heic")
    data = (tmp_path / "a.heic").read_bytes()
    (tmp_path / "b.heic").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"b\.heic: cannot be read as an image"):
        read_image(tmp_path / "b.heic")
