"""JPU: a fine level with the reach of a dilated backbone, joined from the last levels of an ordinary one.

Paper: Wu et al., FastFCN: Rethinking Dilated Convolution in the Backbone for Semantic Segmentation, arXiv:1903.11816.
Original code: https://github.com/wuhuikai/FastFCN

Deviations, shared with OpenMMLab's published weights: none in the computation. The heads behind it are DeepLabV3's,
EncNet's and PSPNet's.

Published scores, single scale (flipped and multi-scale), R-50, mIoU:
    Cityscapes 512x1024, 80k steps    DeepLabV3 79.12 (80.58)    PSPNet 79.26 (80.86)    EncNet 77.97 (79.92)
    ADE20K 512x512, 160k steps        DeepLabV3 43.58 (44.92)    PSPNet 42.63 (43.71)    EncNet 42.50 (44.21)

Shape letters: N images, C channels, h_i, w_i height and width of level i, finest first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct, DepthwiseSeparableConv
from intarsia.layers.levels import concat_levels
from intarsia.layers.norm import BN, Norm


class JPU(nn.Module):
    """Joint pyramid upsampling: the levels at the size of the finest, seen at several dilations (figure 4).

    The levels that come out are those that went in, the joint one in place of the last.

    Args:
        in_channels: channels of each level of the backbone.
        mid_channels: channels that each level is brought to, and of each dilation.
        start_level: the first level read; those before it are left out.
        end_level: the level behind the last one read; -1 reads to the end.
        dilations: one separable convolution each.
        align_corners: how levels are resized.
        norm: behind each convolution.
        activation: behind each norm but those of the depthwise convolutions.

    Raises ValueError for levels that there are not.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (512, 1024, 2048),
        mid_channels: int = 512,
        start_level: int = 0,
        end_level: int = -1,
        dilations: Sequence[int] = (1, 2, 4, 8),
        align_corners: bool = False,
        norm: Norm = BN,
        activation: Activation = RELU,
    ) -> None:
        super().__init__()
        end = len(in_channels) if end_level == -1 else end_level
        if not 0 <= start_level < end <= len(in_channels):
            raise ValueError(
                f"JPU has {len(in_channels)} levels to read (in_channels), so that 0 <= start_level < end_level <= "
                f"{len(in_channels)} must hold; got start_level={start_level} and end_level={end_level} (-1 is the end)"
            )
        self.in_channels = tuple(in_channels)
        self.levels = range(start_level, end)
        self.out_channels = mid_channels * len(dilations)
        self.align_corners = align_corners

        def separable(dilation: int) -> DepthwiseSeparableConv:
            return DepthwiseSeparableConv(
                len(self.levels) * mid_channels, mid_channels, 3, padding=dilation, dilation=dilation, norm=norm,
                activation=activation, depthwise_activation=None,
            )  # fmt: skip

        self.conv_layers = nn.ModuleList(
            nn.Sequential(ConvNormAct(in_channels[i], mid_channels, 3, padding=1, norm=norm, activation=activation))
            for i in self.levels
        )
        self.dilation_layers = nn.ModuleList(nn.Sequential(separable(dilation)) for dilation in dilations)

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """The backbone's levels -> those that are read; the last has `mid_channels` for each dilation, at the stride of
        the first.
        """
        read = [features[i] for i in self.levels]
        return *read[:-1], FeatureSpec(self.out_channels, read[0].stride)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's levels (N, C_i, h_i, w_i) -> those that are read, the last one (N, C, h_0, w_0)."""
        read = [features[i] for i in self.levels]
        reduced = [conv(level) for conv, level in zip(self.conv_layers, read, strict=True)]
        joint = concat_levels(reduced, align_corners=self.align_corners)  # (N, levels * mid_channels, h_0, w_0)
        dilated = torch.cat([conv(joint) for conv in self.dilation_layers], dim=1)  # (N, dilations * mid_channels, ...)
        return *read[:-1], dilated
