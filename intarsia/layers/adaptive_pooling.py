"""Means and maxima over the cells of a grid that a map is divided into, for networks that are exported, too.

torch's own layers give the same numbers. But an ONNX file keeps, of a mean, the cells of the size that it was exported
with, and is wrong at any other; and of a maximum, torch.export takes the grid for a constant. On GPUs the gradient of
torch's mean is a sum in an order that changes.

Cell i of n, along L pixels, goes from floor(i L / n) to ceil((i + 1) L / n): cells share a row or column where the
sizes leave a remainder. Shape letters: N images, C channels, H, W height and width of the map, h, w of the grid.
"""

from __future__ import annotations

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers import determinism
from intarsia.layers.resizing_matrices import by_matrices


def adaptive_avg_pool(x: Tensor, cells: int) -> Tensor:
    """(N, C, H, W) -> (N, C, cells, cells), the mean of each cell."""
    in_graph = torch.compiler.is_compiling()  # also where it is exported
    if cells == 1 and in_graph:
        return x.mean((2, 3), keepdim=True)  # the same sum, without asking how the map lies in memory
    if cells == 1 or not (in_graph or determinism.wanted_of(x)):
        return F.adaptive_avg_pool2d(x, cells)  # of which Inductor would make code for one size alone
    rows, columns = (_shares(cells, x.shape[dim], x) for dim in (2, 3))  # (cells, H), (cells, W)
    if not in_graph:
        return rows @ x @ columns.T
    return by_matrices(x, rows, columns)


class AdaptiveAvgPool(nn.Module):
    """`adaptive_avg_pool` as a layer."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, cells, cells)."""
        return adaptive_avg_pool(x, self.cells)


def _shares(cells: int, length: int, like: Tensor) -> Tensor:
    """(cells, length): what part each pixel is of each cell. A mean is separable: two of these are all of it."""
    cell = torch.arange(cells, device=like.device)[:, None]
    first, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    pixel = torch.arange(length, device=like.device)
    inside = (pixel >= first) & (pixel < end)
    return inside.to(like.dtype) / (end - first).to(like.dtype)


@torch.fx.wrap
def adaptive_max_pool(x: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) -> (N, C, height, width), the largest value of each cell.

    Called as `adaptive_pooling.adaptive_max_pool`: torch.fx, for which it is one step, looks for it in this module.
    """
    return _largest(_largest(x, height, 2), width, 3)


def _largest(x: Tensor, cells: int, dim: int) -> Tensor:
    """Of each of so many ranges along a dimension."""
    length = x.shape[dim]
    cell = torch.arange(cells, device=x.device)
    first = cell * length // cells
    last = ((cell + 1) * length + cells - 1) // cells - 1
    longest = (length + cells - 1) // cells + 1
    index = first[:, None] + torch.arange(longest, device=x.device)
    index = torch.minimum(index, last[:, None])  # (cells, longest): what is short repeats its last
    ranges = x.index_select(dim, index.flatten()).unflatten(dim, (cells, longest))
    largest: Tensor = ranges.max(dim=dim + 1).values
    return largest
