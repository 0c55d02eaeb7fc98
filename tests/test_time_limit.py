"""`--minutes`: what of a group of tests is run where time is short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()


@pytest.mark.parametrize(("minutes", "expected"), [("0", "NOT RUN for lack of time: 2 tests"), ("9", "2 passed")])
def test_no_test_begins_when_time_is_over(minutes: str, expected: str) -> None:
    words = ["-q", "-p", "no:cacheprovider", "--minutes", minutes, str(HERE), "-k", "nothing"]
    ended = subprocess.run([sys.executable, "-m", "pytest", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert expected in ended.stdout


@pytest.mark.parametrize("number", [1, 2])
def test_that_does_nothing_in_particular(number: int) -> None:
    assert HERE.is_file()
    assert number
