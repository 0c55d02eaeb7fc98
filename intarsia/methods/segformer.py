"""SegFormer: the all-MLP head over a hierarchical transformer.

Paper: Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, arXiv:2105.15203,
    section 3.2. The backbone is `backbones/mit.py`.
Original code: https://github.com/NVlabs/SegFormer

Deviations, shared with OpenMMLab's published weights: each level's projection has its own norm and activation,
where the paper's is linear (`linear_projection`, as in the weights of Hugging Face and of segmentation_models.pytorch,
which reads a level of stride 2, too, but fuses at stride 4: `fusion_level`). And one of ours that moves no
number: the fusing 1 x 1 convolution is applied to each level before it is resized. Resizing treats channels alike and
the convolution treats pixels alike, so the order does not matter, but the large concatenation of all levels at the
finest size is never made.

Published scores, single scale (flipped and multi-scale), mIoU:
    ADE20K 512x512, 160k steps        B0 37.41 (38.34)  B1 40.97 (42.54)  B2 45.58 (47.03)
                                      B3 47.82 (48.81)  B4 48.46 (49.76)  B5 49.13 (50.22), at 640x640 49.62 (50.36)
    Cityscapes 1024x1024, 160k steps  B0 76.54 (78.22)  B1 78.56 (79.73)  B2 81.08 (82.18)
                                      B3 81.94 (83.14)  B4 81.89 (83.38)  B5 82.25 (83.48)

Shape letters: N images, C channels, K classes, h, w height and width of the finest level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import Norm


class SegformerHead(nn.Module):
    """Projects every level to the same channels, fuses them at the size of one, and classifies.

    Args:
        in_channels: channels of each level.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the levels read, finest first.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        linear_projection: no norm and no activation behind the levels' projections, only behind their fusion.
        align_corners: how levels are resized here, and logits by those who consume them.
        fusion_level: which of the levels read has the size that all are fused at.
        logits_align_corners: how logits are resized, where that differs from `align_corners`.

    Raises ValueError if `in_index` and `in_channels` differ in length, or there is no such `fusion_level`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        linear_projection: bool = False,
        align_corners: bool = False,
        fusion_level: int = 0,
        logits_align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("SegformerHead", in_index, in_channels)
        self.channels = channels
        self.num_classes = num_classes
        self.align_corners = align_corners if logits_align_corners is None else logits_align_corners
        self.levels_align_corners = align_corners
        if not 0 <= fusion_level < len(self.in_channels):
            raise ValueError(f"SegformerHead reads {len(self.in_channels)} levels; got fusion_level={fusion_level}")
        self.fusion_level = fusion_level
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        level_norm, level_activation = (None, None) if linear_projection else (norm, activation)
        self.convs = nn.ModuleList(
            ConvNormAct(width, channels, 1, norm=level_norm, activation=level_activation) for width in self.in_channels
        )
        self.fusion_conv = ConvNormAct(channels * len(self.in_channels), channels, 1, norm=norm, activation=activation)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of `fusion_level`."""
        levels = [conv(features[i]) for conv, i in zip(self.convs, self.in_index, strict=True)]
        logits: Tensor = self.conv_seg(self.dropout(self._fuse(levels)))  # (N, K, h, w)
        return logits

    def _fuse(self, levels: Sequence[Tensor]) -> Tensor:
        """`fusion_conv` of the concatenation of all levels (N, channels, h_i, w_i), level by level."""
        conv = self.fusion_conv.conv
        weights = conv.weight.split(self.channels, dim=1)
        own = self.fusion_level
        x = F.conv2d(levels[own], weights[own], conv.bias)  # (N, channels, h, w)
        for i, level in enumerate(levels):
            if i != own:
                x = x + resize(F.conv2d(level, weights[i]), x.shape[2:], align_corners=self.levels_align_corners)
        return self.fusion_conv.norm_act(x)
