"""Atrous spatial pyramid pooling: one level seen at several dilations, and as a whole.

Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587, section 3.3. DeepLabV3 and
DeepLabV3+ share it; they differ in how the dilated convolutions are made.

Shape letters: N images, C channels, h, w height and width of the level.
"""

from __future__ import annotations

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm
from intarsia.layers.resized_concat import conv_of_resized


def image_pooling(
    in_channels: int, channels: int, *, norm: Norm | None = None, activation: Activation | None = RELU
) -> nn.Sequential:
    """The branch that sees the level as a whole: the mean of each channel, then a 1 x 1 convolution.

    (N, C, h, w) -> (N, channels, 1, 1).
    """
    project = ConvNormAct(in_channels, channels, 1, norm=norm, activation=activation)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), project)


def aspp(
    x: Tensor, image_pool: nn.Module, branches: nn.ModuleList, fusion: ConvNormAct, *, align_corners: bool = False
) -> Tensor:
    """All branches side by side, (1 + number of branches) * channels, fused: (N, C, h, w) -> (N, C', h, w)."""
    maps = [image_pool(x), *(branch(x) for branch in branches)]
    return conv_of_resized(fusion, maps, small=(0,), align_corners=align_corners)
