"""Attention of every pixel over pixels, of the same map or another one.

Blocks are written out in `methods/`, each with the names of its own published weights; what they share is here.

Shape letters: N images, C, D channels, h, w height and width of a map, P = h * w pixels, S pixels that are looked at.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.memory_order import in_order
from intarsia.layers.norm import Norm


def projection(
    in_channels: int, channels: int, *, num_convs: int = 1, norm: Norm | None = None, activation: Activation = RELU
) -> nn.Module:
    """1 x 1 convolutions, each with norm and activation; a single one is not wrapped, so that it keeps its name."""
    convs = [
        ConvNormAct(in_channels if i == 0 else channels, channels, 1, norm=norm, activation=activation)
        for i in range(num_convs)
    ]
    return convs[0] if num_convs == 1 else nn.Sequential(*convs)


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    """Each pixel of `query` (N, D, h, w) gets a mean of `value` (N, C, ...) -> (N, C, h, w).

    The weights are the softmax, over all pixels of `key` (N, D, ...), of the products with them times `scale`.

    scale: 1 / sqrt(D) unless given (Vaswani et al., arXiv:1706.03762).
    """
    # Contiguous and with a dimension for heads, fused kernels exist that never store the (N, P, S) weights.
    tokens = (in_order(x.flatten(2).transpose(1, 2)).contiguous() for x in (query, key, value))
    q, k, v = (x.unsqueeze(1) for x in tokens)  # (N, 1, P or S, D)
    context = F.scaled_dot_product_attention(q, k, v, scale=scale).squeeze(1)  # (N, P, C)
    out: Tensor = context.transpose(1, 2).unflatten(2, query.shape[2:])
    return out
