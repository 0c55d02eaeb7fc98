"""The largest value of each cell of a grid that a map is divided into.

torch's own layer gives the same numbers, but torch.export takes its grid for a constant; here it may change.

Shape letters: N images, C channels, H, W height and width of the map, h, w of the grid.
"""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor


@torch.fx.wrap
def adaptive_max_pool(x: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) -> (N, C, height, width). Cells share a row or column where the sizes leave a remainder.

    Called as `adaptive_max_pooling.adaptive_max_pool`: torch.fx, for which it is one step, looks for it in this module.
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
