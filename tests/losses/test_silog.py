"""The scale-invariant logarithmic loss of depths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.losses.silog import SiLogLoss


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), unknown=st.sampled_from([0.0, 0.4, 1.0]))
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_the_formula(eps: float, reduction: str, seed: int, unknown: float) -> None:
    random = torch.Generator().manual_seed(seed)
    found, truth = torch.randn(2, 3, 1, 4, 5, generator=random, dtype=torch.float64).exp()
    truth[torch.rand(truth.shape, generator=random) < unknown] = 0
    losses = []
    for a, b in zip(found.numpy(), truth.numpy(), strict=True):
        errors = [math.log(y) - math.log(max(x, eps)) for x, y in zip(a.flat, b.flat, strict=True) if y > eps]
        squares, common = (np.mean(np.square(errors)), np.mean(errors)) if errors else (0.0, 0.0)
        losses.append(math.sqrt(squares - 0.5 * common**2))
    expected = sum(losses) if reduction == "sum" else np.mean(losses)
    loss = SiLogLoss(eps=eps, reduction=reduction)  # type: ignore[arg-type]
    assert loss(found, truth).item() == pytest.approx(expected, rel=1e-9)
    assert loss(found, truth[:, 0]).item() == loss(found, truth).item()


@pytest.mark.parametrize("truth", [0.0, -1.0, math.nan, math.inf, 2.0])
def test_nothing_known_or_all_right_costs_nothing_and_has_a_finite_gradient(truth: float) -> None:
    depth = torch.full((2, 1, 3, 3), 2.0, requires_grad=True)
    loss = SiLogLoss()(depth, torch.full((2, 3, 3), truth))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    assert depth.grad is not None
    assert not depth.grad.any()


def test_a_pixel_of_unknown_depth_adds_nothing() -> None:
    depth, truth = torch.rand(1, 1, 4, 4) + 0.1, torch.rand(1, 4, 4) + 0.1
    truth[0, 1, 1] = 0
    before = SiLogLoss()(depth, truth)
    depth[0, 0, 1, 1] = 77.0
    depth.requires_grad_()
    after = SiLogLoss()(depth, truth)
    after.backward()
    assert after.item() == before.item()
    assert depth.grad is not None
    assert depth.grad[0, 0, 1, 1] == 0
    assert depth.grad.count_nonzero() == 15


def test_half_of_a_common_factor_is_forgiven() -> None:
    truth = torch.rand(1, 6, 6, dtype=torch.float64) + 0.5
    assert SiLogLoss()(3 * truth[:, None], truth).item() == pytest.approx(math.log(3) * math.sqrt(0.5))


def test_no_depth_at_all_is_finite_and_a_broken_one_is_seen() -> None:
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    SiLogLoss()(zero, torch.ones(1, 2, 2)).backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
    assert SiLogLoss()(torch.full((1, 1, 2, 2), math.nan), torch.ones(1, 2, 2)).isnan()


def test_half_precision_is_lifted_and_other_shapes_are_refused() -> None:
    half = (torch.rand(1, 1, 4, 4) + 0.1).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert SiLogLoss()(half, torch.ones(1, 4, 4)).dtype == torch.float32
    for found, truth in ((torch.ones(1, 2, 4, 4), torch.ones(1, 4, 4)), (torch.ones(1, 1, 4, 4), torch.ones(1, 4, 5))):
        with pytest.raises(ValueError, match="true ones of the same size"):
            SiLogLoss()(found, truth)
