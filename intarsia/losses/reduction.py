"""What losses share: their precision, and how sums become means."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half-precision numbers as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def mean_over(total: Tensor, count: Tensor | int) -> Tensor:
    """`total / count`, and 0 / 0 = 0: an empty selection has no loss.

    The count is raised by 1.2e-7, as MMSegmentation does it; of a single pixel that is less than float32 can tell.
    """
    if isinstance(count, Tensor):
        count = count.to(total.dtype)
    return total / (count + torch.finfo(torch.float32).eps)


def mean_over_processes(count: Tensor) -> Tensor:
    """The mean of a number over all processes that train together, the same in each of them; no gradient."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return count
    total = count.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
