"""What stays in float32 where a network computes in half precision: coordinates, and sums over pixels.

bfloat16 has 8 binary digits, not enough to tell the pixels of a map apart; float16 ends at 65,504, which a sum over
the pixels of a map of 128 x 128 passes. torch's own layers (norms, pooling, softmax, interpolation, attention) keep
their sums in float32; what is written out here and in `methods/` does it by these functions.

Those marked `torch.fx.wrap` are one step for torch.fx, which cannot follow a question about a dtype or a device; they
are called as `precision.NAME`, since torch.fx looks for them in this module.

Shape letters: N images, K sums, C channels, P pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.memory_order import in_order


@torch.fx.wrap
def full_precision(x: Tensor) -> Tensor:
    """Half-precision numbers as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(x: Tensor) -> torch.autocast:
    """A context in which operations on the device of `x` keep the precision of what they get."""
    return torch.autocast(x.device.type, enabled=False)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """`layer(x)` in full precision, whatever the layer's weights are in and whatever autocast says."""
    return _linear(x, layer.weight, layer.bias)


def layer_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """`layer(x)` in full precision, whatever the layer's weights are in and whatever autocast says."""
    return _layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


@torch.fx.wrap
def sums_over_pixels(weights: Tensor, pixels: Tensor) -> Tensor:
    """Weights (N, K, P) and pixels (N, C, P) -> weighted sums of pixels (N, K, C), in full precision."""
    with without_autocast(pixels):
        return full_precision(weights) @ in_order(full_precision(pixels).transpose(1, 2))


@torch.fx.wrap
def sums_over_channels(weights: Tensor, pixels: Tensor) -> Tensor:
    """Weights (N, C, K) and pixels (N, C, P) -> weighted sums of channels (N, K, P), in full precision."""
    with without_autocast(pixels):
        return in_order(full_precision(weights).transpose(1, 2)) @ full_precision(pixels)


@torch.fx.wrap
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    with without_autocast(x):
        return F.linear(full_precision(x), full_precision(weight), None if bias is None else full_precision(bias))


@torch.fx.wrap
def _layer_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    weight, bias = (None if given is None else full_precision(given) for given in (weight, bias))
    with without_autocast(x):
        return F.layer_norm(full_precision(x), tuple(shape), weight, bias, eps)
