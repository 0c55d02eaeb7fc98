"""The same comparison as with the reference, by the few figures that are kept here: holds on every machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import building
import comparing
import pytest

FIGURES: dict[str, Any] = json.loads(Path(__file__).with_name("figures.json").read_text())


@pytest.mark.parametrize("name", FIGURES)
def test_network_matches_its_figures(name: str) -> None:
    comparing.check_record(building.task(FIGURES[name]["model"]), FIGURES[name])
