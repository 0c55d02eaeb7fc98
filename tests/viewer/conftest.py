"""Painted images, and collections of them with models that know bright from dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from viewed_scenes import paint, predictor

from intarsia.data.description.read import read_description
from intarsia.viewer.samples import Collection, Run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return paint(tmp_path / "data")


@pytest.fixture
def collected(data: Path) -> Callable[..., Collection]:
    """A collection of the painted images, and of models that call bright what is above one of these values."""

    def make(*values: float) -> Collection:
        dataset = read_description(data).dataset("train")
        return Collection(dataset, [Run(f"run {value:g}", predictor(value), dataset) for value in values])

    return make
