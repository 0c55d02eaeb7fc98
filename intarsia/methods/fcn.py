"""FCN: fully convolutional networks, here as the plain head on a dilated backbone.

Paper: Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, arXiv:1411.4038.
Original code: https://github.com/BVLC/caffe/wiki/Model-Zoo#fcn (Caffe).

Deviations from the paper, as in all published weights that carry the name today: the backbone is a ResNet dilated to
stride 8 instead of VGG with deconvolutions and skip connections; the head is a few 3 x 3 convolutions, whose result
is concatenated with their input and fused once more. With `num_convs=1, concat_input=False` it is the auxiliary
head of most other methods; with `dilation=6` on a backbone of stride 16 it is the "D6" variant.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps     R-18  71.11 (72.91)    R-50  73.61 (74.24)    R-101  75.13 (75.94)
    Cityscapes, D6 on stride 16, 80k                          R-50  77.27 (78.88)    R-101  78.46 (80.42)
    ADE20K 512x512, 160k steps                                R-50  36.10 (38.08)    R-101  39.91 (41.40)
    Pascal VOC 2012 + aug, 40k steps                          R-50  66.97 (69.04)    R-101  69.91 (72.38)

Shape letters: N images, C channels, K classes, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from intarsia.layers import fcn
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.levels import one_or_several_levels, read_levels
from intarsia.layers.norm import Norm


class FCNHead(nn.Module):
    """`num_convs` convolutions, a shortcut around them, and the classifier.

    Args:
        in_channels: channels of the level read, or of each level under "resize_concat".
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the level read, or the levels under "resize_concat".
        input_transform: "resize_concat" brings several levels to the size of the first and concatenates them.
        num_convs: 0 classifies the level as it is, so that `channels` must be `in_channels`.
        kernel_size: of the convolutions.
        dilation: of the convolutions.
        concat_input: concatenate what the convolutions give with what they got, and fuse.
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
        num_classes: int,
        in_index: int | Sequence[int] = -1,
        input_transform: Literal["resize_concat"] | None = None,
        num_convs: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
        concat_input: bool = True,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels, width = one_or_several_levels(
            "FCNHead", in_index, in_channels, input_transform
        )
        if num_convs == 0 and channels != width:
            raise ValueError(f"FCNHead without convolutions cannot turn {width} channels into channels={channels}")
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.convs = fcn.convolutions(
            width,
            channels,
            num_convs=num_convs,
            kernel_size=kernel_size,
            dilation=dilation,
            norm=norm,
            activation=activation,
        )
        self.conv_cat = (
            fcn.fusion(width, channels, kernel_size=kernel_size, norm=norm, activation=activation)
            if concat_input
            else None
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the (first) level read."""
        logits: Tensor = self.conv_seg(self.dropout(self.fused(features)))  # (N, K, h, w)
        return logits

    def fused(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> what is classified: the level behind the convolutions (N, channels, h, w)."""
        x = read_levels(features, self.in_index, align_corners=self.align_corners)  # (N, C, h, w)
        return fcn.body(x, self.convs, self.conv_cat)
