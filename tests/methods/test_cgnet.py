"""CGNet beyond what the reference figures cover."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import Activation
from intarsia.methods.cgnet import CGNet, GlobalContext


def test_levels_carry_the_image_along() -> None:
    network = CGNet(in_channels=4)
    assert network.features == (FeatureSpec(36, 2), FeatureSpec(132, 4), FeatureSpec(256, 8))
    assert [tuple(level.shape) for level in network.eval()(torch.randn(1, 4, 33, 50))] == [
        (1, 36, 17, 25), (1, 132, 9, 13), (1, 256, 5, 7),
    ]  # fmt: skip


def test_the_image_lies_behind_what_the_network_found() -> None:
    torch.manual_seed(0)
    network, images = CGNet().eval(), torch.rand(1, 3, 32, 32)
    for parameter in network.norm_prelu_0[1].parameters():
        nn.init.ones_(parameter)
    half = nn.functional.avg_pool2d(images, 3, stride=2, padding=1)
    torch.testing.assert_close(network(images)[0][:, -3:], half / (1 + 1e-5) ** 0.5)


def test_gates_close_and_open_fully() -> None:
    torch.manual_seed(0)
    layer, x = GlobalContext(8, reduction=4), 500 * torch.randn(4, 8, 3, 3)
    found = layer(x) / x
    assert (found < 1e-3).any()
    assert (found > 1 - 1e-3).any()


def test_other_activations_have_no_slopes() -> None:
    names = CGNet(activation=Activation("ReLU"), num_blocks=(1, 1)).state_dict()
    assert [name for name in names if "activate" in name] == []
    assert names["norm_prelu_2.1.weight"].shape == (256,)


def test_statistics_can_stand_still() -> None:
    norms = [m for m in CGNet(norm_eval=True).train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize("arguments", [{"num_channels": (32, 64)}, {"num_blocks": (3,)}, {"dilations": (2, 4, 8)}])
def test_other_numbers_of_stages_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a stem and two stages"):
        CGNet(**arguments)
