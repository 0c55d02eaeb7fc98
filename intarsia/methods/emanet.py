"""EMANet: attention to a few bases that expectation and maximisation find in the image.

Paper: Li et al., Expectation-Maximization Attention Networks for Semantic Segmentation, arXiv:1907.13426.
Original code: https://github.com/XiaLiPKU/EMANet

Deviations, shared with OpenMMLab's published weights: nothing learns through the rounds, as in the original code, so
that the convolution before them keeps what it starts with; training has an auxiliary FCN head on the third stage.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  77.59 (79.44)    R-101  79.10 (81.21)
    Cityscapes 769x769, 80k steps     R-50  79.33 (80.49)    R-101  79.62 (81.00)

Shape letters: N images, C channels, K classes, B bases, h, w height and width of the level, P = h * w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers import precision
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.distributed import mean_over_processes
from intarsia.layers.norm import Norm


class ExpectationMaximisation(nn.Module):
    """Pixels rebuilt from the bases of their image (section 3.2). No gradient passes through it.

    bases: (1, C, B), where the rounds begin; training moves them towards the mean of what the images of a step gave.

    num_bases: B. num_stages: rounds. momentum: share of a step in the bases.

    Raises ValueError without a round.
    """

    bases: Tensor

    def __init__(self, channels: int, *, num_bases: int, num_stages: int, momentum: float) -> None:
        super().__init__()
        if num_stages < 1:
            raise ValueError(f"EMAHead finds its bases in num_stages=1 rounds or more; got {num_stages}")
        self.num_stages = num_stages
        self.momentum = momentum
        bases = torch.empty(1, channels, num_bases).normal_(0, (2 / num_bases) ** 0.5)
        self.register_buffer("bases", F.normalize(bases, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        pixels = x.detach().flatten(2)  # (N, C, P)
        bases = self.bases  # (1, C, B), then (N, C, B)
        for _ in range(self.num_stages):
            shares = precision.sums_over_channels(bases, pixels).softmax(dim=1)  # (N, B, P)
            # Weighted sums stand for means: both have the same direction.
            bases = F.normalize(precision.sums_over_pixels(shares, pixels), dim=2).transpose(1, 2)
        if self.training:
            self._remember(bases)
        rebuilt: Tensor = (bases @ shares).unflatten(2, x.shape[2:])
        return rebuilt.to(x.dtype)

    def _remember(self, bases: Tensor) -> None:
        found = F.normalize(mean_over_processes(bases.mean(dim=0, keepdim=True)), dim=1)
        self.bases.lerp_(found.to(self.bases.dtype), self.momentum)


class EMAHead(nn.Module):
    """Expectation-maximisation attention between convolutions, a shortcut around it, and the classifier (figure 2).

    Args:
        in_channels: channels of the level read.
        channels: channels behind the attention.
        ema_channels: channels of the attention.
        num_bases: bases of an image.
        num_stages: rounds of expectation and maximisation.
        num_classes: number of logits.
        in_index: the level read.
        concat_input: concatenate what is classified with the level, and fuse.
        momentum: share of a training step in the bases that the rounds begin with.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution but the one before the rounds.
        activation: behind each norm but the one before the sum.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError without a round.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        ema_channels: int,
        num_bases: int,
        num_stages: int,
        num_classes: int,
        in_index: int = -1,
        concat_input: bool = True,
        momentum: float = 0.1,
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

        def conv3x3(before: int, width: int) -> ConvNormAct:
            return ConvNormAct(before, width, 3, padding=1, norm=norm, activation=activation)

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.ema_module = ExpectationMaximisation(
            ema_channels, num_bases=num_bases, num_stages=num_stages, momentum=momentum
        )
        self.ema_in_conv = conv3x3(in_channels, ema_channels)
        self.ema_mid_conv = ConvNormAct(ema_channels, ema_channels, 1, activation=None).requires_grad_(False)
        self.ema_out_conv = ConvNormAct(ema_channels, ema_channels, 1, norm=norm, activation=None)
        self.bottleneck = conv3x3(ema_channels, channels)
        self.conv_cat = conv3x3(in_channels + channels, channels) if concat_input else None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = features[self.in_index]  # (N, C, h, w)
        pixels = self.ema_in_conv(x)  # (N, ema_channels, h, w)
        rebuilt = F.relu(self.ema_module(self.ema_mid_conv(pixels)))
        out = self.bottleneck(F.relu(pixels + self.ema_out_conv(rebuilt)))  # (N, channels, h, w)
        if self.conv_cat is not None:
            out = self.conv_cat(torch.cat([x, out], dim=1))  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(out))  # (N, K, h, w)
        return logits
