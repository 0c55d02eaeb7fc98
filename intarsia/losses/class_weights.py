"""Weights of classes and the like: settings of a run that follow a loss to its device, and are no part of its weights.

A loss keeps them twice: as a buffer in float32, which moves with the loss (not every accelerator has float64), and as
the numbers themselves, since 0.7 in float32 is not 0.7 where everything else is in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def as_buffer(values: float | Sequence[float] | None) -> Tensor | None:
    """What a loss registers as a buffer, not persistent: (K,), (1,) for a single number, or None."""
    return None if values is None else torch.as_tensor(values, dtype=torch.float32).detach().clone().view(-1)


def in_precision_of(x: Tensor, buffer: Tensor, values: float | Sequence[float]) -> Tensor:
    """The weights (K,) on the device and in the dtype of `x`, as exact as that is."""
    if x.dtype == torch.float64:
        return torch.as_tensor(values, dtype=torch.float64, device=x.device).detach().view(-1)
    return buffer.to(x.dtype)
