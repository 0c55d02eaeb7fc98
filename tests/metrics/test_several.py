"""Several metrics of one pass: each gives what it gives alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from intarsia.contracts import Metric
from intarsia.metrics.cityscapes import LABELS, CityscapesMetric
from intarsia.metrics.iou import IoUMetric
from intarsia.metrics.several import Evaluator, count

CLASSES = tuple(LABELS)


def images(number: int = 3) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Predictions, labels with ignored pixels, objects, confidences."""
    random = torch.Generator().manual_seed(1)
    found = []
    for _ in range(number):
        label = torch.randint(0, 19, (24, 32), generator=random)
        label[:2] = 255
        prediction = torch.where(torch.rand(24, 32, generator=random) < 0.6, label % 255 % 19, 3)
        instances = torch.where(label == 11, 24001, 7)
        found.append((prediction, label, instances, torch.rand(24, 32, generator=random)))
    return found


def filled(metric: Metric, chosen: slice = slice(None)) -> Metric:
    for prediction, label, instances, confidence in images()[chosen]:
        count(metric, prediction, label, instances=instances, confidence=confidence)
    return metric


def made() -> Evaluator:
    pixels = IoUMetric(num_classes=19, classes=CLASSES, metrics=("mIoU", "mDice", "ECE"))
    return Evaluator([pixels, CityscapesMetric()])


def test_each_gives_what_it_gives_alone() -> None:
    both = filled(made()).report()
    pixels, cityscapes = (filled(metric).report() for metric in made().metrics)
    for name, value in both.summary.items():
        assert value == {**cityscapes.summary, **pixels.summary}[name], name
    assert both.summary.keys() == pixels.summary.keys() | cityscapes.summary.keys() - {"mIoU"}
    assert both.summary["averageScoreClasses"] == both.summary["mIoU"]
    assert list(both.classes[0].values) == ["IoU", "Acc", "Dice", "iIoU"]
    for entry, first, second in zip(both.classes, pixels.classes, cityscapes.classes, strict=True):
        assert repr(entry.values) == repr({**first.values, "iIoU": second.values["iIoU"]})
        assert first.values["IoU"] == second.values["IoU"] or math.isnan(first.values["IoU"])
        assert entry.pixels == first.pixels
    assert (both.images, both.absent) == (3, pixels.absent)


def test_the_order_does_not_decide_who_keeps_a_name() -> None:
    first, second = made().metrics
    turned = filled(Evaluator([second, first])).report()
    assert dict(turned.summary) == dict(filled(made()).report().summary)


def test_counts_of_processes_add_up() -> None:
    whole, parts = filled(made()), [filled(made(), slice(i, None, 2)) for i in range(2)]
    joined = made()
    joined.load_state(parts[0].state() + parts[1].state())
    found, expected = joined.report(), whole.report()
    assert dict(found.summary) == pytest.approx(dict(expected.summary), rel=1e-15)  # objects: in another order
    assert joined.metrics[0].report() == whole.metrics[0].report()  # type: ignore[attr-defined]
    assert found.images == 3


def test_prefixes_and_names_that_collide() -> None:
    def two(prefixes: list[str | None] | None) -> Metric:
        pair = [IoUMetric(num_classes=19, classes=CLASSES), IoUMetric(num_classes=19, classes=CLASSES, beta=2.0)]
        return filled(Evaluator(pair, prefixes=prefixes))

    report = two([None, "all"]).report()
    assert list(report.summary) == ["aAcc", "mIoU", "mAcc", "all/aAcc", "all/mIoU", "all/mAcc"]
    assert list(report.classes[0].values) == ["IoU", "Acc", "all/IoU", "all/Acc"]
    with pytest.raises(ValueError, match="IoUMetric and IoUMetric both give a score called 'aAcc'; give one"):
        two(None).report()
    with pytest.raises(ValueError, match="2 metrics has 1 prefixes"):
        two(["all"])
    with pytest.raises(ValueError, match="at least one metric"):
        Evaluator([])


def test_only_what_one_of_them_asks_for_is_asked_for() -> None:
    assert made().needs_confidence
    assert made().needs_instances
    assert not made().needs_foreground
    assert not made().needs_probabilities
    plain = Evaluator([IoUMetric(num_classes=19, classes=CLASSES)])
    assert not plain.needs_confidence
    assert not plain.needs_instances
