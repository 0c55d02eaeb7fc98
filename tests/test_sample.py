"""`--sample N`, with which the oldest and the newest versions are tried on a part of the cases."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FILES = {
    "test_many.py": """
import pytest

@pytest.mark.parametrize("number", range(400))
def test_number(number): assert number >= 0

@pytest.mark.parametrize("word", ["a", "b"])
def test_word(word): assert word

class TestAlone:
    def test_it(self): pass
"""
}


def collected(folder: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return re.findall(r"^test_many\.py::\S+", done.stdout, re.MULTILINE)


def test_of_every_test_one_case_in_so_many_and_at_least_one(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    everything = collected(tmp_path)
    assert len(everything) == 403
    found = collected(tmp_path, "--sample", "10")
    assert found == collected(tmp_path, "--sample", "10")  # the same in each process
    assert [name for name in everything if name in found] == found
    kinds = [name.partition("[")[0].rpartition("::")[2] for name in found]
    assert set(kinds) == {"test_number", "test_word", "test_it"}
    assert 20 <= kinds.count("test_number") <= 65  # 40 of 400, but for chance
