"""The body of an FCN head, which several methods put a block of their own into (FCN, arXiv:1411.4038).

Functions and no module, since published weights keep the layers under names of the head itself (`convs`, `conv_cat`).

Shape letters: N images, C channels, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm


def convolutions(
    in_channels: int,
    channels: int,
    *,
    num_convs: int = 2,
    kernel_size: int = 3,
    dilation: int = 1,
    norm: Norm | None = None,
    activation: Activation = RELU,
) -> nn.Sequential:
    """Convolutions that keep the size, one behind the other."""
    return nn.Sequential(
        *(
            ConvNormAct(
                in_channels if i == 0 else channels,
                channels,
                kernel_size,
                padding=kernel_size // 2 * dilation,
                dilation=dilation,
                norm=norm,
                activation=activation,
            )
            for i in range(num_convs)
        )
    )


def fusion(
    in_channels: int,
    channels: int,
    *,
    kernel_size: int = 3,
    norm: Norm | None = None,
    activation: Activation = RELU,
) -> ConvNormAct:
    """The convolution that reads what goes into the others beside what comes out of them."""
    return ConvNormAct(
        in_channels + channels, channels, kernel_size, padding=kernel_size // 2, norm=norm, activation=activation
    )


def body(
    x: Tensor, convs: nn.Sequential, conv_cat: nn.Module | None, *, block: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """The level (N, C, h, w) through all convolutions and, if there is one, the fusion -> (N, channels, h, w).

    block: what stands behind the first convolution.
    """
    out = x
    for i, conv in enumerate(convs):
        out = conv(out)  # (N, channels, h, w)
        if i == 0 and block is not None:
            out = block(out)  # (N, channels, h, w)
    return out if conv_cat is None else conv_cat(torch.cat([x, out], dim=1))
