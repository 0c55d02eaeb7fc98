"""Text of any encoding, and names of files however they are spelt."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest

from intarsia.io.text import as_on_disk, decoded, encodable, lines_of, read_lines, read_text, same_name

DECOMPOSED = unicodedata.normalize("NFD", "größe")
LINES = "straße/één.png\nB\x85\u2028C.png\n日本.png\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_in_any_encoding_that_says_so(encoding: str, end: str) -> None:
    assert lines_of(decoded(LINES.replace("\n", end).encode(encoding)))[:3] == LINES.split("\n")[:3]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "cp1252", "latin-1"])
def test_text_is_read_in_encodings_that_do_not_say_so(encoding: str) -> None:
    text = "images/straße.png\nimages/frankfurt_000000.png\n"
    assert decoded(text.encode(encoding)) == text


def test_marks_belong_to_their_own_encoding_and_other_bytes_are_no_text(tmp_path: Path) -> None:
    assert decoded(b"") == ""
    assert decoded(b"\xff\xfea\0") == "a"
    for data in (b"\x89PNG\r\n\0\0\0", bytes(range(256)), b"\xff\xfe\x00"):
        (tmp_path / "list.txt").write_bytes(data)
        with pytest.raises(ValueError, match=r"list\.txt"):
            read_text(tmp_path / "list.txt")


def test_what_never_ends_or_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/dev/zero: is a pipe or a device"):
        read_text(Path("/dev/zero"))
    with pytest.raises(ValueError, match="/dev/zero: has more than 1,000 bytes"):
        read_text(Path("/dev/zero"), largest=1000, pipe=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: is a pipe or a device"):
        read_text(tmp_path / "pipe")
    with pytest.raises(ValueError, match="missing: cannot be read: No such file"):
        read_lines(tmp_path / "missing")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_lines(tmp_path)


def test_names_are_compared_however_they_are_spelt() -> None:
    composed, decomposed = "größe.png", unicodedata.normalize("NFD", "größe.png")
    on_old_disk = os.fsdecode(composed.encode("cp1252"))
    assert composed != decomposed != on_old_disk
    assert same_name(composed) == same_name(decomposed) == same_name(on_old_disk)
    assert same_name("a.png") != same_name("A.png")
    assert encodable(on_old_disk) == composed
    assert encodable("日本\ud800") == "日本?"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems decide themselves how names are spelt")
@pytest.mark.parametrize(
    "stored", ["größe".encode(), "größe".encode("cp1252"), unicodedata.normalize("NFD", "größe").encode()]
)
def test_a_path_finds_its_file(tmp_path: Path, stored: bytes) -> None:
    folder = os.path.join(os.fsencode(tmp_path), stored)
    os.mkdir(folder)
    with open(os.path.join(folder, stored + b".png"), "wb"):
        pass
    found = as_on_disk(tmp_path / "größe" / "größe.png")
    assert found.is_file()
    assert as_on_disk(found) == found
    missing = tmp_path / "größe" / "other.png"
    assert as_on_disk(missing) == missing
