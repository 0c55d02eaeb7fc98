"""The scores as functions: counts and formulas are those of evaluations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import intarsia
from intarsia import metrics
from intarsia.metrics.iou import IoUMetric


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.kron(rng.integers(0, 4, (4, 5)), np.ones((8, 8), int)).astype(np.uint8)
    prediction = np.where(rng.random(label.shape) < 0.3, rng.integers(0, 4, label.shape), label).astype(np.uint8)
    label[:3] = 255
    return prediction, label


def test_scores_are_those_of_an_evaluation() -> None:
    prediction, label = pair()
    metric = IoUMetric(num_classes=5, metrics=("mIoU", "mDice", "mFscore", "mBoundaryIoU"))
    metric.update(torch.from_numpy(prediction), torch.from_numpy(label))
    report = metric.report()
    found = metrics.scores(metrics.confusion_matrix(prediction, label, num_classes=5))
    for name in ("IoU", "Acc", "Dice", "Fscore", "Precision", "Recall"):
        assert [one.values[name] for one in report.classes] == pytest.approx(found[name].tolist(), nan_ok=True)
    assert report.summary["mIoU"] == float(metrics.iou(prediction, label, num_classes=5).nanmean())
    assert report.summary["mDice"] == float(metrics.dice(prediction, label, num_classes=5).nanmean())
    assert report.summary["aAcc"] == metrics.accuracy(prediction, label, num_classes=5)
    near = metrics.boundary_iou(prediction, label, num_classes=5)
    assert report.summary["mBoundaryIoU"] == float(near.nanmean())
    assert math.isnan(found["IoU"][4])


def test_arrays_and_tensors_of_any_type_and_shape() -> None:
    prediction, label = pair()
    expected = metrics.confusion_matrix(torch.from_numpy(prediction), torch.from_numpy(label), num_classes=4)
    assert int(expected.sum()) == int((label != 255).sum())
    for kind in (np.uint16, np.int32, ">i2", np.uint64):
        assert metrics.confusion_matrix(prediction.astype(kind), label.astype(kind), num_classes=4).equal(expected)
    assert metrics.confusion_matrix(prediction.tolist(), label[None][0], num_classes=4).equal(expected)
    stacked = metrics.confusion_matrix(np.stack([prediction] * 2), np.stack([label] * 2), num_classes=4)
    assert stacked.equal(2 * expected)


def test_truth_values_are_two_classes() -> None:
    prediction, label = np.array([True, True, False]), np.array([True, False, False])
    assert metrics.iou(prediction, label, num_classes=2).tolist() == [0.5, 0.5]
    assert metrics.dice(prediction, label, num_classes=2)[1] == pytest.approx(2 / 3)


def test_a_running_metric_adds_up_what_the_function_counts() -> None:
    metric = intarsia.metrics.IoUMetric(num_classes=4)
    total = torch.zeros(4, 4, dtype=torch.int64)
    for seed in range(3):
        prediction, label = map(torch.from_numpy, pair(seed))
        metric.update(prediction, label)
        total += metrics.confusion_matrix(prediction, label, num_classes=4)
    assert metric.matrix.equal(total)
    assert metric.report().summary["mIoU"] == float(metrics.scores(total)["IoU"].nanmean())


def test_what_is_no_class_is_refused() -> None:
    label = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"prediction holds class indices.*logits\.argmax\(dim=1\)"):
        metrics.iou(np.zeros((4, 4), np.float32), label, num_classes=2)
    with pytest.raises(ValueError, match="16 pixels of the label are no class"):
        metrics.iou(label, label + 7, num_classes=2)
    with pytest.raises(ValueError, match="must have one shape"):
        metrics.iou(label, label[:2], num_classes=2)
    with pytest.raises(ValueError, match=r"expected \(H, W\), found \(1, 4, 4\)"):
        metrics.boundary_iou(label[None], label[None], num_classes=2)
    with pytest.raises(ValueError, match="are no class"):
        metrics.boundary_iou(label, label + 7, num_classes=2)
    assert math.isnan(metrics.accuracy(label, label + 255, num_classes=2))
