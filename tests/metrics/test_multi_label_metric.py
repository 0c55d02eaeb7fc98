"""Scores where a pixel may have several classes, against scikit-learn and torchmetrics; thresholds by trying all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from intarsia.contracts import ProbabilityMetric
from intarsia.label_sets import has
from intarsia.metrics.multi_label import BINS, BestThresholdsMetric, MultiLabelMetric

NAMES = ("leaf", "spot", "vein")
K, IGNORED = len(NAMES), 255


def images(seed: int = 0, count: int = 4) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Predictions, labels (H, W) of sets, and probabilities (K, H, W) that lean to what is labelled."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        label = torch.randint(0, 2**K, (13, 11), generator=random)
        truth = torch.stack([has(label, k) for k in range(K)])
        probabilities = (0.35 * truth + 0.65 * torch.rand(K, 13, 11, generator=random)).clamp(0, 1)
        prediction = sum((probabilities[k] > 0.5).long() << k for k in range(K))
        label[torch.rand(13, 11, generator=random) < 0.1] = IGNORED
        found.append((prediction, label, probabilities))
    return found


def answers(data: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true answers (pixels, K) of all labelled pixels."""
    prediction = torch.cat([p[label != IGNORED] for p, label, _ in data])
    label = torch.cat([label[label != IGNORED] for _, label, _ in data])
    return tuple(np.stack([has(values, k).numpy() for k in range(K)], axis=1) for values in (prediction, label))  # type: ignore[return-value]


def counted(data: list[tuple[Tensor, Tensor, Tensor]]) -> MultiLabelMetric:
    metric = MultiLabelMetric(num_classes=K, classes=NAMES)
    for prediction, label, _ in data:
        metric.update(prediction.to(torch.uint8), label.to(torch.uint8))
    return metric


def test_the_scores_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="compared with scikit-learn")
    data = images()
    report = counted(data).report()
    predicted, true = answers(data)
    precision, recall, dice, support = sklearn.precision_recall_fscore_support(true, predicted, zero_division=0)
    iou = sklearn.jaccard_score(true, predicted, average=None)
    for k, entry in enumerate(report.classes):
        found = [entry.values[name] for name in ("IoU", "Dice", "Precision", "Recall")]
        np.testing.assert_allclose(found, [iou[k], dice[k], precision[k], recall[k]], rtol=1e-12)
        assert (entry.name, entry.pixels) == (NAMES[k], support[k])
    summary = report.summary
    np.testing.assert_allclose(summary["mIoU"], iou.mean(), rtol=1e-12)
    np.testing.assert_allclose(summary["microIoU"], sklearn.jaccard_score(true, predicted, average="micro"), rtol=1e-12)
    np.testing.assert_allclose(summary["microDice"], sklearn.f1_score(true, predicted, average="micro"), rtol=1e-12)
    np.testing.assert_allclose(summary["exact"], sklearn.accuracy_score(true, predicted), rtol=1e-12)
    assert report.images == 4


def test_the_scores_are_those_of_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.classification", reason="compared with torchmetrics")
    data = images(1)
    predicted, true = map(torch.from_numpy, answers(data))
    report = counted(data).report()
    for name, score in (("IoU", "MultilabelJaccardIndex"), ("Dice", "MultilabelF1Score")):
        theirs = getattr(torchmetrics, score)(num_labels=K, average=None)(predicted, true)
        ours = [entry.values[name] for entry in report.classes]
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)


def test_states_add_up_and_are_restored() -> None:
    data = images()
    whole, first, second = counted(data), counted(data[:1]), counted(data[1:])
    joined = MultiLabelMetric(num_classes=K, classes=NAMES)
    joined.load_state(first.state() + second.state())
    assert joined.report() == whole.report()


def test_a_class_that_is_not_there_has_no_score() -> None:
    metric = MultiLabelMetric(num_classes=2, classes=("here", "never"))
    metric.update(torch.ones(2, 2, dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8))
    report = metric.report()
    assert report.absent == ("never",)
    assert np.isnan(report.classes[1].values["IoU"])
    assert report.summary["mIoU"] == 1
    missed = MultiLabelMetric(num_classes=2)
    missed.update(torch.zeros(2, 2, dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8))
    assert missed.report().classes[0].values["Precision"] == 0


def test_what_is_no_set_is_refused() -> None:
    metric = MultiLabelMetric(num_classes=2)
    with pytest.raises(ValueError, match="1 pixels of the label are no class: expected 0 to 3"):
        metric.update(torch.zeros(1, 1, dtype=torch.uint8), torch.full((1, 1), 4))
    with pytest.raises(ValueError, match="1 pixels of the prediction"):
        metric.update(torch.full((1, 1), 4), torch.zeros(1, 1, dtype=torch.uint8))
    with pytest.raises(ValueError, match="one shape"):
        metric.update(torch.zeros(1, 2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="no image was evaluated"):
        MultiLabelMetric(num_classes=2).report()
    with pytest.raises(ValueError, match="unknown metric 'kappa'"):
        MultiLabelMetric(num_classes=2, metrics=("kappa",))


def test_the_best_thresholds_are_those_that_trying_all_finds() -> None:
    data = images(2)
    metric = BestThresholdsMetric(MultiLabelMetric(num_classes=K, classes=NAMES))
    assert isinstance(metric, ProbabilityMetric)
    for prediction, label, probabilities in data:
        metric.update(prediction, label, probabilities=probabilities)
    again = BestThresholdsMetric(MultiLabelMetric(num_classes=K, classes=NAMES))
    again.load_state(metric.state())
    report = again.report()
    best = tuple(report.thresholds.values())
    assert best == metric.best()
    labels = torch.cat([label[label != IGNORED] for _, label, _ in data])
    shares = torch.cat([p[:, label != IGNORED] for _, label, p in data], dim=1)
    for k, (threshold, entry) in enumerate(zip(best, report.classes, strict=True)):
        true = has(labels, k) == 1

        def iou(place: int, k: int = k, true: Tensor = true) -> float:
            above = shares[k] > place / BINS
            return float((above & true).sum() / (above | true).sum())

        every = {place: iou(place) for place in range(1, BINS)}
        highest = max(every.values())
        nearest = min((p for p in every if every[p] == highest), key=lambda p: (abs(p - BINS // 2), p))
        assert threshold == nearest / BINS
        assert entry.values["IoU"] == pytest.approx(highest, rel=1e-6)
    # Label maps that are made at these thresholds have these scores.
    plain = MultiLabelMetric(num_classes=K, classes=NAMES)
    for _, label, p in data:
        plain.update(sum((p[k] > t).long() << k for k, t in enumerate(best)), label)  # type: ignore[arg-type]
    assert plain.report().classes == report.classes
    with pytest.raises(ValueError, match=r"needs probabilities \(3, 13, 11\), found None"):
        metric.update(*data[0][:2])
