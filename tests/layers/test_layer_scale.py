"""Learned factors of branches."""

from __future__ import annotations

import torch

from intarsia.layers.layer_scale import Scale, layer_scale


def test_a_factor_for_each_channel() -> None:
    factors = layer_scale(5, 1e-5)
    assert factors.requires_grad
    assert factors.tolist() == torch.full((5,), 1e-5).tolist()


def test_a_factor_for_a_branch() -> None:
    scale = Scale(0.5)
    assert {name: tuple(value.shape) for name, value in scale.state_dict().items()} == {"scale": ()}
    x = torch.randn(2, 3, 4)
    assert scale(x).equal(0.5 * x)
    scale(x).sum().backward()
    torch.testing.assert_close(scale.scale.grad, x.sum())


def test_a_branch_starts_whole_unless_said() -> None:
    assert Scale().scale.item() == 1.0
