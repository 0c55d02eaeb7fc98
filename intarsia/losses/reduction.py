"""How sums become means."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over(total: Tensor, count: Tensor | int) -> Tensor:
    """`total / count`, and 0 / 0 = 0: an empty selection has no loss.

    The count is raised by 1.2e-7, as MMSegmentation does it; of a single pixel that is less than float32 can tell.
    """
    if isinstance(count, Tensor):
        count = count.to(total.dtype)
    return total / (count + torch.finfo(torch.float32).eps)
