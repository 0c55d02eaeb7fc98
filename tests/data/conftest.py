"""What tests of image files share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from intarsia.data import fast_libraries


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has the "usual" decoders read, or the "fast" ones."""

    def chosen(word: str) -> None:
        monkeypatch.setenv(fast_libraries.VARIABLE, word)
        fast_libraries.fast_library.cache_clear()

    yield chosen
    fast_libraries.fast_library.cache_clear()
