"""UPerNet: a feature pyramid whose top is pooled over several grids, all its levels fused.

Paper: Xiao et al., Unified Perceptual Parsing for Scene Understanding, arXiv:1807.10221.
Original code: https://github.com/CSAILVision/unifiedparsing

Deviations, shared with OpenMMLab's published weights: of the paper's heads there is the one that parses objects, on
the fused levels; scenes, materials and textures are left out. Training has an auxiliary FCN head on the third stage.
segmentation_models.pytorch has a layer norm on each level first, and resizes logits corner on corner (`level_norms`,
`logits_align_corners`).

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  78.19 (79.19)    R-101  79.40 (80.46)
    Cityscapes 769x769, 80k steps     R-50  79.39 (80.92)    R-101  80.10 (81.49)
    ADE20K 512x512, 160k steps        R-50  42.05 (42.78)    R-101  43.82 (44.85)

Shape letters: N images, C channels, K classes, h, w height and width of the finest level, h_i, w_i of level i.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import Norm
from intarsia.layers.pyramid_pooling import PyramidPooling
from intarsia.layers.resized_concat import conv_of_resized

LEVEL_NORM = Norm("LN2d", eps=1e-6)


class UPerHead(nn.Module):
    """Pyramid pooling on the coarsest level, a pyramid from there down to the finest, and their fusion (figure 4).

    Args:
        in_channels: channels of each level.
        channels: channels of every level of the pyramid.
        num_classes: number of logits.
        in_index: the levels read, finest first.
        pool_scales: cells of each grid along one side that the coarsest level is pooled over.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution. A pooled map of one cell leaves a batch norm nothing but the batch to average
            over, so that training needs two images or more.
        activation: behind each norm.
        align_corners: how levels are resized here, and logits by those who consume them.
        level_norms: a layer norm over the channels of each level, before all else.
        logits_align_corners: how logits are resized, where that differs from `align_corners`.

    Raises ValueError if `in_index` and `in_channels` differ in length.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
        level_norms: bool = False,
        logits_align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("UPerHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners if logits_align_corners is None else logits_align_corners
        self.levels_align_corners = align_corners
        self.level_norms = nn.ModuleList(LEVEL_NORM(width) for width in self.in_channels) if level_norms else None
        *finer, coarsest = self.in_channels
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.psp_modules = PyramidPooling(pool_scales, coarsest, channels, norm=norm, activation=activation)
        self.bottleneck = ConvNormAct(
            coarsest + len(pool_scales) * channels, channels, 3, padding=1, norm=norm, activation=activation
        )
        self.lateral_convs = nn.ModuleList(
            ConvNormAct(width, channels, 1, norm=norm, activation=activation) for width in finer
        )
        self.fpn_convs = nn.ModuleList(
            ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=activation) for _ in finer
        )
        self.fpn_bottleneck = ConvNormAct(
            len(self.in_channels) * channels, channels, 3, padding=1, norm=norm, activation=activation
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        logits: Tensor = self.conv_seg(self.dropout(self.fused(features)))  # (N, K, h, w)
        return logits

    def fused(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> what is classified: the pyramid as one map (N, channels, h, w)."""
        levels = [features[i] for i in self.in_index]
        if self.level_norms is not None:
            levels = [norm(x) for norm, x in zip(self.level_norms, levels, strict=True)]
        *finer, coarsest = levels
        corners = self.levels_align_corners
        level = conv_of_resized(self.bottleneck, [coarsest, *self.psp_modules(coarsest)], align_corners=corners)
        pyramid = [level]  # (N, channels, h_i, w_i) each
        for x, lateral, conv in zip(finer[::-1], self.lateral_convs[::-1], self.fpn_convs[::-1], strict=True):
            level = lateral(x) + resize(level, x.shape[2:], align_corners=corners)
            pyramid.append(conv(level))
        return conv_of_resized(self.fpn_bottleneck, pyramid[::-1], align_corners=corners)
