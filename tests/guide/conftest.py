"""Scripts and measurements are no packages: they are imported by their file's name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))


def script(path: str) -> ModuleType:
    """The module of a file, under a name of its own: scripts/models.py and benchmarks/models.py are two."""
    location = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), ROOT / path)
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def page() -> ModuleType:
    return script("scripts/models.py")


@pytest.fixture(scope="session")
def counting() -> ModuleType:
    return script("benchmarks/models.py")


@pytest.fixture(scope="session")
def publishing() -> ModuleType:
    return script("scripts/published.py")
