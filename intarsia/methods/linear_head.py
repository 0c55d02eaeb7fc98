"""The linear head: what a backbone that stands still has learnt, seen through one layer.

Papers: Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, arXiv:2304.07193 (of one level, and
of the last four, "+ms"); Simeoni et al., DINOv3, arXiv:2508.10104.

The levels side by side, dropout of whole channels, a batch norm, a 1 x 1 convolution. The norm matters: levels of a
plain transformer differ in their scale by channel, which one rate for all could not learn away.

Published scores of DINOv3 on ADE20K, one level, mIoU:
    ViT-S 47.0    ViT-S+ 48.8    ViT-B 51.8    ViT-L 54.9    ViT-H+ 54.8    ViT-7B 55.9

Shape letters: N images, C channels of all levels that are read, K classes, h, w height and width of the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.levels import paired_levels, read_levels
from intarsia.layers.norm import Norm

_BN = Norm("BN")


class LinearHead(nn.Module):
    """A norm and a classifier on one level, or on several side by side.

    Args:
        in_channels: channels of the level, or of each.
        num_classes: number of logits.
        in_index: the level, or the levels; several are brought to the size of the first.
        dropout_ratio: of channels, before the norm.
        norm: before the classifier.
        align_corners: how levels are resized here, and logits by those who consume them.

    Raises ValueError if `in_channels` and `in_index` do not pair up.
    """

    in_index: int | tuple[int, ...]
    in_channels: int | tuple[int, ...]

    def __init__(
        self,
        *,
        in_channels: int | Sequence[int],
        num_classes: int,
        in_index: int | Sequence[int] = -1,
        dropout_ratio: float = 0.1,
        norm: Norm = _BN,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(in_index, int) and isinstance(in_channels, int):
            self.in_index, self.in_channels, width = in_index, in_channels, in_channels
        else:
            self.in_index, self.in_channels = paired_levels("LinearHead", in_index, in_channels)
            width = sum(self.in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.dropout = channel_dropout(dropout_ratio)
        self.bn = norm(width)
        self.conv_seg = pixel_classifier(width, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the (first) level read."""
        x = read_levels(features, self.in_index, align_corners=self.align_corners)  # (N, C, h, w)
        logits: Tensor = self.conv_seg(self.bn(self.dropout(x)))  # (N, K, h, w)
        return logits
