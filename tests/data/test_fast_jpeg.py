"""The faster decoder of JPEG files gives the bits of the usual one, whole and from the top down to a row."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intarsia.data import fast_jpeg
from intarsia.data.image_io import read_image, read_label

pytest.importorskip("simplejpeg")
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
FACTORS = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)  # fmt: skip


def picture(size: tuple[int, int], bands: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(size[0] // 5, 1), max(size[1] // 5, 1), bands), dtype=np.uint8)
    found = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, bands)
    return np.asarray(np.clip(found + rng.normal(0, 9, found.shape), 0, 255).astype(np.uint8))


def by_opencv(array: np.ndarray, *options: int) -> bytes:
    return bytes(cv2.imencode(".jpg", array, options)[1])


def by_pillow(array: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array.squeeze(), mode).save(file, "JPEG", **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return by_pillow(picture((40, 61)), exif=exif)


FILES: dict[str, Callable[[], bytes]] = {
    "colour": lambda: by_pillow(picture((40, 61))),
    "grey": lambda: by_pillow(picture((40, 61), 1)),
    "one pixel": lambda: by_pillow(picture((1, 1))),
    "progressive": lambda: by_pillow(picture((61, 40)), progressive=True),
    "progressive grey": lambda: by_pillow(picture((61, 40), 1), progressive=True),
    "restarts": lambda: by_opencv(picture((61, 40)), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "four colours": lambda: by_pillow(picture((40, 61), 4), "CMYK"),
    "stored as RGB": lambda: by_pillow(picture((40, 61)), keep_rgb=True),
    "turned": turned,
    "without end": lambda: by_pillow(picture((40, 61)))[:-2],
    "bytes behind it": lambda: by_pillow(picture((40, 61))) + b"more",
    "coarse": lambda: by_pillow(picture((40, 61)), quality=5),
    **{f"factor {factor:x}": lambda factor=factor: by_opencv(  # type: ignore[misc]
        picture((37, 53)), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor) for factor in FACTORS},
}  # fmt: skip


def assert_same(path: Path, choose: Callable[[str], None]) -> None:
    found = []
    for word in ("usual", "fast"):
        choose(word)
        found.append([read_image(path), read_image(path, bands="raw"), read_label(path)])
    for usual, fast in zip(*found, strict=True):
        assert np.array_equal(usual, fast), path
        assert (usual.dtype, usual.shape, usual.flags.c_contiguous) == (fast.dtype, fast.shape, fast.flags.c_contiguous)
        assert fast.flags.writeable


@pytest.mark.filterwarnings("ignore:.*no end marker")
@pytest.mark.parametrize("name", FILES)
def test_odd_files_are_read_to_the_same_bits(name: str, tmp_path: Path, choose: Callable[[str], None]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(FILES[name]())
    assert_same(path, choose)


def test_real_files_are_read_to_the_same_bits(realdata: Path, choose: Callable[[str], None]) -> None:
    found = sorted(path for path in realdata.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    assert len(found) > 50
    for path in found[:: len(found) // 40]:
        assert_same(path, choose)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_with_a_hole_is_read_as_before(tmp_path: Path, choose: Callable[[str], None], share: float) -> None:
    """Which is what OpenCV makes of it."""
    data = bytearray(by_pillow(picture((200, 150))))
    place = int(len(data) * share)
    data[place : place + 60] = bytes(60)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert_same(path, choose)


@given(
    factor=st.sampled_from(FACTORS),
    bands=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(1, 120), st.integers(1, 70)),
    stops=st.lists(st.integers(1, 120), min_size=1, max_size=3),
    quality=st.integers(5, 100),
    restart=st.sampled_from([0, 0, 1, 7]),
    seed=st.integers(0, 2**16),
)
def test_rows_are_those_of_the_whole_image(
    factor: int, bands: int, size: tuple[int, int], stops: list[int], quality: int, restart: int, seed: int
) -> None:
    options = (
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_RST_INTERVAL, restart),
    )
    data = by_opencv(picture(size, bands, seed), *options)
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(*size, bands)[:, :, ::-1]
    rows = fast_jpeg.JpegRows.of(data)
    assert rows is not None
    assert (rows.size, rows.bands) == (size, bands)
    for stop in stops:
        stop = min(stop, size[0])
        start = np.random.default_rng(seed).integers(stop)
        np.testing.assert_array_equal(rows.rows(start, stop), whole[start:stop])


def test_rows_of_real_files(realdata: Path) -> None:
    found = sorted(path for path in realdata.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    tried = 0
    for path in found[:: len(found) // 40]:
        data = path.read_bytes()
        flags = cv2.IMREAD_UNCHANGED
        whole = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        for share in (0.2, 0.5, 0.77):
            rows = fast_jpeg.JpegRows.of(data)
            if rows is None:
                continue
            stop = int(rows.size[0] * share)
            expected = whole[:stop].reshape(stop, rows.size[1], rows.bands)[:, :, ::-1]
            assert np.array_equal(rows.rows(0, stop), expected), path
            tried += 1
    assert tried > 60


def test_progressive_files_have_no_rows() -> None:
    assert fast_jpeg.JpegRows.of(FILES["progressive"]()) is None
    assert fast_jpeg.JpegRows.of(FILES["four colours"]()) is None
