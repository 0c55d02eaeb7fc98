"""When to take another form of what torch refuses on GPUs where the same bits are wanted (`--deterministic`)."""

from __future__ import annotations

import torch
from torch import Tensor


def wanted_of(x: Tensor) -> bool:
    """Whether what is computed of `x` must not be a sum in an order that changes.

    https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html lists what is refused then.
    """
    return torch.are_deterministic_algorithms_enabled() and x.is_cuda
