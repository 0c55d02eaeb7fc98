"""Whole networks, and trunks of networks whose heads do not exist yet, against the reference's numbers."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import building
import comparing
import filling
import numpy as np
import pytest
import torch

SHARED = Path(os.environ.get("INTARSIA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
TRUNKS = ("ResNet", "ResNetV1c", "MixVisionTransformer", "SwinTransformer")

LARGE = 20_000_000
"""Networks with more parameters take half a minute each."""


@cache
def records() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((SHARED / "golden" / "models").glob("*.json"))}


@cache
def configs() -> dict[str, Any]:
    path = SHARED / "facts" / "mmseg_configs.json.gz"
    return json.loads(gzip.decompress(path.read_bytes())) if path.exists() else {}


def model_config(record: dict[str, Any]) -> dict[str, Any]:
    return configs()[record["config"]]["model"]


@cache
def whole_networks() -> list[str]:
    """Records of which every part exists."""
    return [name for name, record in records().items() if building.known(model_config(record))]


def trunks() -> dict[str, list[str]]:
    """Distinct trunks (as JSON) -> the records that have them under heads that do not exist yet."""
    found = defaultdict(list)
    for name in sorted(set(records()) - set(whole_networks())):
        record = records()[name]
        backbone = model_config(record).get("backbone", {})
        if backbone.get("type") in TRUNKS:
            found[json.dumps({k: v for k, v in backbone.items() if k != "init_cfg"}, sort_keys=True)].append(name)
    return dict(found)


def trunk_name(config: str) -> str:
    return trunks()[config][0].partition("_4xb")[0].partition("_8xb")[0]


def by_size(name: str) -> Any:
    return pytest.param(name, marks=[pytest.mark.slow] if records()[name]["params"] > LARGE else [])


@pytest.mark.parametrize("name", [by_size(name) for name in whole_networks()])
def test_network_matches_the_reference(name: str) -> None:
    record = records()[name]
    comparing.check_record(building.task(model_config(record)), record)


@pytest.mark.parametrize("config", trunks(), ids=trunk_name)
def test_trunk_matches_every_network_that_stands_on_it(config: str) -> None:
    backbone = building.backbone(model_config(records()[trunks()[config][0]])).double()
    comparing.prepare(backbone, prefix="backbone.")
    inputs: dict[tuple[int, ...], Any] = {}
    for name in trunks()[config]:
        record = records()[name]
        state = {k.removeprefix("backbone."): v for k, v in record["state"].items() if k.startswith("backbone.")}
        comparing.check_state(backbone, state, state)
        size = tuple(record["input"])
        if size not in inputs:
            with torch.no_grad():
                inputs[size] = backbone(filling.images(*size))
        tolerance = comparing.DOUBLE if record["dtype"] == "float64" else 1e-4
        for i, level in enumerate(inputs[size]):
            comparing.check_digest(f"backbone:{i}", level, record["stages"][f"backbone:{i}"], tolerance)


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
    np.testing.assert_array_equal(filling.positions("logits", 1000, 9), fill.sample_index("logits", 1000, 9))


def test_reference_is_there(shared: Path) -> None:
    """Keeps the parametrised tests above from passing by being empty."""
    assert len(whole_networks()) >= 19
    assert len(trunks()) >= 5
