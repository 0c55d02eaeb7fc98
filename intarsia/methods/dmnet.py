"""DMNet: filters of several sizes, made for each image out of the image itself.

Paper: He, Deng, Qiao, Dynamic Multi-scale Filters for Semantic Segmentation, ICCV 2019.
Original code: https://github.com/Junjun2016/DMNet

Deviations, shared with OpenMMLab's published weights: no convolution follows the filtered map unless `fusion` asks for
it; training has an auxiliary FCN head on the third stage.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  79.07 (80.22)    R-101  79.64 (80.67)
    Cityscapes 769x769, 80k steps     R-50  79.22 (80.55)    R-101  79.19 (80.65)
    ADE20K 512x512, 160k steps        R-50  43.15 (44.17)    R-101  45.42 (46.76)

Shape letters: N images, C channels, K classes, F side of a filter, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.adaptive_pooling import adaptive_avg_pool
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm


class DynamicConvolution(nn.Module):
    """The map, filtered in each channel by what the image looks like on a grid of F x F cells (figure 3).

    filter_size: F. fusion: whether a 1 x 1 convolution follows.
    """

    def __init__(
        self,
        filter_size: int,
        in_channels: int,
        channels: int,
        *,
        fusion: bool,
        norm: Norm | None,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.filter_size = filter_size
        self.filter_gen_conv = nn.Conv2d(in_channels, channels, 1)
        self.input_redu_conv = ConvNormAct(in_channels, channels, 1, norm=norm, activation=activation)
        self.norm = norm(channels) if norm else nn.Identity()
        self.activate = activation()
        self.fusion_conv = ConvNormAct(channels, channels, 1, norm=norm, activation=activation) if fusion else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        filters = self.filter_gen_conv(adaptive_avg_pool(x, self.filter_size))  # (N, channels, F, F)
        out: Tensor = self.activate(self.norm(filtered(self.input_redu_conv(x), filters)))
        return out if self.fusion_conv is None else self.fusion_conv(out)


def filtered(x: Tensor, filters: Tensor) -> Tensor:
    """Each channel of each image by its own filter: maps (N, C, h, w), filters (N, C, F, F) -> (N, C, h, w).

    Beyond the border lie zeros. A filter of even side reaches one pixel further to the left and up.
    """
    before, behind = filters.shape[-1] // 2, (filters.shape[-1] - 1) // 2
    x = F.pad(x, (before, behind, before, behind))
    height, width = x.shape[2:]
    count = x.shape[0] * x.shape[1]  # as many groups: the images lie beside each other as channels of one
    beside = F.conv2d(x.reshape(1, count, height, width), filters.flatten(0, 1).unsqueeze(1), groups=count)
    out: Tensor = beside.squeeze(0).unflatten(0, filters.shape[:2])
    return out


class DMHead(nn.Module):
    """Dynamic convolutions of several sizes beside the level, a convolution that fuses them, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels of each filtered map and of the fusion.
        num_classes: number of logits.
        in_index: the level read.
        filter_sizes: side of the filters of each branch.
        fusion: whether a convolution follows each of them.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution, the dynamic ones included.
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
        filter_sizes: Sequence[int] = (1, 3, 5, 7),
        fusion: bool = False,
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
        self.dcm_modules = nn.ModuleList(
            DynamicConvolution(size, in_channels, channels, fusion=fusion, norm=norm, activation=activation)
            for size in filter_sizes
        )
        self.bottleneck = ConvNormAct(
            in_channels + len(filter_sizes) * channels, channels, 3, padding=1, norm=norm, activation=activation
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = features[self.in_index]  # (N, C, h, w)
        x = torch.cat([x, *(branch(x) for branch in self.dcm_modules)], dim=1)  # (N, C + sizes * channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(self.bottleneck(x)))  # (N, K, h, w)
        return logits
