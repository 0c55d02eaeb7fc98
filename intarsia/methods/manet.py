"""MA-Net: a U-Net whose coarsest level attends to itself, and whose levels are weighed before they are put together.

Paper: Fan et al., MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation, IEEE Access 8, 2020,
    doi:10.1109/ACCESS.2020.3025372, figures 2 (position-wise attention) and 3 (multi-scale fusion attention).
The form is that of segmentation_models.pytorch (Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch,
MIT), over the levels of any backbone: with the same weights the logits are the same.

Two things are of its code and not of the paper, and published weights need them: the attention of positions is one
softmax over all pairs of an image, and its sum (N, h w, C) is read as (N, C, h, w) without being turned.

Shape letters: N images, C channels, K classes, h, w height and width of a map, H, W those of the finest level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.layers import precision
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.decoder_block import (
    REDUCTION,
    DecoderBlock,
    Interpolation,
    block_widths,
    checked_interpolation,
    enlarged,
    start_decoder,
    wide_classifier,
)
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import BN, Norm


class PositionAttention(nn.Module):
    """Every position adds what all positions have, by how alike they are (figure 2)."""

    def __init__(self, channels: int, attention_channels: int) -> None:
        super().__init__()
        self.top_conv = nn.Conv2d(channels, attention_channels, 1)
        self.center_conv = nn.Conv2d(channels, attention_channels, 1)
        self.bottom_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.out_conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        queries, keys = self.center_conv(x).flatten(2), self.top_conv(x).flatten(2)  # (N, A, h w)
        alike = precision.sums_over_channels(queries, keys)  # (N, h w, h w)
        weights = alike.flatten(1).softmax(dim=1).view_as(alike)
        added = precision.sums_over_pixels(weights, self.bottom_conv(x).flatten(2))  # (N, h w, C)
        out: Tensor = self.out_conv(x + added.type_as(x).reshape(x.shape))
        return out


class FusionBlock(nn.Module):
    """Level and map from below, the latter weighed by gates of both, and two convolutions (figure 3)."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        norm: Norm | None,
        activation: Activation,
        interpolation: Interpolation,
    ) -> None:
        super().__init__()
        self.interpolation = interpolation
        self.hl_conv = nn.Sequential(
            ConvNormAct(in_channels, in_channels, 3, padding=1, norm=norm, activation=activation),
            ConvNormAct(in_channels, skip_channels, 1, norm=norm, activation=activation),
        )
        self.se_ll = _gate(skip_channels)
        self.se_hl = _gate(skip_channels)
        self.conv1 = ConvNormAct(2 * skip_channels, out_channels, 3, padding=1, norm=norm, activation=activation)
        self.conv2 = ConvNormAct(out_channels, out_channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """The coarse map (N, C, h, w), and the level (N, C', H, W) -> (N, C'', H, W)."""
        x = enlarged(self.hl_conv(x), skip, self.interpolation)  # (N, C', H, W)
        x = x * (self.se_hl(x) + self.se_ll(skip))
        out: Tensor = self.conv2(self.conv1(torch.cat([x, skip], dim=1)))
        return out


def _gate(channels: int) -> nn.Sequential:
    """(N, C, h, w) -> how much of each channel is wanted (N, C, 1, 1)."""
    hidden = max(channels // REDUCTION, 1)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True),
        nn.Conv2d(hidden, channels, 1), nn.Sigmoid(),
    )  # fmt: skip


class MANetHead(nn.Module):
    """From the coarsest level, which attends to itself, to the finest, and on to the size of the image.

    Args:
        in_channels: channels of each level, the finest first.
        num_classes: number of logits.
        in_index: the levels read, the finest first.
        decoder_channels: channels of each block, the coarsest first. As many as levels, where the finest has stride 2;
            one more, where it has stride 4; and so the output has the size of the image.
        attention_channels: in which positions of the coarsest level are compared.
        interpolation: how maps are enlarged.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution but those of the attention.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for levels that do not pair up, too few blocks, or an interpolation that is none.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3, 4),
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        attention_channels: int = 64,
        interpolation: Interpolation = "nearest",
        dropout_ratio: float = 0.0,
        norm: Norm | None = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("MANetHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        checked_interpolation("MANetHead", interpolation)
        widths = block_widths("MANetHead", self.in_channels, decoder_channels)
        self.center = PositionAttention(self.in_channels[-1], attention_channels)
        self.blocks = nn.ModuleList(
            (FusionBlock if width[1] else DecoderBlock)(
                *width, norm=norm, activation=activation, interpolation=interpolation
            )
            for width in widths
        )
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(decoder_channels[-1], num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, f H, f W), twice as large for each block that has no level beside it."""
        coarsest, *skips = [features[i] for i in reversed(self.in_index)]
        x = self.center(coarsest)
        for i, block in enumerate(self.blocks):
            x = block(x, *skips[i : i + 1])
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits
