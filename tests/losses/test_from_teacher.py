"""What is learned from a teacher, against the same computed by hand, pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from intarsia.losses.from_teacher import channel_divergence, pixel_divergence, pseudo_label_loss, pseudo_labels

N, K, H, W = 2, 3, 4, 5


def given(seed: int) -> Tensor:
    return torch.randn(N, K, H, W, generator=torch.Generator().manual_seed(seed)) * 3


def some(seed: int) -> Tensor:
    return torch.rand(N, H, W, generator=torch.Generator().manual_seed(seed)) < 0.6


def shares(scores: list[float]) -> list[float]:
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_of_pixels(temperature: float) -> None:
    student, teacher, valid = given(0), given(1), some(2)
    values = []
    for n, y, x in valid.nonzero().tolist():
        p, q = (shares((scores[n, :, y, x] / temperature).tolist()) for scores in (student, teacher))
        values.append(sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True)))
    expected = temperature**2 * sum(values) / len(values)
    found = pixel_divergence(student, teacher, valid, temperature=temperature)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(pixel_divergence(teacher + 7, teacher, valid)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence_of_channels(temperature: float) -> None:
    student, teacher, valid = given(0), given(1), some(2)
    values = []
    for n in range(N):
        for k in range(K):
            p, q = (shares((scores[n, k][valid[n]] / temperature).tolist()) for scores in (student, teacher))
            values.append(sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True)))
    expected = temperature**2 * sum(values) / len(values)
    found = channel_divergence(student, teacher, valid, temperature=temperature)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_pixels_that_are_not_valid_have_no_gradient() -> None:
    valid = some(2)
    for divergence in (pixel_divergence, channel_divergence):
        student = given(0).requires_grad_()
        divergence(student, given(1), valid).backward()
        moved = student.grad.abs().sum(dim=1) > 0
        assert torch.equal(moved, valid)


def test_pseudo_labels_are_the_likeliest_class_and_its_probability() -> None:
    teacher = torch.tensor([2.0, 0.0, 0.0]).log_softmax(0).view(1, 3, 1, 1).repeat(1, 1, 1, 2)
    teacher[0, :, 0, 1] = torch.tensor([0.05, 0.25, 0.7]).log()
    labels, probability = pseudo_labels(teacher)
    assert labels.tolist() == [[[0, 2]]]
    assert probability.flatten().tolist() == pytest.approx([teacher[0, :, 0, 0].exp().max().item(), 0.7])


def test_the_loss_of_pseudo_labels_is_a_mean_over_all_valid_pixels() -> None:
    student, labels, confident, valid = given(0), given(1).argmax(1), some(2), some(3)
    total = 0.0
    for n, y, x in (confident & valid).nonzero().tolist():
        total -= math.log(shares(student[n, :, y, x].tolist())[int(labels[n, y, x])])
    found = pseudo_label_loss(student, labels, confident, valid)
    assert float(found) == pytest.approx(total / int(valid.sum()), rel=1e-5)


def test_without_valid_pixels_there_is_no_loss() -> None:
    nothing = torch.zeros(N, H, W, dtype=torch.bool)
    student = given(0).requires_grad_()
    losses = (
        pixel_divergence(student, given(1), nothing),
        channel_divergence(student, given(1), nothing),
        pseudo_label_loss(student, given(1).argmax(1), ~nothing, nothing),
    )
    assert [loss.item() for loss in losses] == [0, 0, 0]
    sum(losses).backward()
    assert student.grad.abs().sum() == 0
