"""The faster decoders of PNG files give the bits of the usual ones, and leave to them what they do not do."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from intarsia.data import fast_png
from intarsia.data.image_io import read_image, read_label

pyspng = pytest.importorskip("pyspng")
pytest.importorskip("isal")
RNG = np.random.default_rng(0)


def noise(*shape: int, dtype: Any = np.uint8) -> Any:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def filtered(kind: int) -> bytes:
    """A grey file all of whose rows name one filter."""
    rows = b"".join(bytes([kind]) + noise(37).tobytes() for _ in range(23))
    header = struct.pack(">IIBBBBB", 37, 23, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def turned() -> bytes:
    image = Image.fromarray(noise(20, 31, 3))
    exif = image.getexif()
    exif[274] = 6
    return saved(image, exif=exif)


def described() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "an image", zip=True)
    info.add(b"gAMA", struct.pack(">I", 45455))
    return saved(Image.fromarray(noise(20, 31, 3)), pnginfo=info, icc_profile=b"nonsense")


FILES: dict[str, Callable[[], bytes]] = {
    "colour": lambda: saved(Image.fromarray(noise(20, 31, 3))),
    "grey": lambda: saved(Image.fromarray(noise(20, 31))),
    "one pixel": lambda: saved(Image.fromarray(noise(1, 1, 3))),
    "one grey pixel": lambda: saved(Image.fromarray(noise(1, 1))),
    "one row": lambda: saved(Image.fromarray(noise(1, 31))),
    "16-bit": lambda: saved(Image.fromarray(noise(20, 31, dtype=np.uint16))),
    "16-bit colour": lambda: bytes(cv2.imencode(".png", noise(20, 31, 3, dtype=np.uint16))[1]),
    "palette": lambda: saved(Image.fromarray(noise(20, 31, 3)).quantize(7)),
    "one bit": lambda: saved(Image.fromarray(noise(20, 31) > 99)),
    "alpha": lambda: saved(Image.fromarray(noise(20, 31, 4))),
    "grey and alpha": lambda: saved(Image.fromarray(noise(20, 31, 2), "LA")),
    "a transparent grey": lambda: saved(Image.fromarray(noise(20, 31)), transparency=7),
    "a transparent colour": lambda: saved(Image.fromarray(noise(20, 31, 3)), transparency=(1, 2, 3)),
    "turned": turned,
    "texts and profiles": described,
    **{f"filter {kind}": lambda kind=kind: filtered(kind) for kind in range(5)},  # type: ignore[misc]
}


def readings(path: Path) -> list[Any]:
    return [read_image(path), read_image(path, bands="raw"), read_label(path)]


def assert_same(path: Path, choose: Callable[[str], None]) -> None:
    choose("usual")
    usual = readings(path)
    choose("fast")
    for a, b in zip(readings(path), usual, strict=True):
        assert a.dtype == b.dtype, path
        assert np.array_equal(a, b), path
        assert a.flags.c_contiguous == b.flags.c_contiguous
        assert a.flags.writeable == b.flags.writeable


@pytest.mark.parametrize("name", FILES)
def test_odd_files_are_read_to_the_same_bits(name: str, tmp_path: Path, choose: Callable[[str], None]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(FILES[name]())
    assert_same(path, choose)


def test_greys_are_what_pillow_reads(tmp_path: Path, choose: Callable[[str], None]) -> None:
    """By OpenCV too, which reads them where pyspng does not."""
    label = noise(20, 31)
    path = tmp_path / "a.png"
    Image.fromarray(label).save(path)
    for word in ("usual", "fast"):
        choose(word)
        assert np.array_equal(read_label(path), label)


def test_real_files_are_read_to_the_same_bits(realdata: Path, choose: Callable[[str], None]) -> None:
    found = sorted(realdata.rglob("*.png"))
    simple = [path for path in found if fast_png.is_simple(path.read_bytes(), 0, 2)]
    assert len(simple) > 100
    for path in simple[:: len(simple) // 40]:
        assert_same(path, choose)


@pytest.mark.parametrize("word", ["usual", "fast"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_file_cut_off_is_refused(tmp_path: Path, choose: Callable[[str], None], word: str, share: float) -> None:
    choose(word)
    data = FILES["colour"]()
    path = tmp_path / "a.png"
    path.write_bytes(data[: int(len(data) * share)])
    for read in (read_image, read_label):
        with pytest.raises(ValueError, match=r"a\.png: the file is cut off"):
            read(path)


@pytest.mark.parametrize("word", ["usual", "fast"])
@pytest.mark.parametrize("colour", [0, 2])
def test_pixels_that_are_missing_behind_right_checksums_are_refused(
    tmp_path: Path, choose: Callable[[str], None], word: str, colour: int
) -> None:
    choose(word)
    rows = b"".join(b"\0" + noise(40 * (1 + colour)).tobytes() for _ in range(30))
    header = struct.pack(">IIBBBBB", 40, 30, 8, colour, 0, 0, 0)
    stream = zlib.compress(rows)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", stream[: len(stream) // 2]), chunk(b"IEND", b"")
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    for read in (read_image, read_label):
        with pytest.raises(ValueError, match=r"a\.png: cannot be read as"):
            read(path)


def test_a_choice_that_there_is_not(tmp_path: Path, choose: Callable[[str], None]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(FILES["colour"]())
    choose("quick")
    with pytest.raises(ValueError, match="INTARSIA_DECODERS must be fast or usual, found 'quick'"):
        read_image(path)


# --- From the top down to a row -----------------------------------------------------------------------------------


@example(colour=0, size=(2, 1), stops=[1, 2], seed=0, chunks=1)  # all is inflated when the first row is asked for
@given(
    colour=st.sampled_from([0, 2]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    stops=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    seed=st.integers(0, 2**16),
    chunks=st.integers(1, 4),
)
def test_rows_are_those_of_the_whole_image(
    colour: int, size: tuple[int, int], stops: list[int], seed: int, chunks: int
) -> None:
    """Whatever filter a row has, and in however many steps they are asked for."""
    rng = np.random.default_rng(seed)
    row = size[1] * (3 if colour else 1)
    filtered = b"".join(
        bytes([rng.integers(5)]) + rng.integers(0, 256, row, np.uint8).tobytes() for _ in range(size[0])
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8, colour, 0, 0, 0))
    stream = zlib.compress(filtered)
    cuts = sorted(rng.integers(0, len(stream), chunks - 1).tolist())
    parts = [chunk(b"IDAT", stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    data = b"\x89PNG\r\n\x1a\n" + header + b"".join(parts) + chunk(b"IEND", b"")
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(*size, -1)[:, :, ::-1]
    rows = fast_png.PngRows.of(data)
    assert rows is not None
    assert rows.size == size
    for stop in stops:
        stop = min(stop, size[0])
        start = int(rng.integers(stop))
        np.testing.assert_array_equal(rows.rows(start, stop), whole[start:stop])


def test_no_more_is_inflated_than_down_to_the_row() -> None:
    data = bytes(cv2.imencode(".png", noise(1600, 300, 3))[1])
    rows = fast_png.PngRows.of(data)
    assert rows is not None
    rows.rows(20, 400)
    assert 0.7 * len(data) < len(rows._coded) < 0.8 * len(data)


def test_without_the_faster_decoder_there_are_no_rows(choose: Callable[[str], None]) -> None:
    choose("usual")
    assert fast_png.PngRows.of(FILES["colour"]()) is None
