"""Whole networks against the reference's numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import building
import built
import comparing
import filling
import numpy as np
import pytest
import references

from intarsia.layers import resized_concat

LARGE = 20_000_000
"""Networks with more parameters take half a minute each."""


def by_size(name: str) -> Any:
    marks = [pytest.mark.slow] if references.records()[name]["params"] > LARGE else []
    return pytest.param(name, marks=marks, id=references.short_name(name))


@pytest.fixture(autouse=True)
def ways_of_large_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's images are so small that the plain way is the faster one."""
    monkeypatch.setattr(resized_concat, "LEAST_SAVED", 0)
    monkeypatch.setattr(resized_concat, "MOST_WORK", 1)


@pytest.mark.parametrize("name", [by_size(name) for name in references.built_networks()])
def test_network_matches_the_reference(name: str) -> None:
    record = references.records()[name]
    findings = comparing.compare(building.task(references.model_config(record)), record)
    assert not comparing.different(findings)


def test_the_filling_is_the_references(shared: Path) -> None:
    spec = importlib.util.spec_from_file_location("fill", shared / "golden" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    for name, shape in [("a.weight", (4, 3, 3, 3)), ("a.weight", (5,)), ("b.bias", (7,)), ("b.in_proj_bias", (6,)),
                        ("c.running_var", (8,)), ("c.running_mean", (8,)), ("d.scale", (1, 4))]:  # fmt: skip
        np.testing.assert_array_equal(filling.values(name, shape), fill.value(name, shape))
    np.testing.assert_array_equal(filling.images(1, 2, 5, 6).numpy(), fill.image(1, 2, 5, 6))
    np.testing.assert_array_equal(filling.labels(2, 20, 30, 7).numpy(), fill.label(2, 20, 30, 7))
    np.testing.assert_array_equal(filling.edges(2, 21, 30).numpy(), fill.label(2, 21, 30, 2, name="edge", cell=4) == 1)
    np.testing.assert_array_equal(filling.positions("logits", 1000, 9), fill.sample_index("logits", 1000, 9))


def test_networks_that_exist_are_those_that_are_listed(shared: Path) -> None:
    """Keeps the tests above from passing by being empty, or by losing a network."""
    assert set(references.built_networks()) == built.BUILT == set(references.records())
    assert len(built.BUILT) == 83
