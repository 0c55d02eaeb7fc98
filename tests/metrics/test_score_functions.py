"""The scores as functions: counts and formulas are those of evaluations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import intarsia
from intarsia import metrics
from intarsia.metrics.iou import IoUMetric

ALL = ("mIoU", "mBoundaryIoU", "imageIoU", "interval", "ECE")


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


def test_a_running_metric_takes_what_the_functions_take() -> None:
    """Arrays had no `dim`, and of probabilities, which are real numbers, every pixel was counted as class 0."""
    prediction, label = pair()
    of_arrays, of_tensors = IoUMetric(num_classes=4), IoUMetric(num_classes=4)
    of_arrays.update(prediction.astype(np.uint16), label.tolist())
    of_tensors.update(torch.from_numpy(prediction), torch.from_numpy(label))
    assert of_arrays.report() == of_tensors.report()
    for metric in (IoUMetric(num_classes=1), IoUMetric(num_classes=2)):
        with pytest.raises(ValueError, match=r"prediction holds class indices.*of a single logit, \(logits > 0\)"):
            metric.update(torch.rand(2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))
        assert metric.images == 0


def test_nothing_is_ignored() -> None:
    """None, as other libraries have it."""
    prediction, label = pair()
    known = np.where(label == 255, 0, label)
    for score in (metrics.confusion_matrix, metrics.iou, metrics.dice, metrics.boundary_iou):
        found = score(prediction, known, num_classes=4, ignore_index=None)
        torch.testing.assert_close(found, score(prediction, known, num_classes=4), rtol=0, atol=0, equal_nan=True)
    for metric in (IoUMetric(num_classes=4, metrics=ALL, ignore_index=None), IoUMetric(num_classes=4, metrics=ALL)):
        metric.update(prediction, known, confidence=torch.full(known.shape, 0.75))
        summary = metric.report().summary
        assert summary["mIoU"] == float(metrics.iou(prediction, known, num_classes=4).nanmean())
        assert summary["ECE"] == pytest.approx(abs(0.75 - float((prediction == known).mean())))
    with pytest.raises(ValueError, match=r"pixels of the label are no class: expected 0 to 3 \(nothing is ignored\)"):
        metrics.iou(prediction, label, num_classes=4, ignore_index=None)


def test_a_single_class_is_a_foreground_and_its_background() -> None:
    """As `IoUMetric` has it, so that `num_classes` of a model of a single logit is what both take."""
    prediction, label = (np.minimum(values, 1) for values in pair())
    found = metrics.iou(prediction, label, num_classes=1)
    metric = IoUMetric(num_classes=1)
    metric.update(prediction, label)
    assert found.tolist() == [one.values["IoU"] for one in metric.report().classes]
    assert metrics.boundary_iou(prediction, label, num_classes=1).shape == (2,)


def test_scores_are_of_a_square_table() -> None:
    assert metrics.scores(np.eye(3))["IoU"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"expected a confusion matrix \(K, K\), found \(3, 4\)"):
        metrics.scores(torch.zeros(3, 4))


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
