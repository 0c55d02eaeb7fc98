"""The Hausdorff distance loss against its formula, with distances found by trying all pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor

from intarsia import catalog
from intarsia.losses.hausdorff import HausdorffDistanceLoss, distances_inside


def distance(mask: Tensor, y: int, x: int) -> float:
    """From a pixel of a mask (H, W) to the nearest outside; the image's border only counts for a mask without one."""
    if not mask[y, x]:
        return 0.0
    height, width = mask.shape
    outside = (~mask).nonzero().tolist() or [
        (i, j) for i in range(-1, height + 1) for j in range(-1, width + 1) if i in (-1, height) or j in (-1, width)
    ]
    return min(math.hypot(y - i, x - j) for i, j in outside)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_distances(seed: int, share: float) -> None:
    masks = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(seed)) < share
    found = distances_inside(masks)
    expected = [[[distance(mask, y, x) for x in range(7)] for y in range(5)] for mask in masks]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=1e-6, atol=0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ignored=st.sampled_from([0.0, 0.3, 1.0]))
@pytest.mark.parametrize("weights", [None, (1.0, 0.25, 3.0)])
def test_the_formula(weights: tuple[float, ...] | None, seed: int, ignored: float) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=random, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 4, 5), generator=random)
    target[torch.rand(2, 4, 5, generator=random) < ignored] = 255
    truth = target.where(target != 255, 1)  # no mask ends at an ignored pixel
    predicted = logits.argmax(dim=1).where(target != 255, 1)
    total = 0.0
    for n, y, x in np.ndindex(*target.shape):
        if target[n, y, x] == 255:
            continue
        squares = distance(predicted[n] > 0, y, x) ** 2 + distance(truth[n] > 0, y, x) ** 2
        for k in (1, 2):
            error = logits[n, :, y, x].softmax(dim=0)[k].item() - truth[n, y, x].item()
            total += (1.0 if weights is None else weights[k]) * error**2 * squares
    loss = HausdorffDistanceLoss(class_weight=weights)(logits, target)
    assert loss.item() == pytest.approx(total / max((target != 255).sum().item(), 1) / 3, rel=1e-6)


def test_with_two_classes_a_sure_and_right_answer_costs_nothing() -> None:
    target = torch.zeros(1, 6, 6, dtype=torch.long)
    target[0, 1:5, 2:5] = 1
    logits = torch.stack([(target == 0) * 60.0, (target == 1) * 60.0], dim=1)
    assert HausdorffDistanceLoss()(logits, target).item() == pytest.approx(0, abs=1e-9)


def test_what_lies_deep_inside_costs_more() -> None:
    target = torch.zeros(1, 9, 9, dtype=torch.long)
    target[0, 1:8, 1:8] = 1
    logits = torch.zeros(1, 2, 9, 9, requires_grad=True)
    HausdorffDistanceLoss()(logits, target).backward()
    assert logits.grad is not None
    slopes = logits.grad[0, 1].abs()
    assert slopes[4, 4] > slopes[3, 3] > slopes[2, 2] > slopes[1, 1] > slopes[0, 0] == 0


def test_a_class_with_the_ignored_index_is_left_out() -> None:
    logits, target = torch.randn(1, 3, 4, 4), torch.randint(0, 2, (1, 4, 4))
    whole = HausdorffDistanceLoss()(logits, target)
    first = HausdorffDistanceLoss(class_weight=(1.0, 1.0, 0.0))(logits, target)
    assert whole.item() > first.item()
    assert HausdorffDistanceLoss(ignore_index=2)(logits, target).item() == pytest.approx(first.item())


def test_it_refuses_what_has_no_background_and_other_weights() -> None:
    with pytest.raises(ValueError, match="one logit per class"):
        HausdorffDistanceLoss()(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="2 entries for 3 logits"):
        HausdorffDistanceLoss(class_weight=[1.0, 1.0])(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))


def test_the_original_s_spelling_is_the_same_loss() -> None:
    assert catalog.resolve("loss", "mmseg.HuasdorffDisstanceLoss") is HausdorffDistanceLoss


def test_on_an_accelerator_it_is_the_same() -> None:
    logits, target = torch.randn(2, 3, 6, 7, requires_grad=True), torch.randint(0, 3, (2, 6, 7))
    target[0, :2] = 255
    expected = HausdorffDistanceLoss()(logits, target)
    [slopes] = torch.autograd.grad(expected, logits)
    with simulated_gpu():
        there = logits.detach().to(DEVICE).requires_grad_()
        loss = HausdorffDistanceLoss().to(DEVICE)(there, target.to(DEVICE))
        loss.backward()
        assert loss.device == DEVICE
        assert there.grad is not None
        torch.testing.assert_close(loss.cpu(), expected)
        torch.testing.assert_close(there.grad.cpu(), slopes)
