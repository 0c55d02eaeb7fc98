"""Lists of names, whoever wrote them."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest

from intarsia.data.description.pairing import NameIndex, Source, list_pairs
from intarsia.data.lists import choose


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_a_list_of_any_encoding_finds_its_images(tmp_path: Path, encoding: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "größe.png").touch()
        (tmp_path / folder / f"{unicodedata.normalize('NFD', 'müll')}.png").touch()
        if sys.platform == "linux":
            Path(os.fsdecode(os.fsencode(tmp_path / folder) + b"/alt\xf6.png")).touch()
    (tmp_path / "list.txt").write_bytes("# a comment\r\ngröße\r\nmüll\r\naltö.png\r\n".encode(encoding))
    index = NameIndex(list_pairs(tmp_path, Source("images", "labels")).pairs)
    found, lost = choose(tmp_path / "list.txt", index.find)
    assert len(found) == (3 if sys.platform == "linux" else 2)
    assert len(found) + len(lost) == 3
