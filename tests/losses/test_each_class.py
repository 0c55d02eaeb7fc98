"""Losses where a pixel may have several classes: those of each class on its own, as torch and formulas have them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.dice import DiceLoss
from intarsia.losses.each_class import EachClass, RightAnswers
from intarsia.losses.focal import FocalLoss
from intarsia.losses.lovasz import LovaszLoss

CLASSES, IGNORED = 3, 255
# Means of cross entropy divide by 1.2e-7 more than the count (`losses.reduction`): of some fifty pixels, 2e-9 less.


def example(seed: int = 0, ignored: float = 0.2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (N, K, H, W), sets (N, H, W), the same as answers (N, K, H, W), and what is labelled (N, 1, H, W)."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, CLASSES, 5, 7, generator=random, dtype=torch.float64)
    target = torch.randint(0, 2**CLASSES, (2, 5, 7), generator=random)
    answers = torch.stack([target // 2**k % 2 for k in range(CLASSES)], dim=1).double()
    target[torch.rand(2, 5, 7, generator=random) < ignored] = IGNORED
    return logits, target, answers, (target != IGNORED).unsqueeze(1)


def test_cross_entropy_is_that_of_every_answer() -> None:
    logits, target, answers, labelled = example()
    loss = EachClass([CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True)])(logits, target)
    every = F.binary_cross_entropy_with_logits(logits, answers, reduction="none")
    torch.testing.assert_close(loss, every[labelled.expand_as(every)].mean(), rtol=1e-8, atol=0)


def test_a_class_weight_goes_to_the_yes_of_its_class() -> None:
    logits, target, answers, labelled = example()
    weights = [0.5, 2.0, 7.0]
    losses = [CrossEntropyLoss(use_sigmoid=True, class_weight=[w], avg_non_ignore=True) for w in weights]
    every = F.binary_cross_entropy_with_logits(
        logits, answers, pos_weight=torch.tensor(weights, dtype=torch.float64).view(-1, 1, 1), reduction="none"
    )
    expected = every[labelled.expand_as(every)].mean()
    torch.testing.assert_close(EachClass(losses)(logits, target), expected, rtol=1e-8, atol=0)


def test_dice_is_the_mean_of_that_of_each_class() -> None:
    logits, target, answers, labelled = example()
    p, t = logits.sigmoid() * labelled, answers * labelled
    dice = 1 - 2 * (p * t).sum((2, 3)) / ((p * p).sum((2, 3)) + 1e-3 + t.sum((2, 3)) + 1e-3)
    torch.testing.assert_close(EachClass([DiceLoss()])(logits, target), dice.mean(), rtol=1e-12, atol=0)


def test_focal_loss_has_an_alpha_for_each_class() -> None:
    logits, target, answers, labelled = example()
    alphas = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).view(-1, 1, 1)
    right = torch.where(answers == 1, logits.sigmoid(), 1 - logits.sigmoid())
    weight = torch.where(answers == 1, alphas, 1 - alphas)
    expected = (-weight * (1 - right) ** 2 * right.log() * labelled).mean()
    found = EachClass([FocalLoss(alpha=[a]) for a in alphas.flatten().tolist()])(logits, target)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_the_lovasz_hinge_is_that_of_each_class() -> None:
    logits, target, answers, labelled = example()
    hinge = LovaszLoss(loss_type="binary", reduction="none")
    planes = answers.long().where(labelled, IGNORED)
    expected = torch.stack([hinge(logits[:, k : k + 1], planes[:, k]) for k in range(CLASSES)]).mean()
    torch.testing.assert_close(EachClass([hinge])(logits, target), expected, rtol=0, atol=0)


def test_ignored_pixels_have_no_gradient_and_all_others_have() -> None:
    logits, target, _, labelled = example()
    logits.requires_grad_()
    EachClass([CrossEntropyLoss(use_sigmoid=True)])(logits, target).backward()
    assert logits.grad is not None
    assert bool(((logits.grad != 0) == labelled).all())


def test_a_batch_of_ignored_pixels_costs_nothing() -> None:
    logits, target, _, _ = example(ignored=1.1)
    for loss in (CrossEntropyLoss(use_sigmoid=True), DiceLoss(), FocalLoss(), LovaszLoss(loss_type="binary")):
        assert float(EachClass([loss])(logits, target)) == 0
    assert float(RightAnswers()(logits, target)) == 0


def test_what_is_no_set_is_named() -> None:
    logits, target, _, _ = example()
    target[0, 0, 0] = 9
    with pytest.raises(ValueError, match=r"the value 9, but sets of 3 classes, a bit for each, are 0 to 7, and 255"):
        EachClass([DiceLoss()])(logits, target)
    with pytest.raises(ValueError, match="2 losses for 3 logits"):
        EachClass([DiceLoss(), DiceLoss()])(*example()[:2])
    with pytest.raises(ValueError, match="needs a loss"):
        EachClass([])


def test_right_answers_count_each_class_of_each_labelled_pixel() -> None:
    logits, target, answers, labelled = example()
    right = ((logits > 0) == (answers == 1)) & labelled
    expected = 100 * float(right.sum()) / (CLASSES * float(labelled.sum()))
    assert math.isclose(float(RightAnswers()(logits, target)), expected, rel_tol=1e-6)
