"""How loud each channel of a map is, compared with the others.

Woo et al., ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders, arXiv:2301.00808, section 3.3.

Shape letters: N images, C channels, h, w of the map.
"""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor, nn

from intarsia.layers.precision import full_precision, without_autocast


@torch.fx.wrap
def relative_lengths(x: Tensor, eps: float) -> Tensor:
    """(N, h, w, C) -> of each channel its length over all pixels, in multiples of their mean (N, 1, 1, C)."""
    with without_autocast(x):  # a sum of squares over all pixels is more than 16 bits hold
        length = torch.linalg.vector_norm(full_precision(x), dim=(1, 2), keepdim=True)
        shares: Tensor = length / (length.mean(dim=3, keepdim=True) + eps)
    return shares.to(x.dtype)


class GlobalResponseNorm(nn.Module):
    """Each channel weighted by its length over all pixels, as a share of the mean channel's, beside a shortcut.

    `gamma` and `beta` start at 0, so that nothing is changed at first.
    """

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, C) -> (N, h, w, C)."""
        out: Tensor = self.gamma * (x * relative_lengths(x, self.eps)) + self.beta + x
        return out
