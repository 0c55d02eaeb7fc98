"""The boundary loss: both answers weigh the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intarsia.losses.boundary import BoundaryLoss


def test_both_answers_of_the_boundary_loss_weigh_the_same() -> None:
    logits = torch.randn(2, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 5, 6) < 0.2).long()
    target[0, 0, 0], target[0, 0, 1:3], target[1, 4] = 1, 0, 255
    edges, others = (target == 1).sum().item(), (target == 0).sum().item()
    total = 0.0
    for x, wanted in zip(logits.detach().flatten().tolist(), target.flatten().tolist(), strict=True):
        probability = 1 / (1 + np.exp(-x))
        if wanted == 1:
            total -= others / (edges + others) * np.log(probability)
        elif wanted == 0:
            total -= edges / (edges + others) * np.log(1 - probability)
    loss = BoundaryLoss()(logits, target)
    assert loss.item() == pytest.approx(total / target.numel(), rel=1e-12)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[1, 0, 4].any()


@pytest.mark.parametrize("value", [0, 1, 255])
def test_the_boundary_loss_of_one_answer_is_zero(value: int) -> None:
    logits = torch.randn(1, 1, 3, 3, requires_grad=True)
    loss = BoundaryLoss()(logits, torch.full((1, 3, 3), value))
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_boundary_loss_refuses_what_is_no_edge() -> None:
    with pytest.raises(ValueError, match="a single logit; got 2"):
        BoundaryLoss()(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="have the value 3"):
        BoundaryLoss()(torch.zeros(1, 1, 2, 2), torch.full((1, 2, 2), 3))
    half = BoundaryLoss()(torch.randn(1, 1, 8, 8, dtype=torch.float16), torch.eye(8).long()[None])
    assert half.dtype == torch.float32
