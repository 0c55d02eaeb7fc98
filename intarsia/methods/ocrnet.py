"""OCRNet: every pixel looks at the objects that a first coarse_logits found in the image.

Paper: Yuan et al., Object-Contextual Representations for Semantic Segmentation, arXiv:1909.11065.
Original code: https://github.com/openseg-group/openseg.pytorch, https://github.com/HRNet/HRNet-Semantic-Segmentation

The head is the second of a cascade (`models/cascade.py`): the first, an FCN head with a loss of its own, makes the
coarse_logits. Deviations from the paper, shared with OpenMMLab's published weights: none in the computation.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 160k steps    HR-W18 small 78.45 (79.97)    HR-W18 79.47 (80.91)    HR-W48 81.35 (82.70)
    ADE20K 512x512, 160k steps         HR-W18 small 37.19 (38.40)    HR-W18 39.32 (40.80)    HR-W48 43.25 (44.88)

Shape letters: N images, C channels, K classes, hence regions, h, w height and width of the level, P = h * w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from intarsia.layers import precision
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import one_or_several_levels, resize
from intarsia.layers.norm import Norm
from intarsia.layers.resized_concat import conv_of_resized
from intarsia.layers.self_attention import attend, projection


def object_regions(pixels: Tensor, coarse_logits: Tensor) -> Tensor:
    """What each class looks like in this image: a mean of its pixels (section 3.2, equation 2).

    Pixels (N, C, h, w), weighted by the softmax over the image of each class's logits in `coarse_logits` (N, K, h, w)
    -> (N, C, K, 1).
    """
    weights = precision.full_precision(coarse_logits).flatten(2).softmax(dim=2)  # (N, K, P)
    regions = precision.sums_over_pixels(weights, pixels.flatten(2))  # (N, K, C)
    return regions.transpose(1, 2).unsqueeze(3).to(pixels.dtype)


class ObjectAttention(nn.Module):
    """Pixels attend to object regions (equation 3), and are fused with what they get (equation 4)."""

    def __init__(self, channels: int, ocr_channels: int, *, norm: Norm | None, activation: Activation) -> None:
        super().__init__()

        def project(in_channels: int, out_channels: int, num_convs: int = 1) -> nn.Module:
            return projection(in_channels, out_channels, num_convs=num_convs, norm=norm, activation=activation)

        self.key_project = project(channels, ocr_channels, 2)
        self.query_project = project(channels, ocr_channels, 2)
        self.value_project = project(channels, ocr_channels)
        self.out_project = project(ocr_channels, channels)
        self.bottleneck = project(2 * channels, channels)

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Pixels (N, C, h, w), regions (N, C, K, 1) -> (N, C, h, w)."""
        query, key, value = self.query_project(pixels), self.key_project(regions), self.value_project(regions)
        context = self.out_project(attend(query, key, value))  # (N, C, h, w)
        out: Tensor = self.bottleneck(torch.cat([context, pixels], dim=1))
        return out


class OCRHead(nn.Module):
    """Object-contextual representations of the pixels, and the classifier (figure 3).

    Args:
        in_channels: channels of the level read, or of each level under "resize_concat".
        channels: channels of the pixels' representation.
        ocr_channels: channels of the attention.
        num_classes: number of logits, here and in the coarse_logits.
        in_index: the level read, or the levels under "resize_concat".
        input_transform: "resize_concat" brings several levels to the size of the first and concatenates them.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how levels are resized here, and logits by those who consume them.

    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        *,
        in_channels: int | Sequence[int],
        channels: int,
        ocr_channels: int,
        num_classes: int,
        in_index: int | Sequence[int] = -1,
        input_transform: Literal["resize_concat"] | None = None,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels, width = one_or_several_levels(
            "OCRHead", in_index, in_channels, input_transform
        )
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.object_context_block = ObjectAttention(channels, ocr_channels, norm=norm, activation=activation)
        self.bottleneck = ConvNormAct(width, channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, features: Sequence[Tensor], coarse_logits: Tensor) -> Tensor:
        """Feature maps and the logits of the head before, of any size -> logits (N, K, h, w)."""
        indices = (self.in_index,) if isinstance(self.in_index, int) else self.in_index
        levels = [features[i] for i in indices]
        pixels = conv_of_resized(self.bottleneck, levels, align_corners=self.align_corners)  # (N, channels, h, w)
        coarse_logits = resize(
            coarse_logits, pixels.shape[2:], align_corners=self.align_corners
        )  # the head before may be coarser
        x = self.object_context_block(pixels, object_regions(pixels, coarse_logits))  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits
