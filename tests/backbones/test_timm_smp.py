"""Networks of timm as the encoders of segmentation_models.pytorch, and levels with tokens. That levels are those of
that library: `tests/weights/test_maps_smp_encoders.py`, where it is installed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intarsia import catalog
from intarsia.contracts import TokenLevel

timm = pytest.importorskip("timm", reason="timm is not installed")


def trunk(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return catalog.resolve("backbone", "TIMM")(name, **arguments)


def images(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("efficientnet_b0", [32, 24, 40, 112, 320]),
        ("tf_efficientnet_b0", [32, 24, 40, 112, 320]),
        ("mobilenetv2_100", [16, 24, 32, 96, 1280]),
        ("densenet121", [64, 256, 512, 1024, 1024]),
        ("resnet18", [64, 64, 128, 256, 512]),
    ],
)
def test_levels_and_gradients(name: str, channels: list[int]) -> None:
    """Every parameter that is left is used, whichever level is the last."""
    for last in (5, 4):
        backbone = trunk(name, smp_encoder=True, out_indices=range(last)).train()
        assert [(level.channels, level.stride) for level in backbone.features] == [
            (width, 2 ** (i + 1)) for i, width in enumerate(channels[:last])
        ]
        levels = backbone(images(64, 96))
        for level, feature in zip(levels, backbone.features, strict=True):
            assert level.shape == (2, feature.channels, 64 // feature.stride, 96 // feature.stride)
        sum(level.square().mean() for level in levels).backward()
        assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_b0", "mobilenetv2_100", "legacy_seresnet18"])
@pytest.mark.parametrize("stride", [8, 16])
def test_every_convolution_of_a_stage_is_dilated(name: str, stride: int) -> None:
    plain, dilated = trunk(name, smp_encoder=True), trunk(name, smp_encoder=True, output_stride=stride)
    assert [level.stride for level in dilated.features] == [min(level.stride, stride) for level in plain.features]
    assert dilated(images(64, 96))[-1].shape[2:] == (64 // stride, 96 // stride)
    rates = {conv.dilation[0] for conv in dilated.modules() if isinstance(conv, nn.Conv2d)}
    assert rates == ({1, 2, 4} if stride == 8 else {1, 2})
    assert set(plain.state_dict()) == set(dilated.state_dict())


def test_borders_are_those_of_the_size_that_it_was_made_for() -> None:
    """Behind images of 240 pixels, the third stage but one has maps of 15."""
    backbone = trunk("tf_efficientnet_b1", smp_encoder=True)
    (network,) = backbone.network
    alike = [
        type(block.conv_dw) is nn.Conv2d for stage in network.blocks for block in stage if block.conv_dw.stride[0] == 2
    ]
    assert alike == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("test_convnext", {}, "smp_encoder is for networks that segmentation_models.pytorch has of its own"),
        ("densenet121", {"output_stride": 16}, "densenet121 cannot be given output_stride=16 as segmentation_models"),
        ("resnet18", {"output_stride": 4}, "resnet18 cannot be given output_stride=4"),
    ],
)
def test_what_is_no_such_encoder(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trunk(name, smp_encoder=True, **arguments)


# --- Tokens -------------------------------------------------------------------------------------------------------


def test_levels_with_tokens() -> None:
    """The class token, or the mean of it and the registers; the maps are those without tokens."""
    several = {"options": {"reg_tokens": 2}}
    alone, first, mean = (
        trunk("test_vit", **several, **more).eval() for more in ({}, {"tokens": "class"}, {"tokens": "mean"})
    )
    (network,) = first.network
    assert network.num_prefix_tokens == 3
    assert [level.tokens for level in first.features] == [True] * 4
    pictures = images(60, 90)
    with torch.no_grad():
        maps, classes, means = alone(pictures), first(pictures), mean(pictures)
        padded = torch.nn.functional.pad(pictures, (0, 6, 0, 4))
        tokens = network.forward_intermediates(
            padded, indices=list(first.out_indices), return_prefix_tokens=True, intermediates_only=True
        )
    for level, one, all_, (_, prefix) in zip(maps, classes, means, tokens, strict=True):
        assert isinstance(one, TokenLevel)
        torch.testing.assert_close(one.map, level)
        torch.testing.assert_close(one.token, prefix[:, 0])
        torch.testing.assert_close(all_.token, prefix.mean(dim=1))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("test_vit", {"options": {"class_token": False, "global_pool": "avg"}}, "test_vit has no tokens in front of"),
        ("test_convnext", {}, "test_convnext has no tokens in front of its patches"),
        ("test_vit", {"tokens": "all"}, "tokens must be 'class' or 'mean'; got 'all'"),
        ("test_vit", {"open_blocks": 1}, "open_blocks gives a level with tokens of its own"),
    ],
)
def test_networks_without_tokens(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trunk(name, **{"tokens": "class", **arguments})
