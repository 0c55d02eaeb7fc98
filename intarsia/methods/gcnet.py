"""GCNet: what all pixels would see alike is looked up once for the image.

Paper: Cao et al., GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond, arXiv:1904.11492.
Original code: https://github.com/xvjiarui/GCNet

Deviations from the paper, shared with OpenMMLab's published weights: one block (`layers/global_context.py`) between
the two convolutions of an FCN head, instead of one in every block of the backbone.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  78.48 (80.01)    R-101  79.03 (79.84)
    Cityscapes 769x769, 80k steps     R-50  78.68 (80.66)    R-101  79.18 (80.71)
    ADE20K 512x512, 160k steps        R-50  42.37 (43.52)    R-101  43.69 (45.21)

Shape letters: N images, C channels, K classes, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers import fcn
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.global_context import Fusion, GlobalContextBlock, Pooling
from intarsia.layers.norm import Norm


class GCHead(nn.Module):
    """Two convolutions with a global context block in between, a shortcut around them, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the level read.
        ratio: of the channels inside the block to those of the head.
        pooling_type: how the image becomes one vector: "att", weighted by a softmax over its pixels, or "avg".
        fusion_types: what the vector is used for: "channel_add", "channel_mul" or both.
        kernel_size: of the convolutions.
        dilation: of the convolutions.
        concat_input: concatenate what the convolutions give with what they got, and fuse.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for arguments that the block does not have.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        ratio: float = 0.25,
        pooling_type: Pooling = "att",
        fusion_types: Sequence[Fusion] = ("channel_add",),
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
        self.gc_block = GlobalContextBlock(channels, ratio=ratio, pooling_type=pooling_type, fusion_types=fusion_types)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = fcn.body(features[self.in_index], self.convs, self.conv_cat, block=self.gc_block)  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits
