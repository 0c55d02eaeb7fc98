"""RegSeg: few layers that see far, by convolutions of two dilations side by side.

Paper: Gao, Rethinking Dilated Convolution for Real-time Semantic Segmentation, arXiv:2111.09957.
Original code: https://github.com/RolandGao/RegSeg (exp48_decoder26, and exp53_decoder29, a larger network)

Deviations: none in the computation. Names of tensors are the published ones, behind `backbone.` and `decode_head.`; the
head's last layer is called `conv_seg`, as everywhere here. Published files are read by a table of these names
(`weights/legacy_names.py`).

Published scores, single scale, mIoU, and millions of parameters:
    Cityscapes, 1000 epochs, batch 8    base 78.23, the mean of three runs (3.335)    large 79.5, of the test set

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm

STEM_CHANNELS = 32
DILATIONS = ((1,), (1, 2), *((1, 4),) * 4, *((1, 14),) * 7)
"""Of the blocks at stride 16 but the first, which strides: how far each half of the channels looks (section 3.3)."""


class Arch(NamedTuple):
    """Channels at strides 4, 8 and 16 and of the last block, blocks at strides 4 and 8, channels of a group."""

    channels: tuple[int, int, int, int]
    blocks: tuple[int, int]
    group_width: int


ARCHES = {
    "base": Arch((48, 128, 256, 320), (1, 3), 16),
    "large": Arch((48, 120, 336, 384), (2, 6), 24),
}


class ConvBnAct(nn.Module):
    """A convolution that keeps the size but for its stride, a norm, and a rectifier."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, norm: Norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        self.bn = norm(out_channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class SEModule(nn.Module):
    """Scales each channel by a gate made of the means of all channels (Hu et al., arXiv:1709.01507)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        mean = x.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
        gate: Tensor = self.conv2(self.conv1(mean).relu()).sigmoid()
        return x * gate


class DilatedConv(nn.Module):
    """Channels in equal parts, each through a 3 x 3 convolution of its own dilation."""

    def __init__(self, channels: int, dilations: Sequence[int], *, group_width: int, stride: int) -> None:
        super().__init__()
        width = channels // len(dilations)
        self.convs = nn.ModuleList(_grouped(width, d, group_width=group_width, stride=stride) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h / stride, w / stride)."""
        parts = x.chunk(len(self.convs), dim=1)
        return torch.cat([conv(parts[i]) for i, conv in enumerate(self.convs)], dim=1)


def _grouped(channels: int, dilation: int, *, group_width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(
        channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, groups=channels // group_width,
        bias=False,
    )  # fmt: skip


class Shortcut(nn.Module):
    """A 1 x 1 convolution with its norm, behind an average over 2 x 2 pixels where the block strides."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.avg = nn.AvgPool2d(2, 2, ceil_mode=True) if stride != 1 else nn.Identity()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        out: Tensor = self.bn(self.conv(self.avg(x)))
        return out


class DBlock(nn.Module):
    """RegNet's block, Y form, whose groups of channels look in two distances (figure 2)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int] = (1,),
        *,
        group_width: int,
        stride: int = 1,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, out_channels, 1, bias=False), norm(out_channels)
        self.conv2: nn.Module = (
            _grouped(out_channels, dilations[0], group_width=group_width, stride=stride)
            if len(dilations) == 1
            else DilatedConv(out_channels, dilations, group_width=group_width, stride=stride)
        )
        self.bn2 = norm(out_channels)
        self.se = SEModule(out_channels, in_channels // 4)
        self.conv3, self.bn3 = nn.Conv2d(out_channels, out_channels, 1, bias=False), norm(out_channels)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = Shortcut(in_channels, out_channels, stride=stride, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = self.bn1(self.conv1(x)).relu()
        x = self.se(self.bn2(self.conv2(x)).relu())
        out: Tensor = (self.bn3(self.conv3(x)) + shortcut).relu()
        return out


class RegSegBody(nn.Module):
    """The stages behind the stem: one of stride 4, one of stride 8, one of stride 16."""

    def __init__(self, arch: Arch, dilations: Sequence[Sequence[int]], *, norm: Norm) -> None:
        super().__init__()
        (fine, middle, coarse, last), (at4, at8), width = arch

        def block(before: int, behind: int, dilation: Sequence[int] = (1,), stride: int = 1) -> DBlock:
            return DBlock(before, behind, dilation, group_width=width, stride=stride, norm=norm)

        first = [block(STEM_CHANNELS, fine, stride=2), *(block(fine, fine) for _ in range(at4 - 1))]
        self.stage4: nn.Module = nn.Sequential(*first) if at4 > 1 else first[0]
        self.stage8 = nn.Sequential(block(fine, middle, stride=2), *(block(middle, middle) for _ in range(at8 - 1)))
        self.stage16 = nn.Sequential(
            block(middle, coarse, stride=2),
            *(block(coarse, coarse, dilation) for dilation in dilations[:-1]),
            block(coarse, last, dilations[-1]),
        )


class RegSeg(nn.Module):
    """A strided convolution and blocks down to stride 16 (table 1). The levels are those of strides 4, 8 and 16.

    Args:
        arch: "base" is the paper's network, "large" the authors' larger one.
        in_channels: bands of the image.
        dilations: of each block at stride 16 but the first, one for each equal part of its channels.
        norm: behind each convolution.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.

    Layers start as torch's do, as the authors leave them.

    Raises ValueError for an unknown arch, or for dilations whose parts are no whole groups of channels.
    """

    def __init__(
        self,
        *,
        arch: Literal["base", "large"] = "base",
        in_channels: int = 3,
        dilations: Sequence[Sequence[int]] = DILATIONS,
        norm: Norm = BN,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if arch not in ARCHES:
            raise ValueError(f"arch of RegSeg must be one of {', '.join(ARCHES)}; got {arch!r}")
        channels, _, width = ARCHES[arch]
        for place, parts in enumerate(dilations):
            if not parts or channels[3 if place == len(dilations) - 1 else 2] % (len(parts) * width):
                raise ValueError(
                    f"a block of RegSeg splits its channels into whole groups of {width}; got the dilations {parts}"
                )
        self.checkpoint_activations = checkpoint_activations
        self.stem = ConvBnAct(in_channels, STEM_CHANNELS, 3, stride=2, norm=norm)
        self.body = RegSegBody(ARCHES[arch], dilations, norm=norm)
        fine, middle, _, last = channels
        self.features = (FeatureSpec(fine, 4), FeatureSpec(middle, 8), FeatureSpec(last, 16))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> (N, channels, H / stride, W / stride) for strides 4, 8 and 16, rounded up."""
        x, levels = self.stem(images), []
        for stage in (self.body.stage4, self.body.stage8, self.body.stage16):
            x = run_block(stage, x, checkpoint=self.checkpoint_activations)
            levels.append(x)
        return tuple(levels)


class RegSegHead(nn.Module):
    """The coarse levels added, then laid beside a few channels of the finest (figure 4).

    Args:
        in_channels: channels of the levels of strides 4, 8 and 16.
        channels: of the two convolutions of 3 x 3 pixels; twice as many are added before them.
        num_classes: number of logits.
        fine_channels: that the finest level is projected to.
        in_index: the levels read, finest first.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        align_corners: how logits are resized by those who consume them.
        fusion_align_corners: how maps are resized here; None: as logits are.

    Layers start as torch's do, as the authors leave them.

    Raises ValueError unless three levels are read.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int = 64,
        num_classes: int,
        fine_channels: int = 8,
        in_index: Sequence[int] = (0, 1, 2),
        dropout_ratio: float = 0.0,
        norm: Norm = BN,
        align_corners: bool = False,
        fusion_align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("RegSegHead", in_index, in_channels)
        if len(self.in_channels) != 3:
            raise ValueError(f"RegSegHead reads three levels, finest first; got in_channels={self.in_channels}")
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.fusion_align_corners = align_corners if fusion_align_corners is None else fusion_align_corners
        fine, middle, coarse = self.in_channels
        self.head16 = ConvBnAct(coarse, 2 * channels, 1, norm=norm)
        self.head8 = ConvBnAct(middle, 2 * channels, 1, norm=norm)
        self.head4 = ConvBnAct(fine, fine_channels, 1, norm=norm)
        self.conv8 = ConvBnAct(2 * channels, channels, 3, norm=norm)
        self.conv4 = ConvBnAct(channels + fine_channels, channels, 3, norm=norm)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = nn.Conv2d(channels, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the first level read."""
        fine, middle, coarse = (features[i] for i in self.in_index)
        x = self._resized(self.head16(coarse), middle) + self.head8(middle)  # of the middle level's size
        x = self._resized(self.conv8(x), fine)  # (N, channels, h, w)
        x = self.conv4(torch.cat([x, self.head4(fine)], dim=1))
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def _resized(self, x: Tensor, like: Tensor) -> Tensor:
        return resize(x, like.shape[2:], align_corners=self.fusion_align_corners)
