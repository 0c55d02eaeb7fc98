"""BiSeNetV2: a shallow wide branch for detail beside a deep narrow one for meaning, each guiding the other.

Paper: Yu et al., BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation,
    arXiv:2004.02147.
Original code: none published; https://github.com/CoinCheung/BiSeNet is what others started from.

Deviations, shared with OpenMMLab's published weights: none in the computation. Training has four auxiliary FCN heads on
the stages of the semantic branch, the paper's booster.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 1024x1024, 160k steps    batch 16 73.21 (75.74), with OHEM 73.57 (75.80)    batch 32 75.76 (77.79)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import ConvNormAct, DepthwiseSeparableConv
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN, Norm

DETAIL_LAYERS = (2, 3, 3)
SEMANTIC_LAYERS = (2, 2, 4)
"""Gather-and-expansion layers of the stages behind the stem."""


class DetailBranch(nn.Module):
    """Stages of plain 3 x 3 convolutions, each halving the map once (table 1, left)."""

    def __init__(self, in_channels: int, channels: tuple[int, int, int], *, norm: Norm, activation: Activation) -> None:
        super().__init__()

        def conv(before: int, width: int, stride: int) -> ConvNormAct:
            return ConvNormAct(before, width, 3, stride=stride, padding=1, norm=norm, activation=activation)

        self.detail_branch = nn.ModuleList(
            nn.Sequential(conv(before, width, 2), *(conv(width, width, 1) for _ in range(layers - 1)))
            for before, width, layers in zip((in_channels, *channels), channels, DETAIL_LAYERS, strict=False)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, bands, H, W) -> (N, C, H / 8, W / 8)."""
        x = images
        for stage in self.detail_branch:
            x = stage(x)
        return x


class Stem(nn.Module):
    """A strided convolution, then a bottleneck and a pooling side by side (figure 4a)."""

    def __init__(self, in_channels: int, channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv_first = ConvNormAct(in_channels, channels, 3, stride=2, padding=1, norm=norm, activation=activation)
        self.convs = nn.Sequential(
            ConvNormAct(channels, channels // 2, 1, norm=norm, activation=activation),
            ConvNormAct(channels // 2, channels, 3, stride=2, padding=1, norm=norm, activation=activation),
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse_last = ConvNormAct(2 * channels, channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, images: Tensor) -> Tensor:
        """(N, bands, H, W) -> (N, C, H / 4, W / 4)."""
        x = self.conv_first(images)  # (N, C, H / 2, W / 2)
        out: Tensor = self.fuse_last(torch.cat([self.convs(x), self.pool(x)], dim=1))
        return out


class GatherExpand(nn.Module):
    """Gathers with a 3 x 3 convolution, expands within each channel, projects back (figure 5b; 5c where it strides)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, expand_ratio: int, norm: Norm, activation: Activation
    ) -> None:
        super().__init__()
        hidden = in_channels * expand_ratio

        def depthwise(channels: int, *, stride: int, activation: Activation | None) -> ConvNormAct:
            return ConvNormAct(
                channels, hidden, 3, stride=stride, padding=1, groups=channels, norm=norm, activation=activation
            )

        self.conv1 = ConvNormAct(in_channels, in_channels, 3, padding=1, norm=norm, activation=activation)
        if stride == 1:
            self.dwconv = nn.Sequential(depthwise(in_channels, stride=1, activation=activation))
            self.shortcut = None
        else:
            self.dwconv = nn.Sequential(
                depthwise(in_channels, stride=stride, activation=None),
                depthwise(hidden, stride=1, activation=activation),
            )
            self.shortcut = nn.Sequential(
                DepthwiseSeparableConv(
                    in_channels, out_channels, 3, stride=stride, padding=1, norm=norm, activation=None,
                    depthwise_activation=None,
                )
            )  # fmt: skip
        self.conv2 = nn.Sequential(ConvNormAct(hidden, out_channels, 1, norm=norm, activation=None))
        self.activate = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = self.conv2(self.dwconv(self.conv1(x)))  # (N, out_channels, h / stride, w / stride)
        out: Tensor = self.activate(x + shortcut)
        return out


class ContextEmbedding(nn.Module):
    """Adds what the whole image looks like to every pixel (figure 4b)."""

    def __init__(self, channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), norm(channels))
        self.conv_gap = ConvNormAct(channels, channels, 1, norm=norm, activation=activation)
        self.conv_last = ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        context = self.conv_gap(self.gap(x))  # (N, C, 1, 1)
        out: Tensor = self.conv_last(x + context)
        return out


class SemanticBranch(nn.Module):
    """Stem, three stages of gather-and-expansion layers, context embedding (table 1, right)."""

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, int, int, int],
        *,
        expand_ratio: int,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()

        def layer(before: int, width: int, stride: int) -> GatherExpand:
            return GatherExpand(
                before, width, stride=stride, expand_ratio=expand_ratio, norm=norm, activation=activation
            )

        def stage(before: int, width: int, layers: int) -> nn.Sequential:
            return nn.Sequential(layer(before, width, 2), *(layer(width, width, 1) for _ in range(layers - 1)))

        c1, c2, c3, c4 = channels
        self.stage1 = Stem(in_channels, c1, norm=norm, activation=activation)
        self.stage2 = stage(c1, c2, SEMANTIC_LAYERS[0])
        self.stage3 = stage(c2, c3, SEMANTIC_LAYERS[1])
        self.stage4 = stage(c3, c4, SEMANTIC_LAYERS[2])
        self.stage4_CEBlock = ContextEmbedding(c4, norm=norm, activation=activation)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> the stages at strides 4, 8, 16, 32, and the last with its context embedded."""
        x1 = self.stage1(images)
        x2 = self.stage2(x1)
        x3 = self.stage3(x2)
        x4 = self.stage4(x3)
        return x1, x2, x3, x4, self.stage4_CEBlock(x4)


class GuidedAggregation(nn.Module):
    """Each branch gates the other, once at the size of each; the sum is fused (figure 6)."""

    def __init__(self, channels: int, *, norm: Norm, activation: Activation, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners

        def separable() -> nn.Sequential:
            return nn.Sequential(
                DepthwiseSeparableConv(
                    channels, channels, 3, padding=1, norm=norm, activation=None, depthwise_activation=None,
                    pointwise_norm=False,
                )
            )  # fmt: skip

        self.detail_dwconv = separable()
        self.detail_down = nn.Sequential(
            ConvNormAct(channels, channels, 3, stride=2, padding=1, norm=norm, activation=None),
            nn.AvgPool2d(3, stride=2, padding=1),
        )
        self.semantic_conv = nn.Sequential(ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=None))
        self.semantic_dwconv = separable()
        self.conv = ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Maps (N, C, H / 8, W / 8) and (N, C, H / 32, W / 32) -> (N, C, H / 8, W / 8)."""
        size = detail.shape[2:]
        gate = resize(self.semantic_conv(semantic), size, align_corners=self.align_corners).sigmoid()
        fine = self.detail_dwconv(detail) * gate  # (N, C, H / 8, W / 8)
        coarse = self.detail_down(detail) * self.semantic_dwconv(semantic).sigmoid()  # (N, C, H / 32, W / 32)
        out: Tensor = self.conv(fine + resize(coarse, size, align_corners=self.align_corners))
        return out


class BiSeNetV2(nn.Module):
    """Both branches and their aggregation (figure 3).

    The five levels are the aggregation (stride 8) and the semantic branch's stages at strides 4, 8, 16, 32, the last
    one as it is before its context is embedded.

    Args:
        in_channels: bands of the image.
        detail_channels: of the detail branch's three stages.
        semantic_channels: of the semantic branch's four stages.
        semantic_expansion_ratio: hidden channels of a gather-and-expansion layer per channel.
        bga_channels: of the aggregation, and so of the last stage of both branches.
        out_indices: which of the five levels are returned.
        norm: behind every convolution.
        activation: of every convolution that has one.
        align_corners: how maps are resized.
        checkpoint_activations: recompute each part in the backward pass instead of keeping its activations.

    Raises ValueError if the channel counts contradict each other.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        detail_channels: tuple[int, int, int] = (64, 64, 128),
        semantic_channels: tuple[int, int, int, int] = (16, 32, 64, 128),
        semantic_expansion_ratio: int = 6,
        bga_channels: int = 128,
        out_indices: Sequence[int] = (0, 1, 2, 3, 4),
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if not detail_channels[-1] == semantic_channels[-1] == bga_channels:
            raise ValueError(
                f"the aggregation of BiSeNetV2 takes bga_channels={bga_channels} channels from both branches; they end "
                f"in {detail_channels[-1]} (detail_channels) and {semantic_channels[-1]} (semantic_channels)"
            )
        levels = (FeatureSpec(bga_channels, 8), *map(FeatureSpec, semantic_channels, (4, 8, 16, 32)))
        if not out_indices or any(not 0 <= level < len(levels) for level in out_indices):
            raise ValueError(f"out_indices must name levels 0 to 4 of BiSeNetV2; got {tuple(out_indices)}")
        self.out_indices = tuple(out_indices)
        self.features = tuple(levels[level] for level in self.out_indices)
        self.checkpoint_activations = checkpoint_activations
        self.detail = DetailBranch(in_channels, detail_channels, norm=norm, activation=activation)
        self.semantic = SemanticBranch(
            in_channels, semantic_channels, expand_ratio=semantic_expansion_ratio, norm=norm, activation=activation
        )
        self.bga = GuidedAggregation(bga_channels, norm=norm, activation=activation, align_corners=align_corners)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        checkpoint = self.checkpoint_activations
        detail = run_block(self.detail, images, checkpoint=checkpoint)
        *stages, context = run_block(self.semantic, images, checkpoint=checkpoint)
        levels = (run_block(self.bga, detail, context, checkpoint=checkpoint), *stages)
        return tuple(levels[level] for level in self.out_indices)
