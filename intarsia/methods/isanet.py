"""ISANet: attention among pixels that lie far apart, then among those that lie together.

Paper: Huang et al., Interlaced Sparse Self-Attention for Semantic Segmentation, arXiv:1907.12273.
Original code: https://github.com/openseg-group/openseg.pytorch

Deviations, shared with OpenMMLab's published weights: none in the computation. A map whose sides are no multiples of
the groups gets a border of zeros, which takes part in the attention.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  78.68 (80.25)    R-101  80.32 (81.58)
    Cityscapes 769x769, 80k steps     R-50  79.29 (80.53)    R-101  80.61 (81.59)
    ADE20K 512x512, 160k steps        R-50  42.59 (43.07)    R-101  43.80 (45.40)

Shape letters: N images, C channels, K classes, h, w height and width of the level, a, b pixels of a group down and
across (`down_factor`), H, W groups down and across.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import cropped
from intarsia.layers.norm import Norm
from intarsia.layers.self_attention import attend, projection


class SelfAttention(nn.Module):
    """Attention of every pixel of a map over all of them."""

    def __init__(self, in_channels: int, channels: int, *, norm: Norm | None, activation: Activation) -> None:
        super().__init__()
        self.key_project = projection(in_channels, channels, num_convs=2, norm=norm, activation=activation)
        self.query_project = projection(in_channels, channels, num_convs=2, norm=norm, activation=activation)
        self.value_project = nn.Conv2d(in_channels, in_channels, kernel_size=1)
        self.output_project = projection(in_channels, in_channels, norm=norm, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        context = attend(self.query_project(x), self.key_project(x), self.value_project(x))
        out: Tensor = self.output_project(context)
        return out


class ISAHead(nn.Module):
    """A convolution, both attentions (figure 2), a shortcut around them, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        isa_channels: channels of queries and keys.
        num_classes: number of logits.
        in_index: the level read.
        down_factor: height and width of the groups of pixels that lie together.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution but that of the values.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        isa_channels: int,
        num_classes: int,
        in_index: int = -1,
        down_factor: tuple[int, int] = (8, 8),
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
        self.down_factor = down_factor
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.in_conv = ConvNormAct(in_channels, channels, 3, padding=1, norm=norm, activation=activation)
        self.global_relation = SelfAttention(channels, isa_channels, norm=norm, activation=activation)
        self.local_relation = SelfAttention(channels, isa_channels, norm=norm, activation=activation)
        self.out_conv = ConvNormAct(2 * channels, channels, 1, norm=norm, activation=activation)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = self.in_conv(features[self.in_index])  # (N, channels, h, w)
        x = self.out_conv(torch.cat([self._related(x), x], dim=1))  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def _related(self, x: Tensor) -> Tensor:
        """Attention across the groups, then within them: (N, C, h, w) -> (N, C, h, w)."""
        images, channels, height, width = x.shape
        a, b = self.down_factor
        rows, columns = (height + a - 1) // a, (width + b - 1) // b
        below, right = rows * a - height, columns * b - width
        top, left = below // 2, right // 2
        x = F.pad(x, (left, right - left, top, below - top))  # (N, C, H * a, W * b)
        x = x.reshape(images, channels, rows, a, columns, b).permute(0, 3, 5, 1, 2, 4)  # (N, a, b, C, H, W)
        x = self.global_relation(x.reshape(images * a * b, channels, rows, columns))
        x = x.reshape(images, a, b, channels, rows, columns).permute(0, 4, 5, 3, 1, 2)  # (N, H, W, C, a, b)
        x = self.local_relation(x.reshape(images * rows * columns, channels, a, b))
        x = x.reshape(images, rows, columns, channels, a, b).permute(0, 3, 1, 4, 2, 5)  # (N, C, H, a, W, b)
        x = x.reshape(images, channels, rows * a, columns * b)
        return cropped(x, height, width, top=top, left=left)
