"""Stochastic depth."""

from __future__ import annotations

from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves out a residual branch for whole samples at random (Huang et al., arXiv:1603.09382).

    In training each sample's branch is zeroed with probability `rate`, and scaled by 1 / (1 - rate) otherwise, so that
    its expectation stays. Nothing happens in evaluation.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"the rate of DropPath must lie in [0, 1); got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, ...)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)  # (N, 1, ...)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        """The rate, for printing."""
        return f"rate={self.rate}"
