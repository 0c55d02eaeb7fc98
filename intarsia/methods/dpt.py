"""DPT: levels of a plain transformer become a pyramid again, and are fused from the coarsest to the finest.

Paper: Ranftl et al., Vision Transformers for Dense Prediction, arXiv:2103.13413. The backbone is `backbones/vit.py`
    with `output_cls_token`.
Original code: https://github.com/isl-org/DPT

Deviations, shared with OpenMMLab's published weights: none in the computation, but there is no auxiliary head.

Published scores of ViT-B on ADE20K 512x512, 160k steps, single scale (flipped and multi-scale), mIoU: 46.97 (48.34)

Shape letters: N images, C channels, K classes, h, w height and width of the grid of patches, L = h * w patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from intarsia.contracts import TokenLevel
from intarsia.layers.activation import GELU, RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.patch_embed import to_map, to_tokens
from intarsia.layers.residual_conv_unit import ResidualConvUnit

Readout = Literal["ignore", "add", "project"]
LEVELS = 4


class ReassembleBlocks(nn.Module):
    """Reassemble (section 3.1, equations 2 to 6): read the class token into each map, project it, and resize it to a
    quarter, an eighth, a sixteenth and a thirty-second of the image, where patches have 16 pixels.

    readout: what becomes of the class token: nothing, it is added to every patch, or a linear layer reads both.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int], *, readout: Readout) -> None:
        super().__init__()
        self.readout = readout
        self.projects = nn.ModuleList(
            ConvNormAct(width, channels, 1, activation=None)
            for width, channels in zip(in_channels, out_channels, strict=True)
        )
        a, b, _, d = out_channels
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(a, a, 4, stride=4),
                nn.ConvTranspose2d(b, b, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(d, d, 3, stride=2, padding=1),
            ]
        )
        if readout == "project":
            self.readout_projects = nn.ModuleList(
                nn.Sequential(nn.Linear(2 * width, width), GELU()) for width in in_channels
            )

    def forward(self, levels: Sequence[TokenLevel]) -> list[Tensor]:
        """Maps (N, C_i, h, w) with tokens (N, C_i) -> (N, out_channels_i, 4 h, 4 w) and so on, finest first."""
        maps = []
        for i, (project, resize_layer) in enumerate(zip(self.projects, self.resize_layers, strict=True)):
            maps.append(resize_layer(project(self._read(i, levels[i]))))
        return maps

    def _read(self, i: int, level: TokenLevel) -> Tensor:
        """The map (N, C, h, w) with what the class token (N, C) says."""
        if self.readout == "ignore":
            return level.map
        if self.readout == "add":
            return level.map + level.token[:, :, None, None]
        height, width = level.map.shape[2:]
        patches = to_tokens(level.map)  # (N, L, C)
        x = torch.cat([patches, level.token[:, None].expand_as(patches)], dim=-1)  # (N, L, 2 C)
        return to_map(self.readout_projects[i](x), height, width)


class FeatureFusionBlock(nn.Module):
    """Fusion (figure 1, right): what comes from below, plus a level behind a unit; another unit; twice as large.

    first: nothing comes from below, so that there is nothing to add.
    """

    def __init__(self, channels: int, *, first: bool, norm: Norm | None, activation: Activation) -> None:
        super().__init__()
        self.project = ConvNormAct(channels, channels, 1, bias=True, activation=None)
        self.res_conv_unit1 = None if first else ResidualConvUnit(channels, norm=norm, activation=activation)
        self.res_conv_unit2 = ResidualConvUnit(channels, norm=norm, activation=activation)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """(N, C, h, w), and a level of about this size or None -> (N, C, 2 h, 2 w)."""
        if self.res_conv_unit1 is not None and level is not None:
            x = x + self.res_conv_unit1(resize(level, x.shape[2:]))
        x = self.res_conv_unit2(x)
        height, width = x.shape[2:]
        out: Tensor = self.project(resize(x, (2 * height, 2 * width), align_corners=True))
        return out


class DPTHead(nn.Module):
    """Reassembled levels, fused from the coarsest to the finest, and the classifier (figure 1, left).

    It reads a class token with each level (`in_tokens`), as a backbone gives them with `output_cls_token`.

    Args:
        in_channels: channels of each of four levels.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the levels read, first to last.
        post_process_channels: channels of each level when it is reassembled.
        readout_type: what becomes of the class token: "ignore", "add" or "project".
        dropout_ratio: of channels, before the classifier.
        norm: behind the convolutions of the fusion.
        activation: before them, and behind the last one.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError if these are not four levels.
    """

    in_tokens = True

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        post_process_channels: Sequence[int] = (96, 192, 384, 768),
        readout_type: Readout = "ignore",
        dropout_ratio: float = 0.1,
        norm: Norm | None = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("DPTHead", in_index, in_channels)
        if not len(self.in_channels) == len(post_process_channels) == LEVELS:
            raise ValueError(
                f"DPTHead reads {LEVELS} levels; got in_channels={list(in_channels)} and "
                f"post_process_channels={list(post_process_channels)}"
            )
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.reassemble_blocks = ReassembleBlocks(self.in_channels, post_process_channels, readout=readout_type)
        self.convs = nn.ModuleList(
            ConvNormAct(width, channels, 3, padding=1, bias=False, activation=None) for width in post_process_channels
        )
        self.fusion_blocks = nn.ModuleList(
            FeatureFusionBlock(channels, first=i == 0, norm=norm, activation=activation) for i in range(LEVELS)
        )
        self.project = ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, features: Sequence[TokenLevel]) -> Tensor:
        """Maps with class tokens -> logits (N, K, 8 h, 8 w)."""
        levels = self.reassemble_blocks([features[i] for i in self.in_index])
        coarsest, *finer = reversed([conv(x) for conv, x in zip(self.convs, levels, strict=True)])
        first, *blocks = self.fusion_blocks
        x = first(coarsest)
        for block, level in zip(blocks, finer, strict=True):
            x = block(x, level)
        logits: Tensor = self.conv_seg(self.dropout(self.project(x)))
        return logits
