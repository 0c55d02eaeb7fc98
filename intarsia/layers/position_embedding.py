"""Learned positions of tokens, for grids of any size.

`resize_positions` is called as `position_embedding.resize_positions`, since torch.fx, for which it is one step, looks
for it in this module.

Shape letters: C channels, L = h * w tokens of a grid, T tokens before it that have no place in the grid.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Size

Interpolation = Literal["bilinear", "bicubic"]


def learned_positions(tokens: int, channels: int) -> nn.Parameter:
    """(1, tokens, C), truncated-normal with deviation 0.02, as vision transformers start."""
    positions = nn.Parameter(torch.zeros(1, tokens, channels))
    nn.init.trunc_normal_(positions, std=0.02)
    return positions


@torch.fx.wrap
def resize_positions(positions: Tensor, grid: Size, size: Size, *, mode: Interpolation, tokens: int = 0) -> Tensor:
    """Positions (1, T + L, C) learned for a grid -> for a grid of another `size`: (1, T + L', C).

    tokens: T, how many come before those of the grid; they are kept as they are (the class token).
    """
    if type(size[0]) is int and size == grid:  # a size that may change is compared with nothing, and comes out the same
        return positions
    height, width = size
    first, rest = positions[:, :tokens], positions[:, tokens:]
    x = rest.unflatten(1, grid).permute(0, 3, 1, 2)  # (1, C, h, w)
    x = F.interpolate(x, size=(height, width), mode=mode, align_corners=False)
    resized = x.permute(0, 2, 3, 1).flatten(1, 2)  # (1, L', C)
    return torch.cat([first, resized], dim=1) if tokens else resized
