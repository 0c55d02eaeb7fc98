"""SETR: a plain transformer as the encoder, and three decoders for it.

Paper: Zheng et al., Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers,
    arXiv:2012.15840. The backbone is `backbones/vit.py`.
Original code: https://github.com/fudan-zvg/SETR

The decoders (section 3.2): naive, two convolutions and one enlargement; PUP, which enlarges by 2 after each of four
convolutions; MLA, which adds up the levels of four layers from the last to the first, and enlarges each.

Deviations, shared with OpenMMLab's published weights: naive enlarges by 4 behind a single convolution.

Published scores of ViT-L, single scale (flipped and multi-scale), mIoU:
                                          naive            PUP              MLA
    ADE20K 512x512, 160k steps            48.28 (49.56)    48.24 (49.99)    47.39 (49.37)
    Cityscapes 768x768, 80k steps         78.10 (80.22)    79.21 (81.02)    77.00 (79.59)

Shape letters: N images, C channels, K classes, h, w height and width of the grid of patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import Norm

LN = Norm("LN", eps=1e-6)


class SETRUPHead(nn.Module):
    """Naive and PUP: a norm of the tokens, `num_convs` convolutions with an enlargement behind each, the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the level read.
        num_convs: convolutions; PUP has 4.
        up_scale: how many times as large the map becomes behind each; in PUP 2.
        kernel_size: of the convolutions, 1 or 3.
        dropout_ratio: of channels, before the classifier.
        norm_layer: of the tokens.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how maps are resized here, and logits by those who consume them.

    Raises ValueError for another kernel size.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        num_convs: int = 1,
        up_scale: int = 4,
        kernel_size: int = 3,
        dropout_ratio: float = 0.1,
        norm_layer: Norm = LN,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size not in (1, 3):
            raise ValueError(f"kernel_size of SETRUPHead must be 1 or 3; got {kernel_size}")
        self.in_index = in_index
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.norm = norm_layer(in_channels)
        self.up_convs = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(
                    channels if i else in_channels,
                    channels,
                    kernel_size,
                    padding=kernel_size // 2,
                    norm=norm,
                    activation=activation,
                ),
                enlargement(up_scale, align_corners=align_corners),
            )
            for i in range(num_convs)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, up_scale ** num_convs * h, up_scale ** num_convs * w)."""
        x = over_channels(self.norm, features[self.in_index])  # (N, C, h, w)
        for up_conv in self.up_convs:
            x = up_conv(x)  # (N, channels, up_scale * h, up_scale * w)
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits


class TopDownSum(nn.Module):
    """Levels of one size, each with all later ones added to it, behind a convolution (figure 1c, left)."""

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, *, norm: Norm | None, activation: Activation | None
    ) -> None:
        super().__init__()
        self.channel_proj = nn.ModuleList(
            ConvNormAct(width, out_channels, 1, norm=norm, activation=activation) for width in in_channels
        )
        self.feat_extract = nn.ModuleList(
            ConvNormAct(out_channels, out_channels, 3, padding=1, norm=norm, activation=activation) for _ in in_channels
        )

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(N, C_i, h, w) each, first to last -> (N, out_channels, h, w) each, last to first."""
        projected = [conv(x) for conv, x in zip(self.channel_proj, levels, strict=True)]
        sums = projected[-1:]
        for x in reversed(projected[:-1]):
            sums.append(sums[-1] + x)
        return tuple(conv(x) for conv, x in zip(self.feat_extract, sums, strict=True))


class MLANeck(nn.Module):
    """The first half of MLA, as a neck: its levels are what auxiliary heads look at too.

    Args:
        in_channels: channels of each level.
        out_channels: channels of every level that comes out.
        norm_layer: of the tokens of each level.
        norm: behind each convolution.
        activation: behind each norm.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        out_channels: int,
        norm_layer: Norm = LN,
        norm: Norm | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.norm = nn.ModuleList(norm_layer(width) for width in self.in_channels)
        self.mla = TopDownSum(self.in_channels, out_channels, norm=norm, activation=activation)

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """The backbone's levels -> as many of the same stride, the sum of all being the last.

        Raises ValueError if their strides differ: they are added up as they are.
        """
        strides = [level.stride for level in features]
        if len(set(strides)) > 1:
            raise ValueError(f"MLANeck adds up levels of one stride, but the backbone's levels have strides {strides}")
        return tuple(FeatureSpec(self.out_channels, stride) for stride in strides)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's levels (N, C_i, h, w) -> as many (N, out_channels, h, w), from the last one down."""
        levels = [over_channels(norm, x) for norm, x in zip(self.norm, features, strict=True)]
        sums: tuple[Tensor, ...] = self.mla(levels)
        return sums


class SETRMLAHead(nn.Module):
    """The second half of MLA: two convolutions and an enlargement of each level, side by side, and the classifier.

    Args:
        in_channels: channels of each level.
        channels: channels that are classified, `mla_channels` for each level.
        num_classes: number of logits.
        in_index: the levels read.
        mla_channels: channels of each level's convolutions.
        up_scale: how many times as large the map becomes.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how maps are resized here, and logits by those who consume them.

    Raises ValueError if `in_index` and `in_channels` differ in length, or `channels` is no sum of `mla_channels`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        mla_channels: int = 128,
        up_scale: int = 4,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("SETRMLAHead", in_index, in_channels)
        if channels != mla_channels * len(self.in_channels):
            raise ValueError(
                f"SETRMLAHead classifies mla_channels={mla_channels} of each of {len(self.in_channels)} levels; "
                f"set channels={mla_channels * len(self.in_channels)} instead of {channels}"
            )
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.up_convs = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(width, mla_channels, 3, padding=1, norm=norm, activation=activation),
                ConvNormAct(mla_channels, mla_channels, 3, padding=1, norm=norm, activation=activation),
                enlargement(up_scale, align_corners=align_corners),
            )
            for width in self.in_channels
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps of one size -> logits (N, K, up_scale * h, up_scale * w)."""
        levels = [up_conv(features[i]) for i, up_conv in zip(self.in_index, self.up_convs, strict=True)]
        logits: Tensor = self.conv_seg(self.dropout(torch.cat(levels, dim=1)))
        return logits


def enlargement(scale: int, *, align_corners: bool) -> nn.Upsample:
    """(N, C, h, w) -> (N, C, scale * h, scale * w), bilinear."""
    return nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=align_corners)


def over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """A norm of tokens on a map (N, C, h, w), every pixel on its own."""
    out: Tensor = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return out
