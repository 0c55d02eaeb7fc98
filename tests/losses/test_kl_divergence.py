"""The divergence of two networks' answers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.losses.kl_divergence import KLDivLoss


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), temperature=st.sampled_from([0.5, 1.0, 4.0]))
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_formula(reduction: str, seed: int, temperature: float) -> None:
    random = torch.Generator().manual_seed(seed)
    ours, others = 3 * torch.randn(2, 2, 4, 3, 5, generator=random, dtype=torch.float64)
    total = 0.0
    for n in range(2):
        for y in range(3):
            for x in range(5):
                p = (ours[n, :, y, x] / temperature).softmax(dim=0).tolist()
                q = (others[n, :, y, x] / temperature).softmax(dim=0).tolist()
                total += temperature**2 * sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True))
    count = 2 if reduction == "sum" else ours.numel()
    loss = KLDivLoss(temperature=temperature, reduction=reduction)(ours, others)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(total / count, rel=1e-9)
    assert loss >= 0


def test_the_same_answer_is_the_least_and_costs_nothing() -> None:
    logits = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    loss = KLDivLoss(temperature=2.0)(logits, logits.detach() + 7)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-15


@pytest.mark.parametrize("size", [0.0, 1e4])
def test_sure_answers_and_half_precision(size: float) -> None:
    logits = (size * torch.randn(2, 3, 4, 4)).half().requires_grad_()
    teacher = (size * torch.randn(2, 3, 4, 4)).half().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = KLDivLoss()(logits, teacher)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert teacher.grad is None


def test_it_refuses_labels_other_sizes_and_temperatures() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    for target in (torch.zeros(2, 4, 4, dtype=torch.long), torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 4).long()):
        with pytest.raises(ValueError, match="those of another network, of the same shape"):
            KLDivLoss()(logits, target)
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="more than 0"):
            KLDivLoss(temperature=temperature)
