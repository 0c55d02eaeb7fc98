"""Maps as windows of tokens, and back.

Maps are kept channels last. A map that is no whole number of windows is padded with zeros below and to the right.

Shape letters: N images, C channels, h, w height and width of a map, S the side of a window, L = S * S tokens in it,
G = rows * columns windows in a map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import Size
from intarsia.layers.memory_order import in_order
from intarsia.layers.patch_embed import pieces_and_padding


def pad_to_windows(x: Tensor, side: int) -> tuple[Tensor, Size]:
    """(N, h, w, C) -> (N, rows * S, columns * S, C), with rows and columns."""
    rows, below = pieces_and_padding(x.shape[1], side)  # by index: torch.fx cannot go through a shape
    columns, right = pieces_and_padding(x.shape[2], side)
    return F.pad(x, (0, 0, 0, right, 0, below)), (rows, columns)


def split_windows(x: Tensor, side: int, windows: Size) -> Tensor:
    """(N, rows * S, columns * S, C) -> (N, G, L, C)."""
    rows, columns = windows
    x = x.unflatten(2, (columns, side)).unflatten(1, (rows, side))  # (N, rows, S, columns, S, C)
    return in_order(x.transpose(2, 3)).flatten(3, 4).flatten(1, 2)


def join_windows(x: Tensor, side: int, windows: Size) -> Tensor:
    """(N, G, L, C) -> (N, rows * S, columns * S, C)."""
    x = x.unflatten(2, (side, side)).unflatten(1, windows).transpose(2, 3)  # (N, rows, S, columns, S, C)
    return in_order(x).flatten(3, 4).flatten(1, 2)


def crop_to(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left part (N, height, width, C) of a padded map."""
    if not torch.compiler.is_compiling():
        return x[:, :height, :width]
    # A copy instead of a view, which lies in memory in one way with padding and in another without: torch.export would
    # keep to the one that it sees.
    x = x.index_select(1, torch.arange(height, device=x.device))
    return x.index_select(2, torch.arange(width, device=x.device))
