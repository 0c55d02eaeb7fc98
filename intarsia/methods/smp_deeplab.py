"""DeepLabV3 and DeepLabV3+ of segmentation_models.pytorch, where branches are separable convolutions.

Papers: Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587; Chen et al.,
    Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, arXiv:1802.02611.
The form is that of segmentation_models.pytorch (https://github.com/qubvel-org/segmentation_models.pytorch, MIT), over
the levels of any backbone: with the same weights the logits are the same. Its DeepLabV3 with usual branches is
`ASPPHead(project=True)`; `methods/deeplabv3plus.py` is the form of OpenMMLab's weights.

Deviations from the papers, shared with it: nothing stands between the two steps of a separable convolution; its decoder
has one separable convolution where the paper has two, and one more behind the branches.

Ours: dropout, which it has behind the branches, is before the classifier, as in all heads.

Shape letters: N images, C channels, K classes, h, w height and width of the coarse level, H, W of the finest one read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.aspp import aspp, image_pooling
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct, conv3x3
from intarsia.layers.decoder_block import start_decoder, wide_classifier
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm

BRANCHES = 3


class SmpASPPHead(nn.Module):
    """Atrous spatial pyramid pooling on the coarse level, joined with the fine level if there is one; the classifier.

    Args:
        in_channels: channels of the level read (DeepLabV3), or of two, the fine one first (DeepLabV3+).
        num_classes: number of logits.
        in_index: the level or levels read.
        channels: of each branch and of the decoder.
        c1_channels: what the fine level is narrowed to before it joins.
        dilations: of three branches, beside those of one pixel and of the whole image.
        separable: branches are separable convolutions.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution. The branch that sees the whole image leaves a batch norm nothing but the batch
            to average over, so that training needs two images or more.
        activation: behind each norm.
        align_corners: how the coarse level is enlarged here, and logits by those who consume them.

    Raises ValueError for levels that do not pair up or are more than two, and for other than three dilations.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 3),
        channels: int = 256,
        c1_channels: int = 48,
        dilations: Sequence[int] = (12, 24, 36),
        separable: bool = True,
        dropout_ratio: float = 0.5,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("SmpASPPHead", in_index, in_channels)
        if len(self.in_channels) not in (1, 2) or len(dilations) != BRANCHES:
            raise ValueError(
                f"SmpASPPHead reads one level, or a fine and a coarse one, with {BRANCHES} dilations; got "
                f"in_channels={list(in_channels)} and dilations={list(dilations)}"
            )
        self.num_classes = num_classes
        self.align_corners = align_corners
        *fine, coarse = self.in_channels

        def conv(width: int, kernel_size: int, dilation: int = 1) -> ConvNormAct:
            padding = kernel_size // 2 * dilation
            return ConvNormAct(
                width, channels, kernel_size, padding=padding, dilation=dilation, norm=norm, activation=activation
            )

        def split(width: int, dilation: int = 1) -> nn.Sequential:
            return nn.Sequential(conv3x3(width, width, dilation=dilation, groups=width), conv(width, 1))

        self.image_pool = image_pooling(coarse, channels, norm=norm, activation=activation)
        branches = [split(coarse, rate) if separable else conv(coarse, 3, rate) for rate in dilations]
        self.aspp_modules = nn.ModuleList([conv(coarse, 1), *branches])
        self.project = conv((len(branches) + 2) * channels, 1)
        self.bottleneck = split(channels) if fine else conv(channels, 3)
        self.c1_bottleneck = (
            ConvNormAct(fine[0], c1_channels, 1, norm=norm, activation=activation) if fine else None
        )  # fmt: skip
        self.fusion = split(c1_channels + channels) if fine else None
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(channels, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, H, W) at the size of the fine level, or (N, K, h, w) without one."""
        *fine, coarse = [features[i] for i in self.in_index]
        x = self.bottleneck(aspp(coarse, self.image_pool, self.aspp_modules, self.project))  # (N, channels, h, w)
        if self.c1_bottleneck is not None and self.fusion is not None:
            joined = self.c1_bottleneck(fine[0])  # (N, c1_channels, H, W)
            x = torch.cat([resize(x, joined.shape[2:], align_corners=self.align_corners), joined], dim=1)
            x = self.fusion(x)
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits
