"""The same comparison as with the reference, by the few figures that are kept here: holds on every machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import building
import comparing
import pytest

FIGURES: dict[str, Any] = json.loads(Path(__file__).with_name("figures.json").read_text())
LARGE = 20_000_000
"""Networks with more parameters take half a minute each."""


def by_size(name: str) -> Any:
    return pytest.param(name, marks=[pytest.mark.slow] if FIGURES[name]["params"] > LARGE else [])


@pytest.mark.parametrize("name", [by_size(name) for name in FIGURES])
def test_network_matches_its_figures(name: str) -> None:
    assert not comparing.different(comparing.compare(building.task(FIGURES[name]["model"]), FIGURES[name]))
