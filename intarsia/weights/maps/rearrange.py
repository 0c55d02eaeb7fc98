"""The same numbers in another order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


WINDOW = 64
"""Side of the largest window of a Swin Transformer; the published ones have up to 24."""


def as_convolution(weight: Tensor) -> Tensor:
    """A linear layer's weight (out, in) as that of a 1 x 1 convolution: (out, in, 1, 1)."""
    return weight[:, :, None, None]


def reversed_groups(weight: Tensor) -> Tensor:
    """A fusing convolution's weight (C, G * C, 1, 1) whose G input groups come in the opposite order."""
    groups: Tensor = weight.unflatten(1, (-1, weight.shape[0]))  # (C, G, C, 1, 1)
    return groups.flip(1).flatten(1, 2)


def last_group_first(weight: Tensor) -> Tensor:
    """A fusing convolution's weight (C, G * C, 1, 1) whose last input group comes first."""
    groups: Tensor = weight.unflatten(1, (-1, weight.shape[0]))  # (C, G, C, 1, 1)
    return groups.roll(1, dims=1).flatten(1, 2)


def merged_channel_by_channel(weight: Tensor) -> Tensor:
    """Swin's patch merging, weight (2 C, 4 C) or norm (4 C,): from neighbour by neighbour to channel by channel.

    The original's neighbours run down the columns: (0, 0), (1, 0), (0, 1), (1, 1) as (row, column).
    """
    neighbours: Tensor = weight.unflatten(-1, (2, 2, -1))  # (..., column, row, C)
    return neighbours.transpose(-1, -3).flatten(-3)


def relative_positions(table: Tensor) -> Tensor:
    """Which row of Swin's bias table ((2 S - 1)^2, heads) holds for each pair of a window's tokens: (S^2, S^2)."""
    import torch

    if table.shape[0] > (2 * WINDOW - 1) ** 2:
        raise ValueError(f"a table of {table.shape[0]:,} relative positions is of windows larger than {WINDOW}")
    side = (math.isqrt(table.shape[0]) + 1) // 2
    place = torch.arange(side)
    y, x = place.repeat_interleave(side), place.repeat(side)
    return (y[:, None] - y + side - 1) * (2 * side - 1) + (x[:, None] - x + side - 1)
