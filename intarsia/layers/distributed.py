"""Numbers that belong to all processes that train together."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over_processes(count: Tensor) -> Tensor:
    """The mean of a number over all processes that train together, the same in each of them; no gradient."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return count
    total = count.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
