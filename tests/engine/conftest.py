"""Fixtures of the engine's tests; the stand-ins are in standins.py."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a run, not there yet."""
    return tmp_path / "run"
