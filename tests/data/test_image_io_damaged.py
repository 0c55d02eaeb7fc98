"""Files that are damaged, made up, or no files: an error that names them, and nothing else, comes of it."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intarsia.data.headers import checked
from intarsia.data.image_io import read_image, read_label
from intarsia.data.tiff import read_header

FILES = 1000
SLOWEST = 2.0
"""Seconds of the processor; it is milliseconds, but for what is imported the first time."""
MOST_MEMORY = 100
"""Megabytes that reading all of them may add to a process."""


# --- A thousand damaged files -------------------------------------------------------------------------------------


def originals() -> list[tuple[str, bytes]]:
    generator = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8), (5, 5), 0)
    picture = Image.fromarray(pixels)

    def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **settings)
        return stream.getvalue()

    exif = Image.Exif()
    exif[274] = 6
    wide = cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes()
    return [
        ("png", encoded(picture, "PNG")),
        ("png", encoded(picture.quantize(16), "PNG", transparency=3)),
        ("png", wide),
        ("jpg", encoded(picture, "JPEG", exif=exif)),
        ("jpg", encoded(picture.convert("L"), "JPEG", progressive=True)),
        ("jpg", encoded(picture.convert("CMYK"), "JPEG")),
        *[("tif", encoded(picture, "TIFF", compression=name)) for name in (None, "tiff_lzw", "tiff_deflate", "jpeg")],
        ("tif", encoded(Image.fromarray(pixels[:, :, 0].astype(np.float32)), "TIFF")),
        ("tif", encoded(picture, "TIFF", save_all=True, append_images=[picture.convert("L")])),
    ]


def truncated(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def flipped(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def with_other_header(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(min(64, len(data)))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
    return bytes(data)


def with_other_number(data: bytearray, chance: random.Random) -> bytes:
    """Lengths, offsets, counts and sizes are numbers of two or four bytes somewhere in the file."""
    place = chance.randrange(len(data) - 4)
    number = chance.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\xff\xff", b"\xff\xff"])
    data[place : place + len(number)] = number
    return bytes(data)


def spliced(data: bytearray, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    data[place : place + chance.randrange(1, 64)] = data[: chance.randrange(64)]
    return bytes(data)


def with_other_lengths(data: bytearray, chance: random.Random) -> bytes:
    """Chunk lengths of a PNG, segment lengths of a JPEG, and the directory of a TIFF, which lies where it says."""
    if data.startswith(b"\x89PNG"):
        place = data.index(chance.choice([b"IDAT", b"IHDR", b"IEND"])) - 4
        data[place : place + 4] = struct.pack(">I", chance.choice([0, 5, 13, 2**31, 2**32 - 1, chance.randrange(9000)]))
    elif data.startswith(b"\xff\xd8"):
        place = data.index(chance.choice([b"\xff\xdb", b"\xff\xda"])) + 2
        data[place : place + 2] = struct.pack(">H", chance.choice([0, 1, 2, 8, 0xFFFF, chance.randrange(2000)]))
    else:
        (directory,) = struct.unpack_from("<I", data, 4)
        place = directory + chance.randrange(130)
        data[place : place + 2] = struct.pack("<H", chance.choice([0, 1, 2, 0xFFFF, chance.randrange(1 << 16)]))
    return bytes(data)


def with_good_checksums(data: bytearray, chance: random.Random) -> bytes:
    """Of a PNG, as one who means harm would make it; of the others, which have no checksums, as `flipped`."""
    if not data.startswith(b"\x89PNG"):
        return flipped(data, chance)
    kind = chance.choice([b"IHDR", b"IDAT"])
    start = data.index(kind)
    (length,) = struct.unpack_from(">I", data, start - 4)
    data[start + 4 + chance.randrange(length)] ^= 1 << chance.randrange(8)
    data[start + 4 + length : start + 8 + length] = struct.pack(">I", zlib.crc32(data[start : start + 4 + length]))
    return bytes(data)


MUTATIONS: list[Callable[[bytearray, random.Random], bytes]] = [
    truncated, flipped, with_other_header, with_other_number, spliced, with_other_lengths, with_good_checksums
]  # fmt: skip

READER = """
import json, resource, sys, time, warnings
from intarsia.data.image_io import read_image

def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

warnings.simplefilter("ignore")  # a JPEG that lacks its last two bytes only is read, with a warning
before = None
for path in open(sys.argv[1]).read().split():
    for bands in ("rgb", "raw"):
        began = time.process_time()
        try:
            result = list(read_image(path, bands=bands).shape)
        except ValueError as error:
            result = str(error)
        before = memory() if before is None else before
        spent = time.process_time() - began
        print(json.dumps({"path": path, "bands": bands, "result": result, "seconds": spent, "more": memory() - before}))
        sys.stdout.flush()
"""


def read_all(paths: list[Path], folder: Path) -> tuple[list[dict[str, Any]], str]:
    """What became of each file, read both ways in a process of its own, and what that said on standard error."""
    (folder / "list").write_text("\n".join(map(str, paths)))
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder / "list")], capture_output=True, text=True, timeout=120
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {outcomes[-1:]}: exit {done.returncode}\n{done.stderr[-2000:]}"
    assert len(outcomes) == 2 * len(paths)
    return outcomes, done.stderr


def test_a_thousand_damaged_files_are_read_or_refused_by_name(tmp_path: Path) -> None:
    chance = random.Random(0)
    sources = originals()
    silent: list[Path] = []
    others: list[Path] = []  # libjpeg and libpng speak of what only they can see, and there is no way to stop them
    for number in range(FILES):
        suffix, data = sources[number % len(sources)]
        mutate = MUTATIONS[chance.randrange(len(MUTATIONS))]
        path = tmp_path / f"{number:04d}_{mutate.__name__}.{suffix}"
        path.write_bytes(mutate(bytearray(data), chance))
        speaks = suffix == "jpg" or (suffix == "png" and mutate is with_good_checksums)
        (others if speaks else silent).append(path)
    quiet, said = read_all(silent, tmp_path)
    assert said == ""
    loud, said = read_all(others, tmp_path)
    assert all(line.startswith(("Corrupt JPEG data: ", "libpng ")) for line in said.splitlines()), said
    for outcome in (*quiet, *loud):
        result = outcome["result"]
        if isinstance(result, str):
            assert result.startswith(f"{outcome['path']}: "), outcome
        else:
            assert len(result) == 3, outcome
            assert result[0] * result[1] * result[2] < 1e6, outcome
        assert outcome["seconds"] < SLOWEST, outcome
        assert outcome["more"] < MOST_MEMORY, outcome
    refused = sum(isinstance(outcome["result"], str) for outcome in (*quiet, *loud))
    assert FILES < refused < 2 * FILES, f"{refused} of {2 * FILES} were refused"


# --- What is said of damage ---------------------------------------------------------------------------------------


def test_a_changed_bit_anywhere_in_a_png_is_found(tmp_path: Path) -> None:
    chance = random.Random(0)
    data = originals()[0][1]
    for place in (*range(8, 60), *chance.sample(range(60, len(data)), 100)):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        (tmp_path / "a.png").write_bytes(changed)
        with pytest.raises(ValueError, match=r"a\.png: .*(damaged|cut off)"):
            read_image(tmp_path / "a.png")


def test_chunks_that_make_no_pixels_are_not_shown_to_the_decoder(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """A colour profile that is nonsense, and a text that would unpack to a gigabyte."""
    data = originals()[0][1]

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    extras = chunk(b"iCCP", b"x\0\0nonsense") + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**24)))
    (tmp_path / "plain.png").write_bytes(data)
    (tmp_path / "extra.png").write_bytes(data[:33] + extras + data[33:])
    for read in (read_image, read_label):
        assert np.array_equal(read(tmp_path / "extra.png"), read(tmp_path / "plain.png"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_tiff_that_is_cut_off(tmp_path: Path, compression: str | None, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.tif", compression=compression)
    data = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: int(len(data) * share)])
    for read in (read_image, read_label):
        with pytest.raises(ValueError, match=r"cut\.tif: .*cut off"):
            read(tmp_path / "cut.tif")


def check_refusal(check: Callable[[bytes], object], data: bytes) -> None:
    """Nothing, or a ValueError with one of the causes that there are."""
    reason = ""
    try:
        check(data)
    except ValueError as error:
        reason = str(error)
    assert not reason or any(words in reason for words in ("cut off", "damaged", "pixels, more than")), reason


@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_any_bytes_behind_the_signature_of_a_tiff(content: bytes, signature: bytes) -> None:
    check_refusal(read_header, signature + content)


@given(st.binary(max_size=200), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM", b"RIFF\x10\0\0\0WEBP"]))
def test_any_bytes_behind_another_signature(content: bytes, signature: bytes) -> None:
    check_refusal(checked, signature + content)
