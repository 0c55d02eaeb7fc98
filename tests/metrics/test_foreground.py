"""Scores of a foreground against counting in numpy, over all pixels and image by image."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from simulated_gpu import DEVICE, simulated_gpu

from intarsia.metrics.foreground import EmptyImages, ForegroundScores
from intarsia.metrics.iou import IoUMetric

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@st.composite
def pairs(draw: st.DrawFn) -> list[Pair]:
    """Predictions and labels of some images of different sizes; some without foreground, some all ignored."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        shape = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
        shares = draw(st.sampled_from([(0.5, 0.4, 0.1), (1, 0, 0), (0, 0, 1), (0.6, 0, 0.4), (0, 1, 0)]))
        label = rng.choice(np.array([0, 1, 255], np.uint8), shape, p=shares)
        prediction = (rng.random(shape) < draw(st.sampled_from([0, 0.3, 1]))).astype(np.uint8)
        found.append((prediction, label))
    return found


def counted(prediction: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """TP, FP and FN of class 1."""
    tp = int(((prediction == 1) & (label == 1)).sum())
    fp = int(((prediction == 1) & (label == 0)).sum())
    return tp, fp, int(((prediction == 0) & (label == 1)).sum())


def ratio(above: int, below: int, otherwise: float) -> float:
    return above / below if below else otherwise


def expected_of_images(images: list[Pair], rule: EmptyImages) -> dict[str, float]:
    scores: dict[str, list[float]] = {"Dice": [], "IoU": [], "Precision": [], "Recall": []}
    for prediction, label in images:
        if (label == 255).all():
            continue
        tp, fp, fn = counted(prediction, label)
        if not tp + fn:
            if rule == "one":
                for values in scores.values():
                    values.append(1.0 if fp == 0 else 0.0)
            continue
        scores["Dice"].append(2 * tp / (2 * tp + fp + fn))
        scores["IoU"].append(tp / (tp + fp + fn))
        scores["Precision"].append(ratio(tp, tp + fp, 0.0))
        scores["Recall"].append(tp / (tp + fn))
    return {name: float(np.mean(values)) if values else math.nan for name, values in scores.items()}


@given(pairs(), st.sampled_from(["one", "skip"]))
def test_against_counting_in_numpy(images: list[Pair], rule: EmptyImages) -> None:
    metric = IoUMetric(num_classes=2, classes=("background", "crack"), empty_images=rule)
    for prediction, label in images:
        metric.update(torch.from_numpy(prediction), torch.from_numpy(label))
    summary = metric.report().summary
    for name, value in expected_of_images(images, rule).items():
        assert summary[f"image{name}(crack)"] == pytest.approx(value, abs=1e-11, nan_ok=True), name
    tp, fp, fn = np.sum([counted(*image) for image in images], axis=0).tolist()
    pooled = {
        "Dice": ratio(2 * tp, 2 * tp + fp + fn, math.nan),
        "IoU": ratio(tp, tp + fp + fn, math.nan),
        "Precision": ratio(tp, tp + fp, 0.0 if fn else math.nan),
        "Recall": ratio(tp, tp + fn, math.nan),
    }
    for name, value in pooled.items():
        assert summary[f"{name}(crack)"] == pytest.approx(value, rel=1e-12, nan_ok=True), name


@given(pairs(), st.integers(0, 5))
def test_images_are_added_up_in_any_grouping(images: list[Pair], cut: int) -> None:
    whole, first, second = (IoUMetric(num_classes=1, classes=("crack",)) for _ in range(3))
    for number, (prediction, label) in enumerate(images):
        for metric in (whole, first if number < cut else second):
            metric.update(torch.from_numpy(prediction), torch.from_numpy(label))
    first.load_state(first.state() + second.state())
    assert torch.equal(first.state(), whole.state())
    assert repr(first.report()) == repr(whole.report())


def test_a_large_image_counts_more_over_pixels_and_alike_over_images() -> None:
    metric = IoUMetric(num_classes=2, classes=("rest", "cell"))
    metric.update(torch.ones(10, 10, dtype=torch.uint8), torch.ones(10, 10, dtype=torch.uint8))
    metric.update(torch.zeros(1, 1, dtype=torch.uint8), torch.ones(1, 1, dtype=torch.uint8))
    summary = metric.report().summary
    assert (summary["Recall(cell)"], summary["imageRecall(cell)"]) == (100 / 101, 0.5)
    assert (summary["Precision(cell)"], summary["imagePrecision(cell)"]) == (1.0, 0.5)


def test_images_of_an_accelerator_are_counted_on_the_processor() -> None:
    here, there = ForegroundScores(), ForegroundScores()
    with simulated_gpu():
        for matrix in (torch.tensor([[5, 1], [2, 3]]), torch.tensor([[0, 0], [4, 1]])):
            here.add(matrix)
            there.add(matrix.to(DEVICE))
        assert there.means() == here.means()
    assert there.state().device.type == "cpu"


def test_more_classes_have_no_foreground() -> None:
    metric = IoUMetric(num_classes=3)
    metric.update(torch.zeros(2, 2, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8))
    assert set(metric.report().summary) == {"aAcc", "mIoU", "mAcc"}


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="empty_images is one or skip, found 'zero'"):
        IoUMetric(num_classes=2, empty_images="zero")  # type: ignore[arg-type]
