"""BiSeNet: a shallow path for where things are beside a deep one for what they are.

Paper: Yu et al., BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, arXiv:1808.00897.
Original code: https://github.com/ycszen/TorchSeg

Deviations, shared with OpenMMLab's published weights: the spatial path opens with a 7 x 7 convolution and closes with a
1 x 1, four layers where the paper has three; the context path refines its two coarse levels one after the other, each
enlarged by its nearest neighbours and smoothed by a convolution; the fusion's attention is one 1 x 1 convolution.

Published scores, single scale (flipped and multi-scale), mIoU, all on a backbone trained on ImageNet first:
    Cityscapes 1024x1024, 160k steps, batch 16    R-18 74.37 (76.91)    R-50 77.68 (79.57)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Backbone, FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.attention_refinement import AttentionRefinement
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import BN, Norm

CONTEXT_STRIDES = (8, 16, 32)


class SpatialPath(nn.Module):
    """Three strided convolutions and a 1 x 1: few layers, many channels, an eighth of the resolution."""

    def __init__(
        self, in_channels: int, channels: tuple[int, int, int, int], *, norm: Norm, activation: Activation
    ) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.layer1 = ConvNormAct(in_channels, c1, 7, stride=2, padding=3, norm=norm, activation=activation)
        self.layer2 = ConvNormAct(c1, c2, 3, stride=2, padding=1, norm=norm, activation=activation)
        self.layer3 = ConvNormAct(c2, c3, 3, stride=2, padding=1, norm=norm, activation=activation)
        self.layer4 = ConvNormAct(c3, c4, 1, norm=norm, activation=activation)

    def forward(self, images: Tensor) -> Tensor:
        """(N, bands, H, W) -> (N, C, H / 8, W / 8)."""
        out: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return out


class ContextPath(nn.Module):
    """A backbone of stride 32, its two coarsest levels refined and brought up, with the mean of the last on top."""

    def __init__(
        self, backbone: nn.Module, channels: tuple[int, int, int], *, norm: Norm, activation: Activation
    ) -> None:
        super().__init__()
        width, c16, c32 = channels
        self.backbone = backbone
        self.arm16 = AttentionRefinement(c16, width, norm=norm, activation=activation)
        self.arm32 = AttentionRefinement(c32, width, norm=norm, activation=activation)
        self.conv_head32 = ConvNormAct(width, width, 3, padding=1, norm=norm, activation=activation)
        self.conv_head16 = ConvNormAct(width, width, 3, padding=1, norm=norm, activation=activation)
        self.gap_conv = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvNormAct(c32, width, 1, norm=norm, activation=activation)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, bands, H, W) -> context (N, width, H / 8, W / 8) and (N, width, H / 16, W / 16)."""
        *_, x8, x16, x32 = self.backbone(images)
        context = self.arm32(x32) + self.gap_conv(x32)  # (N, width, H / 32, W / 32)
        context16 = self.conv_head32(F.interpolate(context, size=x16.shape[2:]))  # (N, width, H / 16, W / 16)
        context = self.arm16(x16) + context16
        context8 = self.conv_head16(F.interpolate(context, size=x8.shape[2:]))  # (N, width, H / 8, W / 8)
        return context8, context16


class FeatureFusion(nn.Module):
    """Both paths side by side, mixed, and their channels weighed by what the whole map looks like (figure 2c)."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, out_channels, 1, norm=norm, activation=activation)
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.conv_atten = nn.Sequential(
            ConvNormAct(out_channels, out_channels, 1, norm=norm, activation=activation), nn.Sigmoid()
        )

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Two maps (N, C, h, w) and (N, C', h, w) -> (N, out_channels, h, w)."""
        x = self.conv1(torch.cat([spatial, context], dim=1))  # (N, out_channels, h, w)
        out: Tensor = x + x * self.conv_atten(self.gap(x))
        return out


class BiSeNetV1(nn.Module):
    """Both paths and their fusion. The three levels are the fusion (stride 8) and the context at strides 8 and 16.

    Args:
        backbone: the backbone of the context path; its last three levels have strides 8, 16 and 32.
        in_channels: bands of the image.
        spatial_channels: of the four layers of the spatial path.
        context_channels: of the backbone's levels at strides 8, 16 and 32; the context has the first of them.
        out_channels: of the fusion; the last of the spatial path and the context together.
        out_indices: which of the three levels are returned.
        norm: behind every convolution.
        activation: of every convolution that has one.
        checkpoint_activations: recompute the spatial path and the fusion in the backward pass instead of keeping their
            activations; the backbone has an argument of its own.

    Raises ValueError if channels or strides contradict each other.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        in_channels: int = 3,
        spatial_channels: tuple[int, int, int, int] = (64, 64, 64, 128),
        context_channels: tuple[int, int, int] = (128, 256, 512),
        out_channels: int = 256,
        out_indices: Sequence[int] = (0, 1, 2),
        norm: Norm = BN,
        activation: Activation = RELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check_context(backbone, context_channels)
        width = context_channels[0]
        if not out_indices or any(level not in (0, 1, 2) for level in out_indices):
            raise ValueError(f"out_indices must name levels 0, 1, 2 of BiSeNetV1; got {tuple(out_indices)}")
        self.out_indices = tuple(out_indices)
        self.checkpoint_activations = checkpoint_activations
        self.context_path = ContextPath(cast("nn.Module", backbone), context_channels, norm=norm, activation=activation)
        self.spatial_path = SpatialPath(in_channels, spatial_channels, norm=norm, activation=activation)
        self.ffm = FeatureFusion(spatial_channels[-1] + width, out_channels, norm=norm, activation=activation)
        levels = (FeatureSpec(out_channels, 8), FeatureSpec(width, 8), FeatureSpec(width, 16))
        self.features = tuple(levels[level] for level in self.out_indices)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        context8, context16 = self.context_path(images)
        spatial = run_block(self.spatial_path, images, checkpoint=self.checkpoint_activations)
        fused = run_block(self.ffm, spatial, context8, checkpoint=self.checkpoint_activations)
        levels = (fused, context8, context16)
        return tuple(levels[level] for level in self.out_indices)


def _check_context(backbone: Backbone, context_channels: Sequence[int]) -> None:
    expected = tuple(map(FeatureSpec, context_channels, CONTEXT_STRIDES))
    found = tuple(backbone.features)[-len(expected) :]
    if found != expected:
        raise ValueError(
            f"the context path of BiSeNetV1 expects {_table(expected)} (context_channels) as the last levels of its "
            f"backbone, but {type(backbone).__name__} gives {_table(found)}"
        )


def _table(levels: Sequence[FeatureSpec]) -> str:
    return ", ".join(f"{level.channels} channels at stride {level.stride}" for level in levels)
