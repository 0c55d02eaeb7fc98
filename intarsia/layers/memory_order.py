"""How a map lies in memory while torch.export follows a network."""

from __future__ import annotations

import torch
from torch import Tensor


def in_order(x: Tensor) -> Tensor:
    """The same; while torch.export follows a network, copied so that it lies in the order of its dimensions.

    Joining dimensions that lie otherwise does that by itself, unless one of them is 1: torch.export would look, and the
    file would then take images alone of which the same is true.
    """
    return x.clone(memory_format=torch.contiguous_format) if torch.compiler.is_exporting() else x
