"""Folders with all that can be wrong with a file: each is named, the rest is done, and nothing is left half written."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.cli.main import main
from intarsia.inference.inputs import images
from intarsia.inference.inputs.arrays import as_array
from intarsia.inference.inputs.finding import find_images

WHOLE = ("a.png", "m.jpg", "z.png")
"""What is good, at the beginning, in the middle and at the end."""


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def bomb(width: int = 60_000, height: int = 60_000, *, bits: int = 8, content: bytes = b"x") -> bytes:
    """A PNG whose header promises what `content` does not hold, with good checksums."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg_bomb() -> bytes:
    sizes = struct.pack(">HBHHB", 11, 8, 60_000, 60_000, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff\xc0" + sizes + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\0" * 100 + b"\xff\xd9"


def bmp_bomb() -> bytes:
    return (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 154, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 100, 0, 0, 0, 0) + b"\0" * 100
    )


def webp_bomb() -> bytes:
    side = (60_000 - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 122) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + side + side + b"\0" * 100


def tiff_bomb() -> bytes:
    tags = [(256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 8)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + b"\0" * 100


def npy_bomb() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (60000, 60000, 3), }"
    header += b" " * (-len(header) - 11 % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"\0" * 100


def damaged(folder: Path) -> dict[str, str]:
    """Fills a folder; gives what is wrong with which file, as a pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(picture())
    for name in WHOLE:
        image.save(folder / name)
    for suffix in ("png", "jpg", "tif", "bmp", "webp"):
        image.save(folder / f"whole.{suffix}")
        data = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(data[: len(data) * 2 // 3])
        (folder / f"whole.{suffix}").unlink()
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("this is a letter")
    (folder / "page.jpg").write_text("<!DOCTYPE html><title>Please log in</title>")
    (folder / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    (folder / "clip.webp").write_bytes(b"RIFF" + struct.pack("<I", 40) + b"AVI " + b"\0" * 60)
    bombs = {"png": bomb(), "jpg": jpeg_bomb(), "bmp": bmp_bomb(), "webp": webp_bomb(), "tif": tiff_bomb()}
    for suffix, data in bombs.items():
        (folder / f"bomb.{suffix}").write_bytes(data)
    (folder / "bomb.npy").write_bytes(npy_bomb())
    (folder / "lie.png").write_bytes(bomb(9000, 9000))
    np.save(folder / "float.npy", picture().astype(np.float32) / 255)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    expected = {f"cut.{suffix}": "cut off" for suffix in ("png", "jpg", "tif", "bmp", "webp")}
    expected |= {f"bomb.{suffix}": "60,000 x 60,000 pixels, more than" for suffix in bombs}
    expected |= {
        "empty.png": "empty", "text.jpg": "first bytes", "page.jpg": "web page", "pointer.png": "git lfs pull",
        "clip.webp": "cannot be read", "bomb.npy": "promises 43,200,000,000 bytes", "lie.png": "content cannot hold",
        "float.npy": "float32 .*multiply by 255", "gone.png": "no such file", "loop.png": "cannot be read",
    }  # fmt: skip
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")
        expected["pipe.png"] = "pipe or a device"
    if os.path.exists("/dev/zero"):
        (folder / "zero.png").symlink_to("/dev/zero")
        expected["zero.png"] = "pipe or a device"
    return expected


def check_failures(failures: list[tuple[str, str]], folder: Path, expected: dict[str, str]) -> None:
    found = dict(failures)
    assert set(found) == {str(folder / name) for name in expected}
    for name, reason in expected.items():
        assert re.search(reason, found[str(folder / name)]), (name, found[str(folder / name)])


def test_a_stream_names_each_and_goes_on(make_predictor, tmp_path):
    expected = damaged(tmp_path)
    predictions = make_predictor().predict(tmp_path)
    assert [prediction.name for prediction in predictions] == ["a", "m", "z"]
    check_failures(predictions.failures, tmp_path, expected)


def test_each_alone_is_refused_by_name(make_predictor, tmp_path):
    for name, reason in damaged(tmp_path).items():
        with pytest.raises(ValueError, match=rf"{name}: .*{reason}"):
            make_predictor().predict(tmp_path / name)


MEASURE = """
import resource, sys
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.inference.inputs.arrays import as_array
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    for bands in ("rgb", "raw"):
        try:
            as_array(path, ImageReader(ImageSpec(bands, 0)))
        except ValueError:
            continue
        sys.exit(f"{path} was read")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_what_promises_gigabytes_is_given_none(tmp_path):
    bombs = [str(tmp_path / name) for name in damaged(tmp_path) if name.startswith(("bomb", "lie"))]
    done = subprocess.run([sys.executable, "-c", MEASURE, *bombs], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert int(done.stdout) < 20


def test_a_real_bomb_of_few_bytes_is_not_unpacked(tmp_path):
    """All zeros, honestly compressed: 20,000 x 20,000 pixels of one bit in 50 kB, and 1.2 GB as colours."""
    data = bomb(20_000, 20_000, bits=1, content=bytes(20_000 * 2501))
    (tmp_path / "bomb.png").write_bytes(data)
    assert len(data) < 60_000
    with pytest.raises(ValueError, match=r"bomb\.png: its header says 20,000 x 20,000 pixels, .* GeoTIFF"):
        as_array(tmp_path / "bomb.png")


def test_a_file_that_cannot_be_opened(make_predictor, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    Image.fromarray(picture()).save(tmp_path / "locked.png")
    (tmp_path / "locked.png").chmod(0)
    if os.access(tmp_path / "locked.png", os.R_OK):
        pytest.skip("this user may read everything (root)")
    predictions = make_predictor().predict(tmp_path)
    assert [prediction.name for prediction in predictions] == ["a"]
    assert predictions.failures == [(str(tmp_path / "locked.png"), "cannot be read: Permission denied")]


def test_a_file_that_may_not_be_opened(make_predictor, tmp_path, monkeypatch):
    """The same for those who run tests as root: the system's answer is made up."""
    for name in ("a.png", "locked.png"):
        Image.fromarray(picture()).save(tmp_path / name)

    def refuse(path, mode):
        if Path(path).name == "locked.png":
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, mode)

    monkeypatch.setattr("intarsia.data.image_io.open", refuse, raising=False)
    predictions = make_predictor().predict(tmp_path)
    assert [prediction.name for prediction in predictions] == ["a"]
    assert predictions.failures == [(str(tmp_path / "locked.png"), "cannot be read: Permission denied")]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"cannot list the folder .*locked: Permission denied"):
        find_images(tmp_path)


def test_files_that_vanish_or_change_midway(make_predictor, tmp_path):
    for index in range(9):
        Image.fromarray(picture()).save(tmp_path / f"{index}.png")
    predictions = make_predictor().predict(tmp_path)
    first = next(predictions)
    (tmp_path / "5.png").unlink()
    (tmp_path / "6.png").unlink()
    (tmp_path / "6.png").mkdir()
    (tmp_path / "7.png").write_bytes(b"")
    assert [first.name, *(prediction.name for prediction in predictions)] == ["0", "1", "2", "3", "4", "8"]
    check_failures(predictions.failures, tmp_path, {"5.png": "no such file", "6.png": "is a folder", "7.png": "empty"})


def test_numbers_that_are_not_finite(make_weights, tmp_path):
    import intarsia

    predictor = intarsia.load(make_weights(bands=3, stored=True), device="cpu")
    good = picture().astype(np.float32)
    bad = good.copy()
    bad[3, 4, 0], bad[7, 7, 1] = np.nan, -np.inf
    np.save(tmp_path / "bad.npy", bad)
    np.save(tmp_path / "good.npy", good)
    Image.fromarray(bad[:, :, 0]).save(tmp_path / "bad.tif")
    predictions = predictor.predict(tmp_path)
    assert [prediction.name for prediction in predictions] == ["good"]
    expected = {"bad.npy": "2 of 7200 that are nan or infinite", "bad.tif": "1 of 2400 that are nan"}
    check_failures(predictions.failures, tmp_path, expected)


def test_an_image_too_large_for_the_gpu_is_named(make_predictor, tmp_path):
    predictor = make_predictor()
    forward = predictor.task.model.forward

    def full(images):
        if images.shape[2] > 40:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(images)

    predictor.task.model.forward = full
    predictions = predictor.predict([picture(), picture(80, 90), picture()])
    assert [prediction.name for prediction in predictions] == ["image_00000", "image_00002"]
    ((name, reason),) = predictions.failures
    assert name == "image_00001"
    assert "90 x 80 pixels" in reason
    assert "--slide" in reason


NOT_UTF_8 = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def strange_names(tmp_path):
    names = [NOT_UTF_8, "[1].png", "new\nline.png", "über 雪.png", "-o.png", "a" * 240 + ".png", " .png", "50%.png"]
    folder = tmp_path / "strange"
    folder.mkdir()
    try:
        for name in names:
            Image.fromarray(picture()).save(folder / "x.png")
            (folder / "x.png").rename(folder / name)
    except OSError as error:
        pytest.skip(f"this file system does not take such a name: {error}")
    return folder


def test_names_of_any_bytes(make_predictor, strange_names):
    predictions = make_predictor().predict(strange_names)
    found = list(predictions)
    assert predictions.failures == []
    assert {prediction.name for prediction in found} == {path.stem for path in strange_names.iterdir()}
    for path in strange_names.iterdir():
        assert make_predictor().predict(path).label.shape == (40, 60)


def test_the_path_to_an_image_may_be_impossible(make_predictor):
    for path, reason in {"x" * 5000: "File name too long", "a\0b.png": "null"}.items():
        with pytest.raises(ValueError, match=reason):
            make_predictor().predict(path)


# --- The same through the command line ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(make_weights):
    return make_weights()


def run(words: list[object], capfd) -> tuple[int, str]:
    code = main([str(word) for word in words])
    return code, capfd.readouterr().err


def test_the_command_names_each_goes_on_and_fails_at_the_end(weights, tmp_path, capfd):
    expected = damaged(tmp_path / "in")
    code, said = run(["predict", weights, tmp_path / "in", "-o", tmp_path / "out", "--device", "cpu"], capfd)
    assert code == 1
    assert f"3 of {len(expected) + 3} images" in said
    assert said.count("failed: ") == min(len(expected), 20) + (len(expected) > 20)
    assert "Traceback" not in said
    written = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    pictures = [f"{name}{ending}" for name in "amz" for ending in (".png", "_overlay.jpg")]
    assert written == sorted([*pictures, "intarsia.json"])
    for path in (tmp_path / "out" / name for name in pictures):
        with Image.open(path) as image:
            image.load()


def test_the_command_says_when_nothing_could_be_used(weights, tmp_path, capfd):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    code, said = run(["predict", weights, tmp_path / "in", "-o", tmp_path / "out", "--device", "cpu"], capfd)
    assert code == 1
    assert "a.png" in said
    assert "empty" in said
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["intarsia.json"]


def test_the_command_takes_names_of_any_bytes(weights, strange_names, tmp_path, capfd):
    (strange_names / os.fsdecode(b"br\xf6ken.png")).write_bytes(b"")
    out = tmp_path / "out"
    code, said = run(["predict", weights, strange_names, "-o", out, "--save", "label", "--device", "cpu"], capfd)
    assert code == 1
    assert "Traceback" not in said
    assert said.count("failed: ") == 1
    assert "ken.png: the file is empty" in said
    expected = {path.name for path in strange_names.iterdir() if path.stat().st_size}
    assert {path.name for path in out.iterdir()} == expected | {"intarsia.json"}


def test_the_command_line_says_it_where_no_utf_8_can_be_printed(weights, tmp_path):
    """A terminal of ASCII only, as on a server without locale: the name is shown as well as it can be."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(picture()).save(folder / "a.png")
    (folder / NOT_UTF_8).touch()
    words = ["predict", str(weights), str(folder), "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "intarsia", *words],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"},
        timeout=120,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"1 of 2 images" in done.stderr
    assert b"the file is empty" in done.stderr


def test_what_was_there_before_is_not_harmed_by_a_failure(weights, tmp_path, capfd):
    """An old result of an image that is damaged now stays as it is, whole."""
    (tmp_path / "in").mkdir()
    Image.fromarray(picture()).save(tmp_path / "in" / "a.png")
    Image.fromarray(picture()).save(tmp_path / "in" / "b.png")
    words = ["predict", weights, tmp_path / "in", "-o", tmp_path / "out", "--device", "cpu"]
    assert run(words, capfd)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "in" / "b.png").write_bytes(b"")
    assert run(words, capfd)[0] == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    shutil.rmtree(tmp_path / "out")


def test_reading_stops_where_the_stream_is_closed(make_predictor, tmp_path, monkeypatch):
    """Of a folder on a slow disk no more is read than what was asked for and what is read ahead."""
    for index in range(20):
        Image.fromarray(picture()).save(tmp_path / f"{index}.png")
    seen = []
    monkeypatch.setattr(images, "as_array", lambda path, reader, **_: seen.append(path) or picture())
    predictions = make_predictor().predict(tmp_path)
    next(predictions)
    predictions.close()
    assert len(seen) <= 1 + images.AHEAD
