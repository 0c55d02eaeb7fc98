"""Fixtures that several rooms use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("INTARSIA_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; tests that need it skip where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip(f"reference material not found at {SHARED} (set INTARSIA_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def realdata(shared: Path) -> Path:
    return shared / "realdata"
