"""Scores of depths: the formulas number by number, and what is not compared. golden/ has the reference's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_gpu import DEVICE, simulated_gpu

from intarsia.metrics.depth import NYU, SCORES, DepthMetric


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 3))
def test_the_formulas(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    metric, expected = DepthMetric(min_depth_eval=0.5, max_depth_eval=4.0), []
    for _ in range(images):
        truth, found = np.exp(rng.standard_normal((2, 4, 5)))
        truth[rng.random(truth.shape) < 0.3] = 0
        metric.update(torch.from_numpy(found), torch.from_numpy(truth))
        pairs = [(p, t) for p, t in zip(found.flat, truth.flat, strict=True) if 0.5 < t < 4.0]
        if not pairs:
            continue
        ratios = [max(p / t, t / p) for p, t in pairs]
        logs = [math.log(p) - math.log(t) for p, t in pairs]
        expected.append([
            *(np.mean([ratio < 1.25**power for ratio in ratios]) for power in (1, 2, 3)),
            np.mean([abs(p - t) / t for p, t in pairs]),
            np.mean([(p - t) ** 2 / t for p, t in pairs]),
            math.sqrt(np.mean([(p - t) ** 2 for p, t in pairs])),
            math.sqrt(np.mean(np.square(logs))),
            np.mean([abs(log) / math.log(10) for log in logs]),
            math.sqrt(max(np.mean(np.square(logs)) - 0.5 * np.mean(logs) ** 2, 0)),
        ])  # fmt: skip
    report = metric.report()
    means = np.mean(expected, axis=0) if expected else [math.nan] * len(SCORES)
    assert list(report.summary) == list(SCORES)
    assert list(report.summary.values()) == pytest.approx(list(means), rel=1e-9, abs=1e-12, nan_ok=True)
    assert (report.images, report.classes, report.absent) == (images, (), ())


def test_a_crop_leaves_the_rest_out() -> None:
    truth, found = torch.full((480, 640), 2.0), torch.full((480, 640), 2.0)
    top, bottom, left, right = NYU
    found[:top] = found[bottom:] = 9.0
    found[:, :left] = found[:, right:] = 9.0
    cropped, whole = DepthMetric(crop_type="nyu_crop"), DepthMetric()
    for metric in (cropped, whole):
        metric.update(found, truth)
    assert cropped.report().summary["rmse"] == 0
    assert whole.report().summary["rmse"] > 1
    for crop, rows, columns in (("garg_crop", (153, 371), (43, 1179)), ("eigen_crop", (124, 342), (43, 1179))):
        found = torch.full((375, 1223), 9.0)
        found[rows[0] : rows[1], columns[0] : columns[1]] = 2.0
        inside = DepthMetric(crop_type=crop)  # type: ignore[arg-type]
        inside.update(found, torch.full(found.shape, 2.0))
        assert inside.report().summary["rmse"] == 0
        found[rows[0], columns[0]] = found[rows[1] - 1, columns[1] - 1] = 9.0
        inside.update(found, torch.full(found.shape, 2.0))
        assert inside.report().summary["rmse"] > 0


def test_states_of_processes_add_up() -> None:
    torch.manual_seed(0)
    images = [(torch.rand(3, 4) + 0.1, torch.rand(3, 4) + 0.1) for _ in range(4)]
    one, parts = DepthMetric(), [DepthMetric(), DepthMetric()]
    for number, (found, truth) in enumerate(images):
        one.update(found, truth)
        parts[number % 2].update(found, truth)
    total = DepthMetric()
    total.load_state(parts[0].state() + parts[1].state())
    assert total.report().summary == pytest.approx(one.report().summary)
    assert total.report().images == 4


def test_no_image_waits_for_an_accelerator() -> None:
    here, metric = DepthMetric(), DepthMetric()
    with simulated_gpu() as waits:
        for number in range(3):
            found, truth = torch.full((2, 3), number + 1.5), torch.ones(2, 3)
            here.update(found, truth)
            there = found.to(DEVICE)
            waits.found.clear()
            metric.update(there, truth)
            assert waits.found == []
        assert metric.report().summary == here.report().summary


def test_an_image_without_a_depth_is_seen_and_not_compared() -> None:
    metric = DepthMetric(depth_metrics=("rmse",))
    metric.update(torch.ones(2, 2), torch.zeros(2, 2))
    assert math.isnan(metric.report().summary["rmse"])
    metric.update(torch.ones(2, 2), torch.full((2, 2), 3.0))
    assert metric.report().summary == {"rmse": pytest.approx(2.0)}
    assert metric.report().images == 2


def test_a_depth_of_nothing_is_a_finite_error() -> None:
    metric = DepthMetric()
    metric.update(torch.zeros(2, 2), torch.ones(2, 2))
    assert all(math.isfinite(value) for value in metric.report().summary.values())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown score of depths 'mIoU'"):
        DepthMetric(depth_metrics=["mIoU"])
    with pytest.raises(ValueError, match="unknown crop_type 'kitti'"):
        DepthMetric(crop_type="kitti")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no depth lies between"):
        DepthMetric(min_depth_eval=2, max_depth_eval=2)
    for found, truth in ((torch.ones(2, 2), torch.ones(2, 3)), (torch.ones(2, 2), torch.ones(2, 2).long())):
        with pytest.raises(ValueError, match="real numbers of one size"):
            DepthMetric().update(found, truth)
