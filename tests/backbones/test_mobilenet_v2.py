"""MobileNetV2 beyond what the reference figures cover: sizes of the literature, freezing, dilation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from intarsia.backbones.mobilenet_v2 import MobileNetV2
from intarsia.contracts import FeatureSpec


def test_parameter_count_of_the_literature() -> None:
    """torchvision's mobilenet_v2, less the last convolution with its norm, and the classifier."""
    with torch.device("meta"):
        total = sum(parameter.numel() for parameter in MobileNetV2().parameters())
    assert total == 3_504_872 - (320 * 1280 + 2 * 1280) - 1281 * 1000


def test_features_are_told() -> None:
    strides, dilations = (1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)
    network = MobileNetV2(strides=strides, dilations=dilations, out_indices=(0, 1, 2, 4, 6))
    assert network.features == tuple(map(FeatureSpec, (16, 24, 32, 96, 320), (2, 4, 8, 8, 8)))
    assert [feature.stride for feature in MobileNetV2().features] == [4, 8, 16, 32]
    assert [feature.channels for feature in MobileNetV2(widen_factor=0.5).features] == [16, 16, 48, 160]


def test_only_the_first_block_of_a_stage_is_dilated() -> None:
    network = MobileNetV2(dilations=(1, 1, 1, 2, 1, 1, 1))
    assert [block.conv[1].conv.dilation[0] for block in network.layer4] == [2, 1, 1, 1]
    assert [block.conv[1].conv.stride[0] for block in network.layer4] == [2, 1, 1, 1]


def test_frozen_stages_stay_as_loaded() -> None:
    network = MobileNetV2(frozen_stages=2).train()
    for i, name in enumerate(("conv1", *network.layer_names)):
        part = getattr(network, name)
        assert part.training is (i > 2)
        assert all(parameter.requires_grad is (i > 2) for parameter in part.parameters())
    assert MobileNetV2().train().conv1.training
    still = MobileNetV2(norm_eval=True).train()
    assert not any(module.training for module in still.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": (1, 2)}, "7 stages with one stride and one dilation each"),
        ({"dilations": (1, 2)}, "7 stages with one stride and one dilation each"),
        ({"out_indices": (7,)}, "out_indices must name stages from 0 to 6"),
        ({"frozen_stages": 8}, r"between -1 \(none\) and 7; got 8"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**arguments)
