"""APCNet: context at several scales, gathered for every pixel by weights that see the whole image.

Paper: He et al., Adaptive Pyramid Context Network for Semantic Segmentation, CVPR 2019.
Original code: https://github.com/Junjun2016/APCNet

Beyond the paper's formulas, shared with OpenMMLab's published weights: affinities are squashed by a sigmoid, and what
they gather is projected before it is added to the pixel. Training has an auxiliary FCN head on the third stage.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  78.96 (79.94)    R-101  79.64 (80.61)
    Cityscapes 769x769, 80k steps     R-50  78.79 (80.35)    R-101  78.45 (79.91)
    ADE20K 512x512, 160k steps        R-50  43.40 (43.94)    R-101  45.41 (46.63)

Shape letters: N images, C channels, K classes, S cells of a grid, h, w height and width of the level, P = h * w pixels.
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


class AdaptiveContext(nn.Module):
    """The cells of a grid, mixed for each pixel by its affinity to each of them (figure 3).

    pool_scale: cells along one side. fusion: whether a 1 x 1 convolution follows.
    """

    def __init__(
        self,
        pool_scale: int,
        in_channels: int,
        channels: int,
        *,
        fusion: bool,
        norm: Norm | None,
        activation: Activation,
    ) -> None:
        super().__init__()

        def project(width: int) -> ConvNormAct:
            return ConvNormAct(width, channels, 1, norm=norm, activation=activation)

        self.pool_scale = pool_scale
        self.pooled_redu_conv = project(in_channels)
        self.input_redu_conv = project(in_channels)
        self.global_info = project(channels)
        self.gla = nn.Conv2d(channels, pool_scale**2, 1)
        self.residual_conv = project(channels)
        self.fusion_conv = project(channels) if fusion else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        cells = self.pooled_redu_conv(adaptive_avg_pool(x, self.pool_scale)).flatten(2)  # (N, channels, S)
        x = self.input_redu_conv(x)  # (N, channels, h, w)
        whole = self.global_info(F.adaptive_avg_pool2d(x, 1))  # (N, channels, 1, 1)
        affinity = self.gla(x + whole).flatten(2).sigmoid()  # (N, S, P)
        context = (cells @ affinity).unflatten(2, x.shape[2:])  # (N, channels, h, w)
        out: Tensor = F.relu(self.residual_conv(context) + x)
        return out if self.fusion_conv is None else self.fusion_conv(out)


class APCHead(nn.Module):
    """Adaptive contexts of several grids beside the level, a convolution that fuses them, the classifier (figure 2).

    Args:
        in_channels: channels of the level read.
        channels: channels of each context and of the fusion.
        num_classes: number of logits.
        in_index: the level read.
        pool_scales: cells of each grid along one side.
        fusion: whether a convolution follows each context.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution. A map of one cell leaves a batch norm nothing but the batch to average over, so
            that training needs two images or more.
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
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        fusion: bool = True,
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
        self.acm_modules = nn.ModuleList(
            AdaptiveContext(scale, in_channels, channels, fusion=fusion, norm=norm, activation=activation)
            for scale in pool_scales
        )
        self.bottleneck = ConvNormAct(
            in_channels + len(pool_scales) * channels, channels, 3, padding=1, norm=norm, activation=activation
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = features[self.in_index]  # (N, C, h, w)
        x = torch.cat([x, *(context(x) for context in self.acm_modules)], dim=1)  # (N, C + scales * channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(self.bottleneck(x)))  # (N, K, h, w)
        return logits
