"""FPN of segmentation_models.pytorch: a feature pyramid and the panels that sum it up, in one head.

Papers: Lin et al., Feature Pyramid Networks for Object Detection, arXiv:1612.03144; Kirillov et al., Panoptic Feature
    Pyramid Networks, arXiv:1901.02446, section 3.1.
The form is that of segmentation_models.pytorch (Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch,
MIT), over the levels of any backbone: with the same weights the logits are the same.

Deviations from the papers, shared with it: the pyramid has no convolution behind its sums; every convolution of a
level's panel is followed by a doubling, corner on corner; panels may be laid side by side instead of summed. The form
of the papers is the neck `FPN` with `FPNHead`.

Ours: at odd sizes panels are resized to the size of the finest.

Shape letters: N images, C channels, K classes, h, w height and width of a map, H, W those of the finest level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.decoder_block import (
    Interpolation,
    checked_interpolation,
    enlarged,
    start_decoder,
    wide_classifier,
)
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import Norm

Merge = Literal["add", "cat"]
GN = Norm("GN", num_groups=32)


class SmpFPNHead(nn.Module):
    """Levels summed from the coarsest down, each brought to the finest by doublings, merged, and the classifier.

    Args:
        in_channels: channels of each level, the finest first; each level has half the size of the one before.
        num_classes: number of logits.
        in_index: the levels read, the finest first.
        pyramid_channels: of the pyramid.
        channels: of each panel. The usual norm wants multiples of 32.
        merge: panels are summed ("add") or laid side by side ("cat").
        interpolation: how a coarser level is brought to a finer one within the pyramid.
        dropout_ratio: of channels, before the classifier.
        norm: behind the convolutions of the panels.
        activation: behind each norm.
        align_corners: how panels are doubled here, and logits resized by those who consume them.

    Raises ValueError for levels that do not pair up, a way of merging or an interpolation that there is not.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        pyramid_channels: int = 256,
        channels: int = 128,
        merge: Merge = "add",
        interpolation: Interpolation = "nearest",
        dropout_ratio: float = 0.2,
        norm: Norm | None = GN,
        activation: Activation = RELU,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("SmpFPNHead", in_index, in_channels)
        if merge not in ("add", "cat"):
            raise ValueError(f"SmpFPNHead merges its panels by 'add' or 'cat'; got merge={merge!r}")
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.interpolation = checked_interpolation("SmpFPNHead", interpolation)
        self.merge = merge
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid_channels, 1) for width in self.in_channels)

        def panel(doublings: int) -> nn.ModuleList:
            widths = [pyramid_channels, *(channels,) * (max(doublings, 1) - 1)]
            return nn.ModuleList(
                ConvNormAct(width, channels, 3, padding=1, bias=False, norm=norm, activation=activation)
                for width in widths
            )

        self.panels = nn.ModuleList(panel(doublings) for doublings in range(len(self.in_channels)))
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        merged = channels if merge == "add" else channels * len(self.in_channels)
        self.conv_seg = wide_classifier(merged, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, H, W) at the size of the finest level."""
        levels = [conv(features[i]) for conv, i in zip(self.laterals, self.in_index, strict=True)]
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + enlarged(levels[i + 1], levels[i], self.interpolation)
        finest, *coarser = [self._panel(i, level) for i, level in enumerate(levels)]
        size = finest.shape[2:]
        panels = [resize(x, size, align_corners=self.align_corners) for x in coarser[::-1]] + [finest]
        x = torch.cat(panels, dim=1) if self.merge == "cat" else torch.stack(panels).sum(dim=0)
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits

    def _panel(self, level: int, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, 2^level h, 2^level w)."""
        for conv in cast("nn.ModuleList", self.panels[level]):
            x = conv(x)
            if level:
                height, width = x.shape[2:]
                x = resize(x, (2 * height, 2 * width), align_corners=self.align_corners)
        return x
