"""Semantic FPN: every level of a feature pyramid brought to the finest one, step by step, and summed.

Paper: Kirillov et al., Panoptic Feature Pyramid Networks, arXiv:1901.02446, the semantic branch (section 3.1).
Original code: https://github.com/facebookresearch/detectron2 (SemSegFPNHead).

The pyramid itself is a neck (`necks/fpn.py`). Deviations, shared with OpenMMLab's published weights: batch norms where
the paper has group norms, and a dropout before the classifier.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  74.52 (76.08)    R-101  75.80 (77.40)
    ADE20K 512x512, 160k steps        R-50  37.49 (39.09)    R-101  39.35 (40.72)

Shape letters: N images, C channels, K classes, h, w height and width of the finest level, h_i, w_i of level i.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import Norm


class FPNHead(nn.Module):
    """Convolutions and doublings from each level up to the finest, their sum, and the classifier (figure 3).

    Args:
        in_channels: channels of each level.
        channels: channels in the head.
        num_classes: number of logits.
        feature_strides: strides of the levels read, finest first; each the first times a power of two. Assembly
            compares them with what the levels have.
        in_index: the levels read, finest first.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how levels are resized here, and logits by those who consume them.

    Raises ValueError for levels that do not pair up, or strides that doublings cannot bring to the first.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        feature_strides: Sequence[int],
        in_index: Sequence[int] = (0, 1, 2, 3),
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("FPNHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)

        def scale_head(width: int, doublings: int) -> nn.Sequential:
            """(N, width, h_i, w_i) -> (N, channels, h, w): a convolution before each doubling, one without any."""
            layers: list[nn.Module] = []
            for _ in range(max(doublings, 1)):
                layers.append(ConvNormAct(width, channels, 3, padding=1, norm=norm, activation=activation))
                if doublings:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners))
                width = channels
            return nn.Sequential(*layers)

        self.feature_strides = tuple(feature_strides)
        doublings = _doublings(feature_strides, levels=len(self.in_channels))
        self.scale_heads = nn.ModuleList(
            scale_head(width, count) for width, count in zip(self.in_channels, doublings, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        finest, *coarser = [head(features[i]) for i, head in zip(self.in_index, self.scale_heads, strict=True)]
        x = finest  # (N, channels, h, w)
        for level in coarser:  # resized, as the sizes of levels are rounded up
            x = x + resize(level, x.shape[2:], align_corners=self.align_corners)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits


def _doublings(strides: Sequence[int], *, levels: int) -> list[int]:
    """How often each level is doubled until it has the stride of the first."""
    finest = strides[0] if strides else 0
    ratios = [stride // finest for stride in strides if finest and stride % finest == 0]
    powers = [ratio.bit_length() - 1 for ratio in ratios if ratio & (ratio - 1) == 0]
    if len(powers) != levels or len(strides) != levels:
        raise ValueError(
            f"feature_strides must give the stride of each of FPNHead's {levels} levels, each the first stride times "
            f"1, 2, 4, 8 ...; got {list(strides)}"
        )
    return powers
