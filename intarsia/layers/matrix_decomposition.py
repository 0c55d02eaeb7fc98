"""Non-negative matrix factorisation as a layer: a map described by a few bases, which it finds itself.

Geng et al., Is Attention Better Than Matrix Decomposition?, arXiv:2109.04553 (algorithm 2; multiplicative updates of
Lee, Seung, 2001).

Shape letters: N images, C channels, P pixels, R bases, h, w height and width of the map.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers import precision

EPSILON = 1e-6
"""Added to each denominator."""
SEED = 0
"""Of the bases from which inference begins."""
FIXED = 2
"""Different bases that the images of a batch take in turn at inference: as many as the reference's batches have."""


class NonnegativeFactorisation(nn.Module):
    """Replaces a map without negative values by its best description as a sum of R bases.

    num_bases: R. train_steps, eval_steps: rounds of updates in training and at inference.

    The bases begin at random: in training with new ones in each step, from torch's generator; at inference always with
    the same ones, from a generator of their own.
    """

    def __init__(self, channels: int, *, num_bases: int = 64, train_steps: int = 6, eval_steps: int = 7) -> None:
        super().__init__()
        self.channels = channels
        self.num_bases = num_bases
        self.train_steps = train_steps
        self.eval_steps = eval_steps
        # No buffer, which would be rounded with the weights, and which not every device can hold in float64.
        self.fixed_bases = torch.rand(
            FIXED, channels, num_bases, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64, device="cpu"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NonnegativeFactorisation:
        """Takes the fixed bases along to a device, so that no image waits for them. As bits, which nothing rounds."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        bits = fn(self.fixed_bases.view(torch.int64))
        if bits.device.type not in ("mps", "meta"):
            self.fixed_bases = bits.view(torch.float64)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) without negative values -> (N, C, h, w), in full precision."""
        x = precision.full_precision(x)
        if self.training:
            bases = _drawn(x, self.channels, self.num_bases)  # (N, C, R)
            return factorised(x, bases, self.train_steps)
        return factorised(x, _taken(x, self.fixed_bases), self.eval_steps)


@torch.fx.wrap
def factorised(x: Tensor, bases: Tensor, steps: int) -> Tensor:
    """(N, C, h, w), and bases (N, C, R) to begin with -> their product with the coefficients after so many rounds."""
    height, width = x.shape[2:]
    with precision.without_autocast(x):
        pixels = x.flatten(2)  # (N, C, P)
        bases = F.normalize(bases, dim=1)
        coefficients = (pixels.mT @ bases).softmax(dim=2)  # (N, P, R)
        for _ in range(steps):
            coefficients = _updated(coefficients, pixels.mT, bases)
            bases = _updated(bases, pixels, coefficients)
        coefficients = _updated(coefficients, pixels.mT, bases)
        found: Tensor = (bases @ coefficients.mT).unflatten(2, (height, width))
        return found


@torch.fx.wrap
def _drawn(x: Tensor, channels: int, num_bases: int) -> Tensor:
    return torch.rand(x.shape[0], channels, num_bases, dtype=x.dtype, device=x.device)


@torch.fx.wrap
def _taken(x: Tensor, bases: Tensor) -> Tensor:
    return bases.to(x)[torch.arange(x.shape[0], device=x.device) % bases.shape[0]]


def _updated(factor: Tensor, target: Tensor, other: Tensor) -> Tensor:
    """One multiplicative update of `factor` (N, A, R) towards factor @ other.mT = target (N, A, B)."""
    return factor * (target @ other) / (factor @ (other.mT @ other) + EPSILON)
