"""The attacker's folder, and a watch on what runs in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import MODULE, Trap

from intarsia import catalog, consent


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """The folder, in which the victim works, and from which Python imports as `python -m intarsia` lets it.

    Nobody has agreed to anything. Whatever a test does, nothing of the attacker's has run after it.
    """
    monkeypatch.delenv(consent.TRUST, raising=False)
    folder = tmp_path / "downloads"
    folder.mkdir()
    made = Trap(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    catalog._entry_points.cache_clear()
    yield made
    sprung = made.sprung()
    for name in [name for name in sys.modules if name.partition(".")[0] == MODULE]:
        del sys.modules[name]
    catalog._entry_points.cache_clear()
    assert not sprung
