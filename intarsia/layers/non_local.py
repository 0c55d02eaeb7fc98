"""The non-local block: a pixel becomes itself plus a weighted sum of all pixels.

Paper: Wang et al., Non-local Neural Networks, arXiv:1711.07971.
Original code: https://github.com/facebookresearch/video-nonlocal-net (Caffe2)

Shape letters: N images, C channels of the map, D channels inside the block, h, w height and width, P = h * w pixels.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers import precision
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm
from intarsia.layers.self_attention import attend

Mode = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
"""How two pixels are compared (section 3.2)."""


class NonLocal2d(nn.Module):
    """x + W(y), where y_i sums g(x_j) over all pixels j, weighted by a comparison of x_i with x_j (equations 1 and 6).

    reduction: of the channels inside.
    use_scale: of "embedded_gaussian", whether products are divided by sqrt(D).
    norm: behind the last convolution, which starts at 0: the block starts as the identity (section 4.1).

    Raises ValueError for an unknown mode.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        reduction: int = 2,
        use_scale: bool = True,
        mode: Mode = "embedded_gaussian",
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        check_mode(mode)
        channels = max(in_channels // reduction, 1)
        self.mode = mode
        self.scale = channels**-0.5 if use_scale else 1.0
        self.g = embedding(in_channels, channels)
        self.conv_out = output(channels, in_channels, norm=norm)
        self.theta = None if mode == "gaussian" else embedding(in_channels, channels)
        self.phi = None if mode == "gaussian" else embedding(in_channels, channels)
        self.concat_project = concatenation(channels) if mode == "concatenation" else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        theta = x if self.theta is None else self.theta(x)  # (N, D, h, w)
        phi = x if self.phi is None else self.phi(x)  # (N, D, h, w)
        y = gather(theta, phi, self.g(x), mode=self.mode, scale=self.scale, concat_project=self.concat_project)
        out: Tensor = x + self.conv_out(y)
        return out


# --- What blocks of this kind are made of ---------------------------------------------------------------------------


def check_mode(mode: str) -> None:
    """Raises ValueError for a comparison that there is not."""
    if mode not in get_args(Mode):
        raise ValueError(f"unknown mode {mode!r} of a non-local block; known are {', '.join(get_args(Mode))}")


def embedding(in_channels: int, channels: int) -> ConvNormAct:
    """1 x 1 convolution whose weights start normal with deviation 0.01 (section 4.1), bias 0."""
    layer = ConvNormAct(in_channels, channels, 1, activation=None)
    nn.init.normal_(layer.conv.weight, std=0.01)
    return layer


def output(channels: int, out_channels: int, *, norm: Norm | None) -> ConvNormAct:
    """1 x 1 convolution that gives 0 at first; so does its norm, if there is one."""
    layer = ConvNormAct(channels, out_channels, 1, norm=norm, activation=None)
    last = layer.conv if norm is None else getattr(layer, norm.name)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return layer


def concatenation(channels: int) -> ConvNormAct:
    """What makes one number of a pair of pixels under "concatenation"."""
    return ConvNormAct(2 * channels, 1, 1, bias=False)


def gather(
    theta: Tensor,
    phi: Tensor,
    values: Tensor,
    *,
    mode: Mode,
    scale: float = 1.0,
    concat_project: ConvNormAct | None = None,
) -> Tensor:
    """Sums of `values` (N, D, h, w) over all pixels, weighted by comparing `theta` with `phi`, (N, D', h, w) each, or
    the map itself under "gaussian" -> (N, D, h, w).

    scale: of the products under "embedded_gaussian". concat_project: what compares under "concatenation".
    """
    if mode in ("gaussian", "embedded_gaussian"):
        return attend(theta, phi, values, scale=1.0 if mode == "gaussian" else scale)
    pixels = values.flatten(2)  # (N, D, P)
    if mode == "dot_product":  # taken the other way round, the weights of all pairs (N, P, P) are not needed
        mixing = _mean_over_pixels(pixels, phi.flatten(2)).to(values.dtype)  # (N, D, D')
        out: Tensor = (mixing @ theta.flatten(2)).unflatten(2, theta.shape[2:])
        return out
    assert concat_project is not None
    of_theta, of_phi = concat_project.conv.weight.chunk(2, dim=1)  # (1, D', 1, 1): of a pair, the sum of both
    rows = F.conv2d(theta, of_theta).flatten(2).transpose(1, 2)  # (N, P, 1)
    weights = concat_project.norm_act(rows + F.conv2d(phi, of_phi).flatten(2))  # (N, P, P)
    found: Tensor = _mean_over_pixels(pixels, weights).to(values.dtype).unflatten(2, theta.shape[2:])
    return found


def _mean_over_pixels(weights: Tensor, pixels: Tensor) -> Tensor:
    """Weights (N, K, P) and pixels (N, C, P) -> (N, K, C), in full precision."""
    return precision.sums_over_pixels(weights, pixels) / pixels.shape[2]
