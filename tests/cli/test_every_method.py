"""The smallest network of every family with a short name, trained on one's own data by the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from corners import write_corners

from intarsia import recipes
from intarsia.cli.main import main
from intarsia.recipes import _families

SMALLEST = [next(iter(family.own)) for family in _families() if family.own]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corners(tmp_path_factory.mktemp("scenes"), train=3, val=1)


def test_the_families_are_those_of_the_short_names() -> None:
    assert set(SMALLEST) <= set(recipes.short_names())
    assert len(SMALLEST) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_it_trains_and_is_scored(name: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [
        "train", name, "--data", str(data), "--out", str(out), "--device", "cpu", "--for", "2 steps", "--batch", "2",
        "--crop", "64", "64", "--workers", "0",
    ]  # fmt: skip
    assert main(words) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2
    assert all(0 < loss < 1000 for loss in losses)
    scores = json.loads((out / "eval.json").read_text())
    assert math.isfinite(scores["mIoU"])
