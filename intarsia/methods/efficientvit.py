"""EfficientViT's head for segmentation: three levels added up, a few inverted residuals, and the classifier.

Paper: Cai et al., EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction, arXiv:2205.14756.
Original code: https://github.com/mit-han-lab/efficientvit

The backbones are timm's (`efficientvit_b0` to `b3`, `l1`, `l2`), with its names of tensors; files of the authors are
read by a table (`weights/maps/efficientvit.py`).

Deviations: maps are enlarged to the size of the finest level, which differs from the authors' whole factors where an
image is no multiple of 32.

Published scores on Cityscapes 1024x2048, single scale, mIoU, with millions of parameters and G multiply-adds:
    B0 75.7 (0.7, 4.4)    B1 80.5 (4.8, 25)    B2 82.1 (15, 74)    B3 83.0 (40, 179)
    L1 82.7 (40, 282)     L2 83.2 (53, 396)

Shape letters: N images, C channels, K classes, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import BN, Norm

HARD_SWISH = Activation("HSwish")


class InvertedResidual(nn.Module):
    """A wider convolution of each channel for itself between two of one pixel, beside a shortcut.

    fused: one convolution of 3 x 3 pixels across all channels in the place of the first two.
    """

    def __init__(self, channels: int, *, expand_ratio: int, fused: bool, norm: Norm, activation: Activation) -> None:
        super().__init__()
        hidden = channels * expand_ratio
        layers: dict[str, ConvNormAct] = {}
        if fused:
            layers["spatial_conv"] = ConvNormAct(channels, hidden, 3, padding=1, norm=norm, activation=activation)
        else:
            layers["inverted_conv"] = ConvNormAct(channels, hidden, 1, norm=norm, activation=activation)
            layers["depth_conv"] = ConvNormAct(
                hidden, hidden, 3, padding=1, groups=hidden, norm=norm, activation=activation
            )
        layers["point_conv"] = ConvNormAct(hidden, channels, 1, norm=norm, activation=None)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out = x
        for layer in self.children():
            out = layer(out)
        return x + out


class EfficientViTHead(nn.Module):
    """Every level projected, enlarged by bicubic interpolation and added; then blocks of convolutions (section 3.2).

    Args:
        in_channels: channels of each level.
        channels: of the sum and of the blocks.
        num_classes: number of logits.
        in_index: the levels read, finest first.
        num_blocks: behind the sum.
        expand_ratio: how much wider the blocks are within.
        fused: a block's first two convolutions are one, across all channels.
        final_expand: a convolution of one pixel to so many times the channels, before the classifier; None for none.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind the norms, but for those of the projections and at the end of a block.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError if `in_index` and `in_channels` differ in length.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2),
        num_blocks: int = 3,
        expand_ratio: int = 4,
        fused: bool = False,
        final_expand: int | None = 4,
        dropout_ratio: float = 0.0,
        norm: Norm = BN,
        activation: Activation = HARD_SWISH,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("EfficientViTHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        width = channels * (final_expand or 1)
        self.conv_seg = pixel_classifier(width, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.inputs = nn.ModuleList(
            ConvNormAct(level, channels, 1, norm=norm, activation=None) for level in self.in_channels
        )
        self.middle = nn.Sequential(
            *(
                InvertedResidual(channels, expand_ratio=expand_ratio, fused=fused, norm=norm, activation=activation)
                for _ in range(num_blocks)
            )
        )
        self.final = (
            nn.Identity() if final_expand is None else ConvNormAct(channels, width, 1, norm=norm, activation=activation)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the first level read."""
        first, *others = (project(features[i]) for project, i in zip(self.inputs, self.in_index, strict=True))
        height, width = first.shape[2:]
        for level in others:
            first = first + F.interpolate(level, size=(height, width), mode="bicubic", align_corners=False)
        logits: Tensor = self.conv_seg(self.dropout(self.final(self.middle(first))))  # (N, K, h, w)
        return logits
