"""Models of other libraries with random weights, to be compared with ours."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def randomised(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """The model in float64 and evaluation mode, no parameter or statistic of it at a value that hides a mistake."""
    draw = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=draw, dtype=torch.float64)

    model.double().eval().requires_grad_(False)
    for name, value in model.state_dict(keep_vars=True).items():
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=draw, dtype=torch.float64))
        elif value.is_floating_point() and value.ndim > 1:
            value.copy_(normal(value) * math.sqrt(2 / value[0].numel()))
        elif value.is_floating_point():
            value.copy_((1.0 if name.endswith("weight") else 0.0) + 0.2 * normal(value))
    return model


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-5 of the largest value, and no trivial equality."""
    assert ours.shape == theirs.shape
    largest = theirs.abs().max()
    assert theirs.std() > 1e-3 * largest > 0, "all values are the same, so they prove nothing"
    difference = ((ours - theirs).abs().max() / largest).item()
    print(f"largest relative difference {difference:.1e}")
    assert difference < 1e-5
