"""Thresholds of pseudo labels that follow the teacher, against the same computed class by class."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from intarsia.tasks.confidence import FixedConfidence, OwnConfidence

CLASSES, SIZE = 3, (6, 7)


def answers(seed: int, rows: int = 4, classes: int = CLASSES) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, labels and valid pixels of some rows."""
    random = torch.Generator().manual_seed(seed)
    probability = torch.rand(rows, *SIZE, generator=random) / 2 + 0.5
    labels = torch.randint(0, classes, (rows, *SIZE), generator=random)
    return probability, labels, torch.rand(rows, *SIZE, generator=random) < 0.8


def alone(sums: Tensor) -> Tensor:
    return sums


def means(probability: Tensor, labels: Tensor, valid: Tensor) -> list[float]:
    return [float(probability[(labels == one) & valid].mean()) for one in range(CLASSES)]


def test_thresholds_are_the_means_of_classes_over_steps() -> None:
    confidence = OwnConfidence(1, CLASSES, share=0.4)
    found, last = [], [math.nan] * CLASSES
    for step in range(4):
        given = answers(step)
        before = confidence.thresholds[0].clone()
        sure = confidence.sure(*given)
        assert torch.equal(sure, given[0] >= before[given[1]])  # of the steps before: everything counts in the first
        confidence.end_step(alone)
        share = max(1 / (step + 1), 0.4)
        last = [
            now if step == 0 else (1 - share) * old + share * now for old, now in zip(last, means(*given), strict=True)
        ]
        found.append(sure.float().mean().item())
        assert confidence.thresholds[0].tolist() == pytest.approx(last)
    assert found[0] == 1
    assert 0.3 < found[-1] < 0.7


def test_a_class_without_pixels_keeps_its_threshold() -> None:
    confidence = OwnConfidence(1, CLASSES)
    probability, labels, valid = answers(0)
    confidence.sure(probability, labels, valid)
    confidence.end_step(alone)
    before = confidence.thresholds.clone()
    confidence.sure(probability, torch.where(labels == 2, 1, labels), valid)
    confidence.end_step(alone)
    assert confidence.thresholds[0, 2] == before[0, 2]
    assert (confidence.thresholds[0, :2] != before[0, :2]).any()


def test_parts_of_a_step_are_one_step() -> None:
    """Micro-batches, and processes, whose sums are added up."""
    whole, halves, others = (OwnConfidence(1, CLASSES) for _ in range(3))
    probability, labels, valid = answers(0)
    whole.sure(probability, labels, valid)
    whole.end_step(alone)
    for part in (slice(0, 1), slice(1, 4)):
        halves.sure(probability[part], labels[part], valid[part])
        others.sure(probability[part] * (part.start == 1), labels[part], valid[part] & (part.start == 1))
    halves.end_step(alone)
    torch.testing.assert_close(halves.thresholds, whole.thresholds)
    first = OwnConfidence(1, CLASSES)
    first.sure(probability[:1], labels[:1], valid[:1])
    others.end_step(lambda sums: sums + first._sums)
    torch.testing.assert_close(others.thresholds, whole.thresholds)


def test_a_class_that_is_less_likely_than_the_others_together_never_counts() -> None:
    confidence = OwnConfidence(1, CLASSES)
    probability, labels, valid = answers(0)
    for _ in range(2):
        sure = confidence.sure(torch.where(labels == 2, probability - 0.5, probability), labels, valid)
        assert not sure[labels == 2].any()
        confidence.end_step(alone)
    assert confidence.thresholds[0, 2] == 0.5
    assert sure[labels == 1].any()


def test_questions_have_thresholds_of_their_own() -> None:
    """Rows are the questions of the first image, then those of the second."""
    confidence = OwnConfidence(2, 2)
    given = answers(0, rows=6, classes=2)
    confidence.sure(*given)
    confidence.end_step(alone)
    again = answers(1, rows=6, classes=2)
    sure = confidence.sure(*again)
    for question in range(2):
        single = OwnConfidence(1, 2)
        single.sure(*(part[question::2] for part in given))
        single.end_step(alone)
        torch.testing.assert_close(confidence.thresholds[question], single.thresholds[0])
        assert torch.equal(sure[question::2], single.sure(*(part[question::2] for part in again)))


def test_what_is_not_finite_moves_nothing() -> None:
    confidence = OwnConfidence(1, CLASSES)
    confidence.sure(*answers(0))
    confidence.end_step(alone)
    before = confidence.thresholds.clone()
    probability, labels, valid = answers(1)
    confidence.sure(probability * math.nan, labels, valid)
    confidence.end_step(alone)
    assert torch.equal(confidence.thresholds, before)


def test_the_state_goes_on() -> None:
    whole, rest = OwnConfidence(1, CLASSES), OwnConfidence(1, CLASSES)
    for step in range(4):
        if step == 2:
            rest.load_state({})  # of a run that had none
            rest.load_state(whole.state())
        for confidence in (whole, rest) if step >= 2 else (whole,):
            confidence.sure(*answers(step))
            confidence.end_step(alone)
    assert torch.equal(whole.thresholds, rest.thresholds)
    assert (whole.thresholds > 0.6).all()


def test_a_number_stays_what_it_is() -> None:
    confidence = FixedConfidence(0.7)
    probability, labels, valid = answers(0)
    for _ in range(2):
        assert torch.equal(confidence.sure(probability, labels, valid), probability >= 0.7)
        confidence.end_step(alone)
        confidence.load_state(confidence.state())
    assert confidence.state() == {}
