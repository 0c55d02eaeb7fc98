"""Scores of depths against those of the reference."""

from __future__ import annotations

import json
from typing import Any

import filling
import numpy as np
import pytest
import references
import torch

from intarsia.metrics.depth import DepthMetric

FILE = references.SHARED / "golden/losses.json"
RECORDS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["depth_metric"] if FILE.is_file() else []


@pytest.mark.skipif(not RECORDS, reason=f"reference material not found at {FILE} (set INTARSIA_SHARED)")
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record["arguments"]))
def test_the_reference(record: dict[str, Any]) -> None:
    metric = DepthMetric(**record["arguments"])
    size = (1, *record["size"])
    for i in range(3):
        truth = np.exp(filling.stream(f"depth:gt{i}").standard_normal(size))
        truth[:, :2] = 0
        found = np.exp(0.2 * filling.stream(f"depth:pred{i}").standard_normal(size)) * np.maximum(truth, 0.3)
        metric.update(torch.from_numpy(found[0]), torch.from_numpy(truth[0]))
    assert metric.report().summary == pytest.approx(record["values"], rel=1e-6)
