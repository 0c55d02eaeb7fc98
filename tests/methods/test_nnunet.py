"""nnU-Net's networks against dynamic-network-architectures, on random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import PointLogits
from intarsia.methods.nnunet import NNUNetHead, PlainConvEncoder, ResidualEncoder
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.tasks.semantic import labels_at
from intarsia.weights.maps import translated

CHANNELS, KERNELS, STRIDES = (4, 6, 8, 10), ((3, 3), (1, 3), (3, 3), (3, 3)), ((1, 1), (1, 2), (2, 2), (2, 2))
"""A plan whose sides differ: they are halved twice and three times."""
COUNTS = {"plain": (2, 1, 2, 1), "residual": (1, 2, 1, 2)}
DECODER = {"plain": (2, 1, 2), "residual": (1, 1, 1)}


def ours(kind: str, bands: int = 2, classes: int = 3) -> EncoderDecoder:
    stages: dict[str, Any] = {
        "in_channels": bands, "channels": CHANNELS, "kernel_sizes": KERNELS, "strides": STRIDES
    }  # fmt: skip
    counts = COUNTS[kind]
    plain = kind == "plain"
    encoder = PlainConvEncoder(**stages, num_convs=counts) if plain else ResidualEncoder(**stages, num_blocks=counts)
    head = NNUNetHead(
        in_channels=CHANNELS, in_index=(0, 1, 2, 3), num_classes=classes, kernel_sizes=KERNELS, strides=STRIDES,
        num_convs=DECODER[kind],
    )  # fmt: skip
    return EncoderDecoder(backbone=encoder, decode_head=head)


def theirs(kind: str, bands: int = 2, classes: int = 3) -> nn.Module:
    reason = (
        "dynamic-network-architectures is not installed (it wants a timm below 1.0.23, so that it is none of the dev "
        "extra): pip install --no-deps dynamic-network-architectures einops"
    )
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason=reason)
    common: dict[str, Any] = {
        "input_channels": bands, "n_stages": 4, "features_per_stage": CHANNELS, "conv_op": nn.Conv2d,
        "kernel_sizes": KERNELS, "strides": STRIDES, "num_classes": classes, "conv_bias": True,
        "n_conv_per_stage_decoder": DECODER[kind], "norm_op": nn.InstanceNorm2d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "nonlin": nn.LeakyReLU, "nonlin_kwargs": {"inplace": True},
        "deep_supervision": True,
    }  # fmt: skip
    if kind == "plain":
        network: nn.Module = unet.PlainConvUNet(**common, n_conv_per_stage=COUNTS[kind])
    else:
        network = unet.ResidualEncoderUNet(**common, n_blocks_per_stage=COUNTS[kind])
    return network


def outputs_of(model: EncoderDecoder, images: Tensor) -> list[Tensor]:
    """Of all levels, as maps."""
    found = list(model.training_outputs(images).values())
    size, maps = images.shape[2:], []
    for output, stride in zip(found, ((1, 1), (1, 2), (2, 4)), strict=True):
        logits = output.logits if isinstance(output, PointLogits) else output
        maps.append(logits.reshape(*logits.shape[:2], size[0] // stride[0], size[1] // stride[1]))  # type: ignore[union-attr]
    return maps


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_logits_of_all_levels_and_gradients_are_theirs(kind: str) -> None:
    torch.manual_seed(0)
    their = theirs(kind).double()
    for parameter in their.parameters():
        nn.init.normal_(parameter, std=0.5)  # norms, too, which at their start would hide what they do
    model = ours(kind).double()
    model.load_state_dict(translated(their.state_dict()))
    images = torch.randn(2, 2, 16, 32, dtype=torch.float64)
    expected, found = their(images), outputs_of(model, images)
    weights = [torch.randn_like(level) for level in expected]
    assert [level.shape for level in found] == [level.shape for level in expected]
    for mine, level in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, level, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(images), expected[0], rtol=1e-9, atol=1e-9)
    for levels in (expected, found):
        torch.stack([(level * weight).sum() for level, weight in zip(levels, weights, strict=True)]).sum().backward()
    gradients = translated({name: p.grad for name, p in their.named_parameters(remove_duplicate=False)})
    assert sorted(gradients) == sorted(name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-7, atol=1e-9, msg=name)
