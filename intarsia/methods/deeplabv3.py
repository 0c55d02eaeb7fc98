"""DeepLabV3: context from convolutions at several dilations side by side.

Paper: Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587. The multi-grid of
    section 3.2 belongs to the backbone (`backbones/resnet.py`).
Original code: https://github.com/tensorflow/models/tree/master/research/deeplab (TensorFlow).

Deviations, shared with OpenMMLab's published weights: a 3 x 3 convolution, not 1 x 1, fuses the branches (`project` has
both, as torchvision's weights); training has an auxiliary FCN head on the third stage.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps          R-18  76.70 (78.27)    R-50  79.32 (80.57)    R-101  80.20 (81.21)
    Cityscapes, stride 16, multi-grid, 80k                                                R-101  78.36 (79.84)
    ADE20K 512x512, 160k steps                                     R-50  42.66 (44.09)    R-101  45.00 (46.66)

Shape letters: N images, C channels, K classes, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.aspp import aspp, image_pooling
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm


class ASPPHead(nn.Module):
    """Atrous spatial pyramid pooling, a convolution that fuses its branches, and the classifier (figure 5).

    Args:
        in_channels: channels of the level read.
        channels: channels of each branch and of the fusion.
        num_classes: number of logits.
        in_index: the level read.
        dilations: one branch each, of 3 x 3 convolutions; 1 stands for a 1 x 1 convolution.
        project: a 1 x 1 convolution brings the branches together before the 3 x 3 one.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution. The branch that sees the whole image leaves a batch norm nothing but the batch
            to average over, so that training needs two images or more.
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
        dilations: Sequence[int] = (1, 6, 12, 18),
        project: bool = False,
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
        self.image_pool = image_pooling(in_channels, channels, norm=norm, activation=activation)
        self.aspp_modules = nn.ModuleList(
            ConvNormAct(
                in_channels,
                channels,
                1 if dilation == 1 else 3,
                dilation=dilation,
                padding=0 if dilation == 1 else dilation,
                norm=norm,
                activation=activation,
            )
            for dilation in dilations
        )
        width = (1 + len(dilations)) * channels
        self.project = ConvNormAct(width, channels, 1, norm=norm, activation=activation) if project else None
        self.bottleneck = ConvNormAct(
            channels if project else width, channels, 3, padding=1, norm=norm, activation=activation
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        logits: Tensor = self.conv_seg(self.dropout(self.fused(features)))  # (N, K, h, w)
        return logits

    def fused(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> what is classified: the level with its context (N, channels, h, w)."""
        x = features[self.in_index]  # (N, C, h, w)
        fusion = self.bottleneck if self.project is None else self.project
        x = aspp(x, self.image_pool, self.aspp_modules, fusion, align_corners=self.align_corners)
        return x if self.project is None else self.bottleneck(x)  # (N, channels, h, w)
