"""NonLocal: an FCN head in which every pixel sees all others.

Paper: Wang et al., Non-local Neural Networks, arXiv:1711.07971.
Original code: https://github.com/facebookresearch/video-nonlocal-net (Caffe2)

Deviations from the paper, shared with OpenMMLab's published weights: the paper is about videos; here the block
(`layers/non_local.py`) stands between the two convolutions of an FCN head.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  78.01            R-101  78.93
    Cityscapes 769x769, 80k steps     R-50  79.05 (80.68)    R-101  79.40 (80.85)
    ADE20K 512x512, 160k steps        R-50  42.03 (43.04)    R-101  44.63 (45.79)

Shape letters: N images, C channels, K classes, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers import fcn
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.non_local import Mode, NonLocal2d
from intarsia.layers.norm import Norm


class NLHead(nn.Module):
    """Two convolutions with a non-local block in between, a shortcut around them, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the level read.
        reduction: of the channels inside the block.
        use_scale: of "embedded_gaussian", whether products are divided by the root of the block's channels.
        mode: how two pixels are compared.
        kernel_size: of the convolutions.
        dilation: of the convolutions.
        concat_input: concatenate what the convolutions give with what they got, and fuse.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for an unknown mode.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        reduction: int = 2,
        use_scale: bool = True,
        mode: Mode = "embedded_gaussian",
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
        self.nl_block = NonLocal2d(channels, reduction=reduction, use_scale=use_scale, mode=mode, norm=norm)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = fcn.body(features[self.in_index], self.convs, self.conv_cat, block=self.nl_block)  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits
