"""What decoders of the U-Net kind are made of: a block that enlarges a map, lays a finer level beside it and convolves.

As segmentation_models.pytorch has them (https://github.com/qubvel-org/segmentation_models.pytorch, MIT), whose weights
fit: how maps are enlarged, where attention stands, how parameters start.

Shape letters: N images, C channels, h, w height and width of the coarse map, H, W of the finer level.

A map is enlarged to the size of the level that it meets, so that images of any size will do. Where no level is left, to
twice its own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm

Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "area"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
Attention = Literal["scse"]
REDUCTION = 16


class ScSE(nn.Module):
    """A map scaled by a gate of each channel, plus the same map scaled by a gate of each pixel.

    Paper: Roy et al., Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks,
    arXiv:1803.02579, section 2.3; the two are added, as in arXiv:1808.08127.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, 1)
        self.cse = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.sse = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        of_channels, of_pixels = self.cse(x), self.sse(x)  # (N, C, 1, 1), (N, 1, h, w)
        out: Tensor = x * of_channels + x * of_pixels
        return out


class DecoderBlock(nn.Module):
    """Enlarge, lay a level beside, twice 3 x 3 convolution.

    skip_channels: of the level; 0 where there is none. attention: behind the convolutions, and before them unless
    `attend_input` is False.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        norm: Norm | None,
        activation: Activation,
        attention: Attention | None = None,
        attend_input: bool = True,
        interpolation: Interpolation = "nearest",
    ) -> None:
        super().__init__()
        width = in_channels + skip_channels
        self.interpolation = interpolation
        self.attention1 = ScSE(width) if attention and attend_input else nn.Identity()
        self.conv1 = ConvNormAct(width, out_channels, 3, padding=1, norm=norm, activation=activation)
        self.conv2 = ConvNormAct(out_channels, out_channels, 3, padding=1, norm=norm, activation=activation)
        self.attention2 = ScSE(out_channels) if attention else nn.Identity()

    def forward(self, x: Tensor, *skips: Tensor) -> Tensor:
        """The coarse map (N, C, h, w), and maps of one finer size (N, C', H, W), if any -> (N, C'', H, W)."""
        x = enlarged(x, skips[0] if skips else None, self.interpolation)
        x = self.attention1(torch.cat([x, *skips], dim=1) if skips else x)
        out: Tensor = self.attention2(self.conv2(self.conv1(x)))
        return out


def enlarged(x: Tensor, level: Tensor | None, interpolation: Interpolation) -> Tensor:
    """(N, C, h, w) at the size of a level, or at twice its own."""
    height, width = x.shape[2:]
    size = (2 * height, 2 * width) if level is None else (level.shape[2], level.shape[3])
    return F.interpolate(x, size=size, mode=interpolation)


def center_block(channels: int, *, norm: Norm | None, activation: Activation) -> nn.Sequential:
    """Two convolutions of the coarsest level, for backbones that end with a pooling (VGG)."""
    convs = (ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=activation) for _ in range(2))
    return nn.Sequential(*convs)


def block_widths(
    head: str, in_channels: Sequence[int], decoder_channels: Sequence[int]
) -> tuple[tuple[int, int, int], ...]:
    """Of each block, from the coarsest on: channels of what comes from below, of the level beside it, and its own.

    Blocks beyond the levels have none beside them: with levels of strides 2 to 32, the fifth of five blocks, which then
    gives the size of the image; with levels of strides 4 to 32, the last two.

    Raises ValueError, naming the head, if there are fewer blocks than levels to be met.
    """
    coarsest, *skips = reversed(in_channels)
    blocks = len(decoder_channels)
    if blocks < max(len(skips), 1):
        raise ValueError(
            f"{head} needs a block for each level but the coarsest, and one more for each doubling of the size behind "
            f"them: decoder_channels must have {max(len(skips), 1)} or more numbers for in_channels="
            f"{list(in_channels)}; got {list(decoder_channels)}"
        )
    return tuple(
        zip(
            (coarsest, *decoder_channels[:-1]),
            (*skips, *(0,) * (blocks - len(skips))),
            decoder_channels,
            strict=True,
        )
    )


def checked_interpolation(head: str, interpolation: Interpolation) -> Interpolation:
    """Raises ValueError for a way of enlarging that there is not."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"{head} enlarges by one of {', '.join(INTERPOLATIONS)}; got interpolation={interpolation!r}")
    return interpolation


def checked_attention(head: str, attention: Attention | None) -> Attention | None:
    """Raises ValueError for a kind of attention that there is not."""
    if attention not in (None, "scse"):
        raise ValueError(f"{head} has the attention 'scse' or None; got attention={attention!r}")
    return attention


def start_decoder(module: nn.Module) -> None:
    """Convolutions start Kaiming-uniform by fan_in, for a rectifier behind; bias 0."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


def wide_classifier(channels: int, num_classes: int, kernel_size: int = 3) -> nn.Conv2d:
    """The convolution to the logits (N, C, h, w) -> (N, K, h, w); Xavier-uniform weights, bias 0."""
    conv = nn.Conv2d(channels, num_classes, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
