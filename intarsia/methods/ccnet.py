"""CCNet: pixels attend to their row and column, and twice so to the whole image.

Paper: Huang et al., CCNet: Criss-Cross Attention for Semantic Segmentation, arXiv:1811.11721.
Original code: https://github.com/speedinghzl/CCNet

Deviations, shared with OpenMMLab's published weights: none in the computation.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  79.03 (80.16)    R-101  78.87 (79.90)
    Cityscapes 769x769, 80k steps     R-50  79.29 (81.08)    R-101  79.45 (80.66)
    ADE20K 512x512, 160k steps        R-50  42.08 (43.13)    R-101  43.71 (45.04)

Shape letters: N images, C channels, D channels of queries and keys, K classes, h, w height and width of the level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.layers import fcn
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.layer_scale import Scale
from intarsia.layers.norm import Norm


class CrissCrossAttention(nn.Module):
    """Attention of each pixel over the h + w - 1 pixels of its row and column (section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(channels, max(channels // 8, 1), kernel_size=1)
        self.key_conv = nn.Conv2d(channels, max(channels // 8, 1), kernel_size=1)
        self.value_conv = nn.Conv2d(channels, channels, kernel_size=1)
        self.gamma = Scale(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        query, key, value = self.query_conv(x), self.key_conv(x), self.value_conv(x)  # (N, D or C, h, w)
        height, width = x.shape[2:]
        in_column = torch.einsum("nchw,nciw->nhwi", query, key)  # (N, h, w, h)
        in_row = torch.einsum("nchw,nchj->nhwj", query, key)  # (N, h, w, w)
        itself = torch.eye(height, dtype=torch.bool, device=x.device).unsqueeze(1)  # (h, 1, h)
        in_column = in_column.masked_fill(itself, float("-inf"))  # the row has it already
        weights = torch.cat([in_column, in_row], dim=3).softmax(dim=3)  # (N, h, w, h + w)
        of_column, of_row = weights.split([height, width], dim=3)
        context = torch.einsum("nciw,nhwi->nchw", value, of_column) + torch.einsum("nchj,nhwj->nchw", value, of_row)
        out: Tensor = self.gamma(context) + x  # (N, C, h, w)
        return out


class CCHead(nn.Module):
    """Two convolutions with criss-cross attention in between, a shortcut around them, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the level read.
        recurrence: how often the attention is applied; twice, a pixel sees every other one.
        kernel_size: of the convolutions.
        dilation: of the convolutions.
        concat_input: concatenate what the convolutions give with what they got, and fuse.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        recurrence: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
        concat_input: bool = True,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index = in_index
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.convs = fcn.convolutions(
            in_channels, channels, kernel_size=kernel_size, dilation=dilation, norm=norm, activation=activation
        )
        self.conv_cat = (
            fcn.fusion(in_channels, channels, kernel_size=kernel_size, norm=norm, activation=activation)
            if concat_input
            else None
        )
        self.cca = CrissCrossAttention(channels)
        self.recurrence = recurrence

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = fcn.body(features[self.in_index], self.convs, self.conv_cat, block=self._attended)  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def _attended(self, x: Tensor) -> Tensor:
        for _ in range(self.recurrence):
            x = self.cca(x)
        return x
