"""Hard pixels, chosen in plain Python one after the other, and the loss of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.ohem import OhemCrossEntropy, OHEMPixelSampler

IGNORED = 255


def example(seed: int, ignored: float) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 3, 3, 4, generator=random, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 3, 4), generator=random)
    target[torch.rand(2, 3, 4, generator=random) < ignored] = IGNORED
    return logits, target


def slow_choice(logits: Tensor, target: Tensor, thresh: float | None, min_kept: int) -> set[tuple[int, ...]]:
    """The places of the hard pixels, worst first: all below the threshold, and enough others."""
    probability = {}
    for n, y, x in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
        if target[n, y, x] != IGNORED:
            scores = [math.exp(float(score)) for score in logits[n, :, y, x]]
            probability[n, y, x] = scores[int(target[n, y, x])] / sum(scores)
    worst_first = sorted(probability, key=lambda place: probability[place])
    if thresh is None:
        return set(worst_first[: min_kept * len(target)])
    # Of fewer labelled pixels than are to be kept, the best one is left out unless the threshold takes it.
    wanted = min(min_kept * len(target), len(worst_first) - 1)
    return {place for i, place in enumerate(worst_first) if i < wanted or probability[place] < thresh}


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    thresh=st.sampled_from([None, 0.2, 0.7, 1.0]),
    min_kept=st.integers(1, 14),
)
def test_chosen_pixels(seed: int, ignored: float, thresh: float | None, min_kept: int) -> None:
    logits, target = example(seed, ignored)
    weight = OHEMPixelSampler(thresh=thresh, min_kept=min_kept)(logits, target)
    assert weight.dtype == logits.dtype
    assert weight.shape == target.shape
    assert set(weight.unique().tolist()) <= {0.0, 1.0}
    assert {tuple(place) for place in weight.nonzero().tolist()} == slow_choice(logits, target, thresh, min_kept)


def test_the_loss_of_hard_pixels_still_divides_by_all() -> None:
    logits, target = example(3, 0.3)
    weight = OHEMPixelSampler(thresh=0.5, min_kept=1)(logits, target)
    assert 0 < weight.sum() < (target != IGNORED).sum()
    nll = -logits.log_softmax(dim=1).gather(1, target.where(target != IGNORED, 0).unsqueeze(1)).squeeze(1)
    for avg_non_ignore, pixels in ((False, target.numel()), (True, int((target != IGNORED).sum()))):
        loss = CrossEntropyLoss(avg_non_ignore=avg_non_ignore)(logits, target, weight=weight)
        assert loss.item() == pytest.approx((nll * weight).sum().item() / pixels)


@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_weights_of_one_are_no_weights(use_sigmoid: bool) -> None:
    logits, target = example(4, 0.3)
    loss = CrossEntropyLoss(use_sigmoid=use_sigmoid, class_weight=[1.0, 2.0, 0.5], label_smoothing=0.1)
    ones = torch.ones_like(target, dtype=logits.dtype)
    torch.testing.assert_close(loss(logits, target, weight=ones), loss(logits, target))
    assert loss(logits, target, weight=0 * ones).item() == 0


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="probability"):
        OHEMPixelSampler(thresh=1.5)
    with pytest.raises(ValueError, match="at least 1"):
        OHEMPixelSampler(min_kept=0)
    with pytest.raises(ValueError, match="one logit per class"):
        OHEMPixelSampler()(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))


# --- The loss of hard pixels --------------------------------------------------------------------------------------

CLASS_WEIGHT = [1.0, 2.0, 0.5]


def slow_loss(logits: Tensor, target: Tensor, thres: float, min_kept: int, class_weight: list[float]) -> float:
    """Sort all labelled pixels by the probability of their class, keep those below the threshold, take their mean."""
    pixels = []
    for n, y, x in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
        own = int(target[n, y, x])
        if own != IGNORED:
            scores = [math.exp(float(score)) for score in logits[n, :, y, x]]
            pixels.append((scores[own] / sum(scores), class_weight[own]))
    pixels.sort()
    if not pixels:
        return 0.0
    threshold = max(thres, pixels[min(min_kept, len(pixels) - 1)][0])
    hard = [-weight * math.log(probability) for probability, weight in pixels if probability < threshold]
    return sum(hard) / len(hard) if hard else 0.0


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    ignored=st.sampled_from([0.0, 0.3, 0.97, 1.0]),
    thres=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    min_kept=st.integers(1, 30),
    weighted=st.booleans(),
)
def test_loss_of_hard_pixels(seed: int, ignored: float, thres: float, min_kept: int, weighted: bool) -> None:
    logits, target = example(seed, ignored)
    weight = CLASS_WEIGHT if weighted else None
    loss = OhemCrossEntropy(thres=thres, min_kept=min_kept, class_weight=weight)(logits, target)
    assert loss.dtype == torch.float64
    expected = slow_loss(logits, target, thres, min_kept, weight or [1.0] * 3)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_only_hard_pixels_have_a_gradient_and_the_choice_has_none() -> None:
    logits, target = example(5, 0.3)
    logits.requires_grad_()
    OhemCrossEntropy(thres=0.3, min_kept=4, class_weight=CLASS_WEIGHT)(logits, target).backward()
    assert logits.grad is not None
    places = {tuple(place) for place in logits.grad.abs().sum(dim=1).nonzero().tolist()}
    # The sampler counts pixels of an image: four of the batch are two of each of its images.
    chosen = {tuple(place) for place in OHEMPixelSampler(thresh=0.3, min_kept=2)(logits, target).nonzero().tolist()}
    assert places == chosen
    assert 4 <= len(chosen) < (target != IGNORED).sum()
    for n, y, x in chosen:
        own = int(target[n, y, x])
        step = torch.zeros(3, dtype=torch.float64)
        step[own] = 1
        expected = (logits.detach()[n, :, y, x].softmax(dim=0) - step) * CLASS_WEIGHT[own] / len(chosen)
        torch.testing.assert_close(logits.grad[n, :, y, x], expected)


def test_half_precision_is_lifted() -> None:
    logits, target = example(6, 0.3)
    half = logits.to(torch.bfloat16)
    loss = OhemCrossEntropy(thres=0.9, min_kept=1)
    assert loss(half, target).dtype == torch.float32
    torch.testing.assert_close(loss(half, target), loss(half.float(), target))


@pytest.mark.parametrize(
    ("arguments", "message"), [({"thres": 1.5}, "probability"), ({"min_kept": 0}, "pixels of a batch, at least 1")]
)
def test_loss_refuses_what_cannot_work(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OhemCrossEntropy(**arguments)  # type: ignore[arg-type]


def test_loss_needs_a_logit_for_each_class() -> None:
    with pytest.raises(ValueError, match="one logit per class"):
        OhemCrossEntropy()(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="class_weight has 3 entries for 2 logits"):
        OhemCrossEntropy(class_weight=CLASS_WEIGHT)(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
