"""Whole networks, and backbones of networks whose heads do not exist yet, against the reference's numbers."""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import building
import built
import comparing
import filling
import numpy as np
import pytest
import references
import torch

from intarsia import catalog

LARGE = 20_000_000
"""Networks with more parameters take half a minute each."""


def backbones() -> dict[str, list[str]]:
    """Distinct backbones (as JSON) -> the records that have them under heads that do not exist yet."""
    found = defaultdict(list)
    for name in sorted(set(references.records()) - set(references.built_networks())):
        backbone = references.model_config(references.records()[name]).get("backbone", {})
        if backbone.get("type") in catalog.names("backbone"):
            found[json.dumps({k: v for k, v in backbone.items() if k != "init_cfg"}, sort_keys=True)].append(name)
    return dict(found)


BACKBONES = backbones()


def by_size(name: str) -> Any:
    marks = [pytest.mark.slow] if references.records()[name]["params"] > LARGE else []
    return pytest.param(name, marks=marks, id=references.short_name(name))


@pytest.mark.parametrize("name", [by_size(name) for name in references.built_networks()])
def test_network_matches_the_reference(name: str) -> None:
    record = references.records()[name]
    findings = comparing.compare(building.task(references.model_config(record)), record)
    assert not comparing.different(findings)


@pytest.mark.parametrize("config", BACKBONES, ids=lambda config: references.short_name(BACKBONES[config][0]))
def test_backbone_matches_every_network_that_stands_on_it(config: str) -> None:
    records = [references.records()[name] for name in BACKBONES[config]]
    backbone = building.backbone(references.model_config(records[0])).double()
    comparing.prepare(backbone, prefix="backbone.")
    inputs: dict[tuple[int, ...], Any] = {}
    findings = []
    for record in records:
        state = {k.removeprefix("backbone."): v for k, v in record["state"].items() if k.startswith("backbone.")}
        findings += comparing.compare_state(backbone, state)
        size = tuple(record["input"])
        if size not in inputs:
            with torch.no_grad():
                inputs[size] = backbone(filling.images(*size))
        tolerance = comparing.DOUBLE if record["dtype"] == "float64" else comparing.SINGLE_THROUGHOUT
        for i, level in enumerate(inputs[size]):
            stage = f"backbone:{i}"
            findings += comparing.compare_digest("stages", stage, level, record["stages"][stage], tolerance)
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
    """Keeps the tests above from passing by being empty, or by losing a network. A new one moves to the other list."""
    assert set(references.built_networks()) == built.BUILT
    assert set(references.records()) - built.BUILT == built.NOT_YET
    assert (len(built.BUILT), len(built.NOT_YET)) == (83, 0)
