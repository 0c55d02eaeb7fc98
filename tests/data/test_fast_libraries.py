"""Libraries of the extra `fast`: those that lack, those that cannot be loaded, and what insists on them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from intarsia.data import fast_libraries
from intarsia.data.fast_libraries import VARIABLE, fast_library
from intarsia.terminal import Notice


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    fast_library.cache_clear()
    yield
    fast_library.cache_clear()


_ERRORS = [
    "SystemError('initialization of _internal failed')",
    "AttributeError('np.long')",
    "ImportError('Numba needs NumPy 2.4 or less')",
    "OSError('libspng.so: cannot open')",
]


@pytest.fixture(params=_ERRORS)
def broken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a library that is there and raises an error."""
    (tmp_path / "builtforothers.py").write_text(f"raise {request.param}")
    monkeypatch.syspath_prepend(tmp_path)
    return "builtforothers"


def test_one_that_lacks_is_none_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fast_library("there_is_no_such_library.part") is None


def test_one_that_cannot_be_loaded_is_none_with_a_notice(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.warns(Notice, match=rf"{broken} cannot be loaded, .*pip install -U \"intarsia\[fast\]\" \(\w+Error: "):
        assert fast_library(broken) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fast_library(broken) is None  # said once


def test_insisting_says_why(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(ValueError, match=rf"needs {broken}: pip install .* \(\w+Error: "):
        fast_library(broken)
    with pytest.raises(ValueError, match=r'needs lacking: pip install -U "intarsia\[fast\]"$'):
        fast_library("lacking.part")


def test_unknown_choices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "quick")
    with pytest.raises(ValueError, match=r"must be fast or usual, found 'quick'"):
        fast_library("json")
    monkeypatch.setenv(VARIABLE, "usual")
    assert fast_library("json") is None
    assert fast_libraries.crc32(b"abc") == 0x352441C2
