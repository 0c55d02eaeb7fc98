"""DeepLabV3+: DeepLabV3 as encoder, and a decoder that adds a fine level; separable convolutions throughout.

Paper: Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, arXiv:1802.02611.
Original code: https://github.com/tensorflow/models/tree/master/research/deeplab (TensorFlow).

Deviations, shared with OpenMMLab's published weights: the backbone is a dilated ResNet, not the paper's modified
Xception; a 3 x 3 convolution, not 1 x 1, fuses the branches; training has an auxiliary FCN head on the third stage.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps          R-18  76.89 (78.76)    R-50  80.09 (81.13)    R-101  80.97 (82.03)
    Cityscapes, stride 16, multi-grid, 80k                                                R-101  79.90 (81.33)
    ADE20K 512x512, 160k steps                                     R-50  43.95 (44.93)    R-101  45.47 (46.35)

Shape letters: N images, C channels, K classes, h, w height and width of the coarse level, h1, w1 of the fine one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.aspp import aspp, image_pooling
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct, DepthwiseSeparableConv
from intarsia.layers.levels import resize
from intarsia.layers.norm import Norm

FINE_LEVEL = 0


class DepthwiseSeparableASPPHead(nn.Module):
    """Atrous spatial pyramid pooling on the coarse level, joined with the fine level, and the classifier (figure 2).

    Args:
        in_channels: channels of the coarse level.
        channels: channels of each branch and of the decoder.
        num_classes: number of logits.
        c1_in_channels: channels of the fine level, which is the backbone's first; 0 leaves it out.
        c1_channels: what the fine level is narrowed to before it joins.
        in_index: the coarse level.
        dilations: one branch each, of separable 3 x 3 convolutions; 1 stands for a plain 1 x 1 convolution.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution. The branch that sees the whole image leaves a batch norm nothing but the batch
            to average over, so that training needs two images or more.
        activation: behind each norm.
        align_corners: how levels are resized here, and logits by those who consume them.
    """

    in_index: int | tuple[int, ...]
    in_channels: int | tuple[int, ...]

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        c1_in_channels: int,
        c1_channels: int,
        in_index: int = -1,
        dilations: Sequence[int] = (1, 6, 12, 18),
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.coarse_level = in_index
        self.in_index = (in_index, FINE_LEVEL) if c1_in_channels else in_index
        self.in_channels = (in_channels, c1_in_channels) if c1_in_channels else in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners

        def separable(in_channels: int, dilation: int) -> DepthwiseSeparableConv:
            return DepthwiseSeparableConv(
                in_channels,
                channels,
                3,
                padding=dilation,
                dilation=dilation,
                norm=norm,
                activation=activation,
                depthwise_activation=activation,
            )

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.image_pool = image_pooling(in_channels, channels, norm=norm, activation=activation)
        self.aspp_modules = nn.ModuleList(
            ConvNormAct(in_channels, channels, 1, norm=norm, activation=activation)
            if dilation == 1
            else separable(in_channels, dilation)
            for dilation in dilations
        )
        self.bottleneck = ConvNormAct(
            (1 + len(dilations)) * channels, channels, 3, padding=1, norm=norm, activation=activation
        )
        self.c1_bottleneck = (
            ConvNormAct(c1_in_channels, c1_channels, 1, norm=norm, activation=activation) if c1_in_channels else None
        )
        joined = channels + c1_channels if c1_in_channels else channels
        self.sep_bottleneck = nn.Sequential(separable(joined, 1), separable(channels, 1))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h1, w1), or (N, K, h, w) without the fine level."""
        x = features[self.coarse_level]  # (N, C, h, w)
        x = aspp(x, self.image_pool, self.aspp_modules, self.bottleneck, align_corners=self.align_corners)
        if self.c1_bottleneck is not None:
            fine = self.c1_bottleneck(features[FINE_LEVEL])  # (N, c1_channels, h1, w1)
            x = torch.cat([resize(x, fine.shape[2:], align_corners=self.align_corners), fine], dim=1)
        x = self.sep_bottleneck(x)  # (N, channels, h1, w1)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h1, w1)
        return logits
