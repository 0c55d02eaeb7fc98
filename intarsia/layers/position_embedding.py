"""Learned positions of tokens, for grids of any size.

`resize_positions` and `relative_position_bias` are called as `position_embedding.resize_positions`, since torch.fx, for
which they are one step, looks for them in this module.

Shape letters: C channels, L = h * w tokens of a grid, T tokens before it that have no place in the grid, M heads, R =
(2 h - 1) * (2 w - 1) vectors from one token of a grid to another.
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


def relative_positions(height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """(L, L): for every pair of tokens of a grid which of the R vectors leads from the second to the first."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )  # (h, w) each
    y, x = y.flatten(), x.flatten()  # (L,)
    down = y[:, None] - y[None, :] + height - 1  # 0 .. 2 h - 2
    right = x[:, None] - x[None, :] + width - 1
    return down * (2 * width - 1) + right


def relative_positions_of_all(height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """(1 + L, 1 + L): the same, with a class token before the grid.

    R, R + 1 and R + 2 stand for what leads from a token of the grid to the class token, the other way, and to itself.
    """
    vectors = (2 * height - 1) * (2 * width - 1)
    grid = F.pad(relative_positions(height, width, device=device), (1, 0, 1, 0))  # (1 + L, 1 + L)
    token = torch.arange(grid.shape[0], device=device) == 0
    grid = torch.where(token[:, None], vectors, grid)
    grid = torch.where(token, vectors + 1, grid)
    return torch.where(token[:, None] & token, vectors + 2, grid)


@torch.fx.wrap
def relative_position_bias(table: Tensor, index: Tensor, grid: Size, size: Size) -> Tensor:
    """What is added to the attention between tokens of a grid of this `size` and a class token: (M, 1 + L', 1 + L').

    table: (R + 3, M), learned for all vectors of another `grid`, and three values for the class token. Where the sizes
    differ, the table is resized about its middle, the way from a token to itself.
    index: `relative_positions_of_all` of the grid that the table is for.
    """
    height, width = size
    if type(height) is not int or size != grid:  # a size that may change is compared with nothing
        vectors, token = table[:-3], table[-3:]
        x = vectors.unflatten(0, (2 * grid[0] - 1, 2 * grid[1] - 1)).permute(2, 0, 1)[None]  # (1, M, 2 h - 1, 2 w - 1)
        x = F.interpolate(x, size=(2 * height - 1, 2 * width - 1), mode="bicubic", align_corners=False)
        table = torch.cat([x[0].flatten(1).transpose(0, 1), token])  # (R' + 3, M)
        index = relative_positions_of_all(height, width, device=table.device)
    return table[index].permute(2, 0, 1)
