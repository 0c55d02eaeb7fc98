"""PSPNet: context by pooling the map over grids of several sizes.

Paper: Zhao et al., Pyramid Scene Parsing Network, arXiv:1612.01105.
Original code: https://github.com/hszhao/PSPNet (Caffe), https://github.com/hszhao/semseg (PyTorch).

Deviations, shared with OpenMMLab's published weights: none in the computation. The auxiliary classifier of section 3.3
is an FCN head on the third stage.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-18  74.87 (76.04)    R-50  78.55 (79.79)    R-101  79.76 (81.01)
    Cityscapes 769x769, 80k steps     R-18  75.90 (77.86)    R-50  79.59 (80.69)    R-101  79.77 (81.06)
    ADE20K 512x512, 160k steps                               R-50  42.48 (43.44)    R-101  44.39 (45.35)

Shape letters: N images, C channels, K classes, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm
from intarsia.layers.pyramid_pooling import PyramidPooling
from intarsia.layers.resized_concat import conv_of_resized


class PSPHead(nn.Module):
    """The pyramid pooling module, a convolution that fuses it with what was pooled, and the classifier (figure 3).

    Args:
        in_channels: channels of the level read.
        channels: channels of each pooled map and of the fusion.
        num_classes: number of logits.
        in_index: the level read.
        pool_scales: cells of each grid along one side.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution. A pooled map of one cell leaves a batch norm nothing but the batch to average
            over, so that training needs two images or more.
        activation: behind each norm.
        align_corners: how pooled maps are resized here, and logits by those who consume them.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
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
        self.psp_modules = PyramidPooling(pool_scales, in_channels, channels, norm=norm, activation=activation)
        self.bottleneck = ConvNormAct(
            in_channels + len(pool_scales) * channels, channels, 3, padding=1, norm=norm, activation=activation
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        logits: Tensor = self.conv_seg(self.dropout(self.fused(features)))  # (N, K, h, w)
        return logits

    def fused(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> what is classified: the level with its context (N, channels, h, w)."""
        x = features[self.in_index]  # (N, C, h, w)
        maps = [x, *self.psp_modules(x)]
        return conv_of_resized(self.bottleneck, maps, align_corners=self.align_corners)
