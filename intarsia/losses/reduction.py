"""What losses share: their precision, and how sums become means."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half-precision numbers as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def mean_over(total: Tensor, count: Tensor | float) -> Tensor:
    """`total / count`, and 0 / 0 = 0: an empty selection has no loss."""
    count = torch.as_tensor(count, dtype=total.dtype, device=total.device)
    return total / count.clamp_min(torch.finfo(torch.float32).eps)
