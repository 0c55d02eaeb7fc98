"""Residual blocks of convolutions with their norms, and what networks of several resolutions are built of with them.

Blocks: He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, figure 5. Those of ResNet, which its
own weights name otherwise, are in `backbones/resnet.py`.

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm

Project: TypeAlias = Callable[[int, int, int], nn.Module]
"""Channels before, channels behind, stride -> the 1 x 1 convolution of a shortcut with its norm, no activation."""


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut.

    activated: whether an activation follows the sum.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        project: Project,
        activated: bool,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=stride, padding=1, norm=norm, activation=activation)
        self.conv2 = ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=None)
        self.downsample = _shortcut(in_channels, channels, stride, project)
        self.act = activation() if activated else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.conv2(self.conv1(x)) + shortcut
        return out if self.act is None else self.act(out)


class Bottleneck(nn.Module):
    """1 x 1 convolution, 3 x 3, 1 x 1 to twice the channels, beside a shortcut. Arguments as in `BasicBlock`."""

    expansion = 2

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        project: Project,
        activated: bool,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = ConvNormAct(in_channels, channels, 1, norm=norm, activation=activation)
        self.conv2 = ConvNormAct(channels, channels, 3, stride=stride, padding=1, norm=norm, activation=activation)
        self.conv3 = ConvNormAct(channels, out_channels, 1, norm=norm, activation=None)
        self.downsample = _shortcut(in_channels, out_channels, stride, project)
        self.act = activation() if activated else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 2 * channels, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.conv3(self.conv2(self.conv1(x))) + shortcut
        return out if self.act is None else self.act(out)


def residual_stage(
    block: type[BasicBlock | Bottleneck],
    in_channels: int,
    channels: int,
    blocks: int,
    *,
    stride: int = 1,
    project: Project,
    norm: Norm,
    activation: Activation,
) -> nn.Sequential:
    """Blocks of which the first strides. The sum of the last is not activated, since other branches read it too; nor is
    that of the first bottleneck.
    """
    out_channels = channels * block.expansion
    return nn.Sequential(
        *(
            block(
                out_channels if i else in_channels, channels, stride=1 if i else stride, project=project,
                activated=i < blocks - 1 and (i > 0 or block is BasicBlock), norm=norm, activation=activation,
            )
            for i in range(blocks)
        )
    )  # fmt: skip


def residual_stem(
    in_channels: int, channels: int, blocks: int, *, project: Project, norm: Norm, activation: Activation
) -> nn.Sequential:
    """Two strided convolutions and two stages of basic blocks: (N, bands, H, W) -> (N, 2 * channels, H / 8, W / 8)."""

    def conv(before: int) -> ConvNormAct:
        return ConvNormAct(before, channels, 3, stride=2, padding=1, norm=norm, activation=activation)

    def stage(width: int, stride: int) -> nn.Sequential:
        return residual_stage(
            BasicBlock, channels, width, blocks, stride=stride, project=project, norm=norm, activation=activation
        )

    return nn.Sequential(
        conv(in_channels), conv(channels), stage(channels, 1), nn.ReLU(), stage(2 * channels, 2), nn.ReLU()
    )


def _shortcut(in_channels: int, out_channels: int, stride: int, project: Project) -> nn.Module | None:
    return None if stride == 1 and in_channels == out_channels else project(in_channels, out_channels, stride)
