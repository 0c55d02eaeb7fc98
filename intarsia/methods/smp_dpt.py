"""DPT of segmentation_models.pytorch: any number of levels of a plain transformer, with or without class tokens.

Paper: Ranftl et al., Vision Transformers for Dense Prediction, arXiv:2103.13413.
The form is that of segmentation_models.pytorch (https://github.com/qubvel-org/segmentation_models.pytorch, MIT), over
the levels of any backbone: with the same weights the logits are the same. `methods/dpt.py` is the form of OpenMMLab's
weights.

Deviations from the paper, shared with it: the coarsest level, too, passes a unit before it is fused; where a backbone
has no class token, a linear layer reads the patches alone (or nothing does).

Ours: at odd sizes a fused map is enlarged to the size of the level that it meets.

Shape letters: N images, C channels, K classes, h, w height and width of the grid of patches, L = h * w patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from intarsia.contracts import TokenLevel
from intarsia.layers.activation import GELU, RELU, Activation
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.decoder_block import start_decoder, wide_classifier
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.patch_embed import to_map, to_tokens
from intarsia.layers.residual_conv_unit import ResidualConvUnit

Readout = Literal["ignore", "add", "project", "project_patches"]
READOUTS: tuple[Readout, ...] = ("ignore", "add", "project", "project_patches")
FINEST = 4
"""Stride of the first level of the pyramid; each further one has twice that of the one before."""


class Reassemble(nn.Module):
    """One level: what its token says is read into the map, which is projected and resized (section 3.1).

    stride: of the map. pyramid_stride: what it is brought to. channels: when it is resized. out_channels: at the end.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int,
        pyramid_stride: int,
        readout: Readout,
    ) -> None:
        super().__init__()
        self.readout = readout
        if readout.startswith("project"):
            read = 2 * in_channels if readout == "project" else in_channels
            self.readout_project = nn.Sequential(nn.Linear(read, in_channels), GELU())
        self.project = ConvNormAct(in_channels, channels, 1, activation=None)
        self.resize_layer = _resize_layer(channels, stride, pyramid_stride)
        self.conv = ConvNormAct(channels, out_channels, 3, padding=1, bias=False, activation=None)

    def forward(self, level: Tensor | TokenLevel) -> Tensor:
        """A map (N, C, h, w), with a token (N, C) if it is read -> (N, out_channels, h', w')."""
        out: Tensor = self.conv(self.resize_layer(self.project(self._read(level))))
        return out

    def _read(self, found: Tensor | TokenLevel) -> Tensor:
        if self.readout in ("ignore", "project_patches"):
            patches_alone = cast("Tensor", found)
            if self.readout == "ignore":
                return patches_alone
            return self._projected(patches_alone, to_tokens(patches_alone))
        level = cast("TokenLevel", found)
        if self.readout == "add":
            return level.map + level.token[:, :, None, None]
        patches = to_tokens(level.map)  # (N, L, C)
        return self._projected(level.map, torch.cat([patches, level.token[:, None].expand_as(patches)], dim=-1))

    def _projected(self, like: Tensor, tokens: Tensor) -> Tensor:
        height, width = like.shape[2:]
        return to_map(self.readout_project(tokens), height, width)


def _resize_layer(channels: int, stride: int, pyramid_stride: int) -> nn.Module:
    """From a map of one stride to one of another."""
    if stride == pyramid_stride:
        return nn.Identity()
    if stride % pyramid_stride == 0:
        factor = stride // pyramid_stride
        return nn.ConvTranspose2d(channels, channels, factor, stride=factor)
    return nn.Conv2d(channels, channels, 3, stride=pyramid_stride // stride, padding=1)


class FusionBlock(nn.Module):
    """A level behind a unit, plus what comes from below; another unit (figure 1, right)."""

    def __init__(self, channels: int, *, norm: Norm | None, activation: Activation) -> None:
        super().__init__()
        self.res_conv_unit1 = ResidualConvUnit(channels, norm=norm, activation=activation)
        self.res_conv_unit2 = ResidualConvUnit(channels, norm=norm, activation=activation)
        self.project = ConvNormAct(channels, channels, 1, bias=True, activation=None)

    def forward(self, level: Tensor, below: Tensor | None, size: tuple[int, int]) -> Tensor:
        """The level (N, C, h, w), what comes from below at its size, if anything, and a size -> (N, C, *size)."""
        x = self.res_conv_unit1(level)
        x = self.res_conv_unit2(x if below is None else x + below)
        out: Tensor = self.project(resize(x, size, align_corners=True))
        return out


class SmpDPTHead(nn.Module):
    """Reassembled levels, fused from the coarsest to the finest, and the classifier (figure 1, left).

    Args:
        in_channels: channels of each level, the first first.
        num_classes: number of logits.
        in_index: the levels read, first to last.
        feature_strides: their strides, each a power of two times 4, 8, 16 ..., to which the levels are brought.
        channels: channels of the fusion.
        post_process_channels: channels of each level when it is reassembled.
        readout_type: what becomes of the token that comes with each level: it is added to every patch ("add"), or a
            linear layer reads both ("project"). Without tokens: nothing ("ignore"), or a linear layer reads the patches
            ("project_patches").
        dropout_ratio: of channels, before the classifier.
        norm: behind the convolutions of the fusion.
        activation: before them, and behind the last one.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for levels that do not pair up, strides that are no such powers, or another readout.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        feature_strides: Sequence[int] = (16, 16, 16, 16),
        channels: int = 256,
        post_process_channels: Sequence[int] = (256, 512, 1024, 1024),
        readout_type: Readout = "project",
        dropout_ratio: float = 0.1,
        norm: Norm | None = BN,
        activation: Activation = RELU,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("SmpDPTHead", in_index, in_channels)
        levels = len(self.in_channels)
        if readout_type not in READOUTS:
            raise ValueError(f"SmpDPTHead has the readouts {', '.join(READOUTS)}; got readout_type={readout_type!r}")
        if not levels == len(feature_strides) == len(post_process_channels) or any(
            stride < 1 or stride & (stride - 1) for stride in feature_strides
        ):
            raise ValueError(
                f"SmpDPTHead needs a stride, a power of two, and channels for each of its {levels} levels; got "
                f"feature_strides={list(feature_strides)} and post_process_channels={list(post_process_channels)}"
            )
        self.in_tokens = readout_type in ("add", "project")
        self.feature_strides = tuple(feature_strides)
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.reassemble = nn.ModuleList(
            Reassemble(width, hidden, channels, stride=stride, pyramid_stride=FINEST * 2**i, readout=readout_type)
            for i, (width, hidden, stride) in enumerate(
                zip(self.in_channels, post_process_channels, feature_strides, strict=True)
            )
        )
        self.fusion_blocks = nn.ModuleList(
            FusionBlock(channels, norm=norm, activation=activation) for _ in range(levels)
        )
        self.project = ConvNormAct(channels, channels, 3, padding=1, bias=False, norm=norm, activation=activation)
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(channels, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor] | Sequence[TokenLevel]) -> Tensor:
        """Maps, with tokens if they are read -> logits (N, K, H / 2, W / 2) of images (N, bands, H, W)."""
        levels = [part(features[i]) for part, i in zip(self.reassemble, self.in_index, strict=True)]
        x = None
        for i, block in zip(reversed(range(len(levels))), self.fusion_blocks, strict=True):
            height, width = levels[i].shape[2:]
            size = (levels[i - 1].shape[2], levels[i - 1].shape[3]) if i else (2 * height, 2 * width)
            x = block(levels[i], x, size)
        logits: Tensor = self.conv_seg(self.dropout(self.project(x)))
        return logits
