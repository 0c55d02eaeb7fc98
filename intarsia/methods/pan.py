"""PAN: a small pyramid of attention on the coarsest level, whose means weigh the finer ones.

Paper: Li et al., Pyramid Attention Network for Semantic Segmentation, arXiv:1805.10180, figures 3 and 4.
The form is that of segmentation_models.pytorch (Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch,
MIT), over the levels of any backbone: with the same weights the logits are the same.

Deviation from the paper, shared with it: the first convolution of the pyramid makes one channel, a map of attention.

Shape letters: N images, C channels, K classes, h, w height and width of a map, H, W those of the finest level.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.adaptive_pooling import AdaptiveAvgPool
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.decoder_block import (
    Interpolation,
    checked_interpolation,
    start_decoder,
    wide_classifier,
)
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm

LEAST_CELLS = 8
"""The least side of the coarsest level: its attention is made of a map that is halved three times."""


class FeaturePyramidAttention(nn.Module):
    """A map weighed by one of attention, which is made at half, a quarter and an eighth of its size (figure 3).

    The map must have `LEAST_CELLS` pixels and more on either side.
    """

    def __init__(self, in_channels: int, channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        conv = partial(ConvNormAct, bias=True, norm=norm, activation=activation)
        self.branch1 = nn.Sequential(AdaptiveAvgPool(1), conv(in_channels, channels, 1))
        self.mid = nn.Sequential(conv(in_channels, channels, 1))
        self.down1 = nn.Sequential(nn.MaxPool2d(2), conv(in_channels, 1, 7, padding=3))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), conv(1, 1, 5, padding=2))
        self.down3 = nn.Sequential(nn.MaxPool2d(2), conv(1, 1, 3, padding=1), conv(1, 1, 3, padding=1))
        self.conv2 = conv(1, 1, 5, padding=2)
        self.conv1 = conv(1, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h, w)."""
        half = self.down1(x)  # (N, 1, h / 2, w / 2)
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        attention = _corners(eighth, quarter) + self.conv2(quarter)
        attention = _corners(attention, half) + self.conv1(half)
        out: Tensor = _corners(attention, x) * self.mid(x) + self.branch1(x)
        return out


def _corners(x: Tensor, like: Tensor) -> Tensor:
    """Enlarged to the size of another map, corner on corner."""
    return resize(x, like.shape[2:], align_corners=True)


class GlobalAttentionUpsample(nn.Module):
    """A finer level, weighed by the means of what comes from below, plus that itself (figure 4)."""

    def __init__(
        self, in_channels: int, channels: int, *, norm: Norm, activation: Activation, interpolation: Interpolation
    ) -> None:
        super().__init__()
        self.interpolation = interpolation
        gate = ConvNormAct(channels, channels, 1, bias=True, norm=norm, activation=None)
        self.conv1 = nn.Sequential(AdaptiveAvgPool(1), gate, nn.Sigmoid())
        self.conv2 = ConvNormAct(in_channels, channels, 3, padding=1, bias=True, norm=norm, activation=activation)

    def forward(self, level: Tensor, x: Tensor) -> Tensor:
        """The level (N, C, H, W), and what comes from below (N, C', h, w) -> (N, C', H, W)."""
        size = level.shape[2], level.shape[3]
        corners = True if self.interpolation == "bilinear" else None
        enlarged = F.interpolate(x, size=size, mode=self.interpolation, align_corners=corners)
        out: Tensor = enlarged + self.conv2(level) * self.conv1(x)
        return out


class PANHead(nn.Module):
    """The coarsest level with its attention, and up from it through the finer ones.

    Args:
        in_channels: channels of each level, the finest first.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the levels read, the finest first.
        interpolation: how maps are enlarged on their way up.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for levels that do not pair up, and for an interpolation that there is not.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 32,
        in_index: Sequence[int] = (0, 1, 2, 3),
        interpolation: Interpolation = "bilinear",
        dropout_ratio: float = 0.0,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("PANHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.least_cells = LEAST_CELLS
        checked_interpolation("PANHead", interpolation)
        *finer, coarsest = self.in_channels
        self.fpa = FeaturePyramidAttention(coarsest, channels, norm=norm, activation=activation)
        self.gaus = nn.ModuleList(
            GlobalAttentionUpsample(
                width, channels, norm=norm, activation=activation, interpolation=interpolation
            )
            for width in finer
        )  # fmt: skip
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(channels, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, H, W) at the size of the finest level."""
        *finer, coarsest = [features[i] for i in self.in_index]
        x = self._attended(coarsest)
        for gau, level in zip(reversed(self.gaus), reversed(finer), strict=True):
            x = gau(level, x)
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits

    def _attended(self, coarsest: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h, w). Crops of a training may be smaller than predicted images, which are padded."""
        if not self.training:
            attended: Tensor = self.fpa(coarsest)
            return attended
        rows, columns = coarsest.shape[2:]
        padded = F.pad(coarsest, (0, max(LEAST_CELLS - columns, 0), 0, max(LEAST_CELLS - rows, 0)))
        out: Tensor = self.fpa(padded)[:, :, :rows, :columns]
        return out
