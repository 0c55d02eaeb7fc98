"""DANet: attention over positions and, beside it, over channels.

Paper: Fu et al., Dual Attention Network for Scene Segmentation, arXiv:1809.02983.
Original code: https://github.com/junfu1115/DANet

Deviations, shared with OpenMMLab's published weights: none in the computation. Each of the attentions is trained with a
classifier of its own; inference reads that of their sum.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  79.34            R-101  80.41
    Cityscapes 769x769, 80k steps     R-50  79.27 (80.96)    R-101  80.47 (82.02)
    ADE20K 512x512, 160k steps        R-50  42.45 (43.25)    R-101  44.17 (45.02)

Shape letters: N images, C channels, K classes, h, w height and width of the level, P = h * w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.contracts import HeadOutput
from intarsia.layers import precision
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.layer_scale import Scale
from intarsia.layers.norm import Norm
from intarsia.layers.self_attention import attend


class PositionAttention(nn.Module):
    """Pixels attend to pixels (section 3.2). pam_channels: of queries and keys."""

    def __init__(self, channels: int, pam_channels: int) -> None:
        super().__init__()
        self.key_project = nn.Conv2d(channels, pam_channels, kernel_size=1)
        self.query_project = nn.Conv2d(channels, pam_channels, kernel_size=1)
        self.value_project = nn.Conv2d(channels, channels, kernel_size=1)
        self.gamma = Scale(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        context = attend(self.query_project(x), self.key_project(x), self.value_project(x), scale=1.0)
        out: Tensor = self.gamma(context) + x
        return out


class ChannelAttention(nn.Module):
    """Channels attend to channels, the more the less they are alike (section 3.3, and the authors' code)."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = Scale(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        channels = x.flatten(2)  # (N, C, P)
        weights = (-precision.sums_over_pixels(channels, channels)).softmax(dim=2)  # (N, C, C)
        context = (weights.to(x.dtype) @ channels).unflatten(2, x.shape[2:])  # (N, C, h, w)
        out: Tensor = self.gamma(context) + x
        return out


class DAHead(nn.Module):
    """Both attentions, each between two convolutions, and the classifier of their sum (figure 2).

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        pam_channels: channels of queries and keys of the attention over positions.
        num_classes: number of logits.
        in_index: the level read.
        dropout_ratio: of channels, before each classifier.
        norm: behind each 3 x 3 convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        pam_channels: int,
        num_classes: int,
        in_index: int = -1,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()

        def conv(in_channels: int) -> ConvNormAct:
            return ConvNormAct(in_channels, channels, 3, padding=1, norm=norm, activation=activation)

        self.in_index = in_index
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.pam_in_conv = conv(in_channels)
        self.pam = PositionAttention(channels, pam_channels)
        self.pam_out_conv = conv(channels)
        self.pam_dropout = channel_dropout(dropout_ratio)
        self.pam_conv_seg = nn.Conv2d(channels, num_classes, kernel_size=1)
        self.cam_in_conv = conv(in_channels)
        self.cam = ChannelAttention()
        self.cam_out_conv = conv(channels)
        self.cam_dropout = channel_dropout(dropout_ratio)
        self.cam_conv_seg = nn.Conv2d(channels, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) of both attentions together."""
        by_position, by_channel = self._attended(features)
        logits: Tensor = self.conv_seg(self.dropout(by_position + by_channel))  # (N, K, h, w)
        return logits

    def training_outputs(self, features: Sequence[Tensor], *previous_logits: Tensor) -> dict[str, HeadOutput]:
        """Feature maps -> the logits of both attentions, and of each: "", "pam", "cam"; (N, K, h, w) each."""
        by_position, by_channel = self._attended(features)
        return {
            "": self.conv_seg(self.dropout(by_position + by_channel)),
            "pam": self.pam_conv_seg(self.pam_dropout(by_position)),
            "cam": self.cam_conv_seg(self.cam_dropout(by_channel)),
        }

    def _attended(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What each attention makes of the level, (N, channels, h, w) each."""
        x = features[self.in_index]  # (N, C, h, w)
        by_position = self.pam_out_conv(self.pam(self.pam_in_conv(x)))
        by_channel = self.cam_out_conv(self.cam(self.cam_in_conv(x)))
        return by_position, by_channel
