"""Dice, Tversky, Lovász and focal loss against their formulas, written out number by number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.losses.dice import DiceLoss
from intarsia.losses.focal import FocalLoss
from intarsia.losses.lovasz import LovaszLoss
from intarsia.losses.tversky import TverskyLoss

IGNORED = 255
CLASSES = 3


def example(seed: int, ignored: float, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 3, 4, generator=random, dtype=torch.float64)
    target = torch.randint(0, max(classes, 2), (2, 3, 4), generator=random)
    target[torch.rand(2, 3, 4, generator=random) < ignored] = IGNORED
    return logits, target


def pixels(logits: Tensor, target: Tensor) -> Iterator[tuple[list[float], int]]:
    """The logits and the label of every pixel of one image."""
    for y, x in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
        yield logits[:, y, x].tolist(), int(target[y, x])


def softmax(scores: list[float]) -> list[float]:
    total = sum(map(math.exp, scores))
    return [math.exp(score) / total for score in scores]


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


cases = given(seed=st.integers(0, 10_000), ignored=st.sampled_from([0.0, 0.3, 1.0]))


@settings(max_examples=30, deadline=None)
@cases
@pytest.mark.parametrize("form", ["left_out", "no_class"])
@pytest.mark.parametrize("naive", [False, True])
@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_dice(form: Literal["left_out", "no_class"], naive: bool, use_sigmoid: bool, seed: int, ignored: float) -> None:
    logits, target = example(seed, ignored)
    eps, losses = 0.01, []
    for image in zip(logits, target, strict=True):
        overlap = predicted = wanted = 0.0
        counted = [pixel for pixel in pixels(*image) if form == "no_class" or pixel[1] != IGNORED]
        for scores, label in counted:
            for k, p in enumerate([sigmoid(score) for score in scores] if use_sigmoid else softmax(scores)):
                overlap += 2 * p * (label == k)
                predicted += p if naive else p * p
                wanted += label == k
        losses.append(1 - ((overlap + eps) / (predicted + wanted + eps) if naive
                           else overlap / (predicted + wanted + 2 * eps)) if counted else 0.0)  # fmt: skip
    loss = DiceLoss(use_sigmoid=use_sigmoid, naive_dice=naive, eps=eps, ignored=form)(logits, target)
    assert loss.item() == pytest.approx(sum(losses) / 2, abs=1e-12)


def test_dice_is_that_of_squares_unless_it_is_told_otherwise() -> None:
    """As of MMSegmentation: `naive_dice` is False, and probabilities are squared below."""
    logits, target = example(3, 0.0)
    found = DiceLoss(eps=0.01)(logits, target)
    torch.testing.assert_close(found, DiceLoss(eps=0.01, naive_dice=False)(logits, target))
    assert abs(found - DiceLoss(eps=0.01, naive_dice=True)(logits, target)) > 1e-3


@pytest.mark.parametrize("form", ["left_out", "no_class"])
def test_dice_leaves_out_the_class_that_is_ignored(form: Literal["left_out", "no_class"]) -> None:
    logits, target = example(0, 0.0)
    without = DiceLoss(ignored=form)(logits[:, :2], target.where(target < 2, IGNORED))
    torch.testing.assert_close(DiceLoss(ignore_index=2, ignored=form)(logits, target), without)
    with pytest.raises(ValueError, match="'left_out' or of 'no_class'; got 'counted'"):
        DiceLoss(ignored="counted")  # type: ignore[arg-type]


def test_dice_of_one_logit_is_that_of_class_1() -> None:
    single, binary = example(1, 0.0, classes=1)
    both = torch.cat([torch.full_like(single, -1e3), single], dim=1)
    original = DiceLoss(ignore_index=0, ignored="no_class")
    torch.testing.assert_close(original(both, binary), DiceLoss()(single, binary))
    torch.testing.assert_close(original(single, binary), DiceLoss()(single, binary))
    torch.testing.assert_close(DiceLoss(activate=False)(single.sigmoid(), binary), DiceLoss()(single, binary))


@settings(max_examples=30, deadline=None)
@cases
def test_tversky(seed: int, ignored: float) -> None:
    logits, target = example(seed, ignored)
    weights, total = [1.0, 2.0, 0.5], 0.0
    for k in range(CLASSES):
        for image in zip(logits, target, strict=True):
            tp = fp = fn = 0.0
            for scores, label in pixels(*image):
                if label != IGNORED:
                    p = softmax(scores)[k]
                    tp += p * (label == k)
                    fp += p * (label != k)
                    fn += (1 - p) * (label == k)
            total += weights[k] * (1 - (tp + 1) / (tp + 0.4 * fp + 0.6 * fn + 1)) / 2 / CLASSES
    loss = TverskyLoss(alpha=0.4, beta=0.6, class_weight=weights)(logits, target)
    assert loss.item() == pytest.approx(total)
    for alpha, beta in ((0.5, 0.6), (0.3, 0.7 + 1.5e-6)):
        with pytest.raises(ValueError, match="add up to 1"):
            TverskyLoss(alpha=alpha, beta=beta)
    TverskyLoss(alpha=0.3, beta=0.7 + 5e-7)  # digits that a sum of decimals loses


def jaccard_loss(wrong: set[int], wanted: set[int]) -> float:
    """One minus the IoU if exactly these pixels are wrong (equation 6)."""
    union = wanted | wrong
    return 1 - len(wanted - wrong) / len(union) if union else 0.0


def slow_extension(errors: list[float], wanted: set[int]) -> float:
    """Definition 1: errors, worst first, each times what its pixel adds to the loss of the set of worse ones."""
    total, wrong = 0.0, set[int]()
    for i in sorted(range(len(errors)), key=lambda i: -errors[i]):
        total += errors[i] * (jaccard_loss(wrong | {i}, wanted) - jaccard_loss(wrong, wanted))
        wrong.add(i)
    return total


def slow_lovasz(found: list[tuple[list[float], int]], classes: list[int] | None) -> float:
    labelled = [(softmax(scores), label) for scores, label in found if label != IGNORED]
    losses = []
    for k in range(CLASSES) if classes is None else classes:
        wanted = {i for i, (_, label) in enumerate(labelled) if label == k}
        if wanted or classes is not None:
            losses.append(slow_extension([abs((label == k) - p[k]) for p, label in labelled], wanted))
    return sum(losses) / len(losses) if losses else 0.0


@settings(max_examples=30, deadline=None)
@cases
@pytest.mark.parametrize("classes", ["present", [0, 2]], ids=str)
def test_lovasz_softmax(classes: str | list[int], seed: int, ignored: float) -> None:
    logits, target = example(seed, ignored)
    chosen = None if isinstance(classes, str) else classes
    images = [list(pixels(*image)) for image in zip(logits, target, strict=True)]
    together = LovaszLoss(classes=classes, reduction="none")(logits, target)
    assert together.item() == pytest.approx(slow_lovasz(images[0] + images[1], chosen), abs=1e-12)
    apart = LovaszLoss(classes=classes, per_image=True)(logits, target)
    assert apart.item() == pytest.approx(sum(slow_lovasz(image, chosen) for image in images) / 2, abs=1e-12)


@settings(max_examples=30, deadline=None)
@cases
def test_lovasz_hinge(seed: int, ignored: float) -> None:
    logits, target = example(seed, ignored, classes=1)
    found = [pixel for image in zip(logits, target, strict=True) for pixel in pixels(*image) if pixel[1] != IGNORED]
    errors = [max(0.0, 1 - score * (1 if label else -1)) for [score], label in found]
    expected = slow_extension(errors, {i for i, (_, label) in enumerate(found) if label})
    assert LovaszLoss(loss_type="binary")(logits, target).item() == pytest.approx(expected, abs=1e-12)


def test_lovasz_of_certain_predictions_is_the_iou() -> None:
    target = torch.tensor([[[0, 0, 0, 1, 1, 2, IGNORED]]])
    predicted = torch.tensor([[[0, 1, 0, 1, 1, 0, 2]]])
    logits = 1e3 * torch.nn.functional.one_hot(predicted, CLASSES).permute(0, 3, 1, 2).double()
    ious = [2 / 4, 2 / 3, 0 / 1]
    assert LovaszLoss()(logits, target).item() == pytest.approx(1 - sum(ious) / 3)
    weighted = LovaszLoss(class_weight=[3.0, 0.0, 0.0])(logits, target)
    assert weighted.item() == pytest.approx(1 - ious[0])


@settings(max_examples=30, deadline=None)
@cases
def test_focal(seed: int, ignored: float) -> None:
    logits, target = example(seed, ignored)
    alpha, weights, total = [0.5, 0.25, 0.875], [1.0, 2.0, 0.5], 0.0
    for image in zip(logits, target, strict=True):
        for scores, label in pixels(*image):
            for k in range(CLASSES if label != IGNORED else 0):
                right = sigmoid(scores[k]) if label == k else 1 - sigmoid(scores[k])
                factor = alpha[k] if label == k else 1 - alpha[k]
                total -= weights[k] * factor * (1 - right) ** 2.5 * math.log(right)
    loss = FocalLoss(gamma=2.5, alpha=alpha, class_weight=weights)
    assert loss(logits, target).item() == pytest.approx(total / logits.numel(), abs=1e-12)
    half = 0.5 * torch.ones_like(target, dtype=logits.dtype)
    torch.testing.assert_close(loss(logits, target, weight=half), 0.5 * loss(logits, target))


@pytest.mark.parametrize(
    "loss", [DiceLoss(), FocalLoss(), LovaszLoss(), TverskyLoss()], ids=lambda loss: type(loss).__name__
)
def test_gradients_are_finite_even_without_labels(loss: torch.nn.Module) -> None:
    for ignored in (0.3, 1.0):
        logits, target = example(5, ignored)
        half = (50 * logits).half().requires_grad_()
        value = loss(half, target)
        value.backward()
        assert value.dtype == torch.float32
        assert half.grad is not None
        assert half.grad.isfinite().all()


def test_what_does_not_fit_is_refused() -> None:
    logits, target = example(0, 0.0)
    with pytest.raises(ValueError, match="use_sigmoid"):
        FocalLoss(use_sigmoid=False)
    with pytest.raises(ValueError, match="per_image"):
        LovaszLoss(per_image=True, reduction="none")
    with pytest.raises(ValueError, match="does not fit 3 logits"):
        LovaszLoss(loss_type="binary")(logits, target)
    with pytest.raises(ValueError, match="2 entries for 3 logits"):
        LovaszLoss(class_weight=[1.0, 2.0])(logits, target)
    with pytest.raises(ValueError, match="one logit per class"):
        TverskyLoss()(logits[:, :1], target)
