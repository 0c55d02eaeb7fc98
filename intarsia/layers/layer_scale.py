"""Learned factors on residual branches, which start near zero so that a deep network starts as a shallow one.

Shape letters: N images, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def layer_scale(channels: int, start: float) -> nn.Parameter:
    """One factor for each channel of a branch (C,), all `start` at first (Touvron et al., arXiv:2103.17239, section 2).

    A parameter and no layer, since published weights keep it under a name of the block itself (`gamma`).
    """
    return nn.Parameter(torch.full((channels,), float(start)))


class Scale(nn.Module):
    """One learned factor for a whole branch, `start` at first: 0 lets nothing of it through."""

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(start)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, ...)."""
        return x * self.scale
