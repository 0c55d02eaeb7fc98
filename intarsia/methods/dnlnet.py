"""DNLNet: how pixels relate to each other, and how much each of them tells to all, as two terms of their own.

Paper: Yin et al., Disentangled Non-Local Neural Networks, arXiv:2006.06668.
Original code: https://github.com/yinmh17/DNL-Semantic-Segmentation

Deviations, shared with OpenMMLab's published weights: none in the computation. OpenMMLab's "gaussian" mode, which no
published weights use, takes the mean out of the map itself; here only what is compared is without it.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  79.33            R-101  80.41
    Cityscapes 769x769, 80k steps     R-50  79.36 (80.70)    R-101  79.41 (80.68)
    ADE20K 512x512, 160k steps        R-50  41.87 (43.01)    R-101  44.25 (45.78)

Shape letters: N images, C channels, D channels inside the block, K classes, h, w height and width of the level,
P = h * w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers import fcn, non_local, precision
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.non_local import Mode
from intarsia.layers.norm import Norm


class DisentangledNonLocal2d(nn.Module):
    """Pairs of pixels are compared without what all of them share (equation 9), and a second term says how much each
    pixel tells to all others, whoever they are. Arguments as those of `NonLocal2d`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        reduction: int,
        use_scale: bool,
        mode: Mode,
        temperature: float,
        norm: Norm | None,
    ) -> None:
        super().__init__()
        non_local.check_mode(mode)
        channels = max(in_channels // reduction, 1)
        self.mode = mode
        self.scale = (channels**-0.5 if use_scale else 1.0) / temperature
        self.g = non_local.embedding(in_channels, channels)
        self.conv_out = non_local.output(channels, in_channels, norm=norm)
        self.theta = None if mode == "gaussian" else non_local.embedding(in_channels, channels)
        self.phi = None if mode == "gaussian" else non_local.embedding(in_channels, channels)
        self.concat_project = non_local.concatenation(channels) if mode == "concatenation" else None
        self.conv_mask = nn.Conv2d(in_channels, 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        theta = without_mean(x if self.theta is None else self.theta(x))  # (N, D, h, w)
        phi = without_mean(x if self.phi is None else self.phi(x))  # (N, D, h, w)
        values = self.g(x)  # (N, D, h, w)
        pairwise = non_local.gather(
            theta, phi, values, mode=self.mode, scale=self.scale, concat_project=self.concat_project
        )  # (N, D, h, w)
        weights = precision.full_precision(self.conv_mask(x)).flatten(2).softmax(dim=2)  # (N, 1, P)
        unary = precision.sums_over_pixels(weights, values.flatten(2)).transpose(1, 2).unsqueeze(3)  # (N, D, 1, 1)
        out: Tensor = x + self.conv_out(pairwise + unary.to(values.dtype))
        return out


def without_mean(x: Tensor) -> Tensor:
    """(N, C, h, w) without what all pixels share: the whitening of section 4.1."""
    return x - x.mean(dim=(2, 3), keepdim=True)


class DNLHead(nn.Module):
    """Two convolutions with a disentangled non-local block in between, a shortcut around them, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the level read.
        reduction: of the channels inside the block.
        use_scale: of "embedded_gaussian", whether products are divided by the root of the block's channels.
        mode: how two pixels are compared.
        temperature: of "embedded_gaussian", what products are divided by.
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
        temperature: float = 0.05,
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
        self.dnl_block = DisentangledNonLocal2d(
            channels, reduction=reduction, use_scale=use_scale, mode=mode, temperature=temperature, norm=norm
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = fcn.body(features[self.in_index], self.convs, self.conv_cat, block=self.dnl_block)  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits
