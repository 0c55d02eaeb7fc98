"""A convolution of maps that are resized to one size and laid side by side, in less work than the words ask for.

A bilinearly resized map is R x S^T, with a matrix for rows and one for columns, and a convolution is a sum over the
taps of its kernel. Both are linear, so that they may change places: each tap is applied to the map as it is, whose few
pixels cost little, and what it gives is resized and shifted at once, by matrices whose rows are shifted. These are the
same sums in another order, equal to float rounding. Of PSPNet's convolution over its pooled grids half of the work
falls away, and its concatenation is never made; of UPerNet's over its pyramid nearly half, of DeepLabV3's a fifth.

On a processor alone, and in single precision or better: elsewhere nothing was measured, and in half precision numbers
would be rounded more often. Graphs (torch.compile, torch.export, torch.fx, torch.jit) get the plain formulation, and so
do convolutions with hooks, adapters or parametrizations.

Shape letters: N images, C channels of a map, h, w its height and width, H, W those that all are resized to, O channels
behind the convolution, H', W' height and width there, T, S height and width of its kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.conv import ConvNormAct
from intarsia.layers.eager import computes_here
from intarsia.layers.levels import resize

MOST_WORK = 0.3
"""Of a small map's multiply-adds, the share from which on the plain way is as fast: a convolution of 3 x 3 makes twice
as many in a second as the products of matrices here. A map of half the height and width takes 0.35, a quarter 0.1."""
LEAST_SAVED = 1e8
"""Multiply-adds of an image, those of about a millisecond: so much the further operations take. How many images there
are does not count: it would make an image's last bits depend on its company."""


def conv_of_resized(
    conv: ConvNormAct, maps: Sequence[Tensor], *, small: Sequence[int] | None = None, align_corners: bool = False
) -> Tensor:
    """`conv` of all maps (N, C_i, h_i, w_i) side by side, the `small` ones resized to the size of the others.

    -> (N, O, H', W'). small: their places, not those of all maps; all but the first by default.
    """
    small = range(1, len(maps)) if small is None else small
    height, width = next(x for i, x in enumerate(maps) if i not in small).shape[2:]
    kept = _kept_small(conv.conv, maps, small, (height, width)) if _applies(conv, maps) else set()
    resized = {i for i in small if i not in kept}
    large = [
        resize(x, (height, width), align_corners=align_corners) if i in resized else x
        for i, x in enumerate(maps) if i not in kept
    ]  # fmt: skip
    if not kept:
        return conv(_side_by_side(large))  # type: ignore[no-any-return]
    layer, weights = conv.conv, conv.conv.weight.split([x.shape[1] for x in maps], dim=1)
    weight = _side_by_side([each for i, each in enumerate(weights) if i not in kept])
    out = F.conv2d(_side_by_side(large), weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    channels_last = out.stride(1) == 1 < out.shape[1]
    parts = [
        _of_small(maps[i], weights[i], layer, (height, width), align_corners=align_corners, channels_last=channels_last)
        for i in sorted(kept)
    ]
    return conv.norm_act(_with_small(out, parts, channels_last))


def _side_by_side(maps: Sequence[Tensor]) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.cat(list(maps), dim=1)


def _applies(conv: ConvNormAct, maps: Sequence[Tensor]) -> bool:
    """Whether numbers are computed here and now, by a convolution of stride 1 that is its weights and nothing else."""
    layer = conv.conv
    return (
        all(computes_here(x) and x.dtype == layer.weight.dtype for x in maps)
        and type(conv) is ConvNormAct
        and type(layer) is nn.Conv2d
        and type(layer.weight) in (Tensor, nn.Parameter)
        and not conv.same
        and layer.stride == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and not any(_has_hooks(module) for module in (conv, layer))
    )


def _has_hooks(module: nn.Module) -> bool:
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks,
    )  # fmt: skip
    return any(hooks)


def _kept_small(layer: nn.Conv2d, maps: Sequence[Tensor], small: Sequence[int], size: tuple[int, int]) -> set[int]:
    """The places of maps that take few enough multiply-adds as they are; of none where all together save too few."""
    (down, across), (high, wide) = layer.kernel_size, size
    kept, saved = set(), 0
    for i in small:
        channels, height, width = maps[i].shape[1:]
        plain = channels * down * across * high * wide  # of each image and channel behind
        of_taps = channels * down * across * height * width
        of_resizing = down * height * across * width * wide + down * height * wide * high
        if of_taps + of_resizing <= MOST_WORK * plain:
            kept.add(i)
            saved += plain - of_taps - of_resizing
    return kept if saved * layer.out_channels >= LEAST_SAVED else set()


def _of_small(
    x: Tensor,
    weight: Tensor,
    layer: nn.Conv2d,
    size: tuple[int, int],
    *,
    channels_last: bool,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    """What each tap gives, resized across, and the matrix (H', T * h) that does the rest.

    Map (N, C, h, w), its part of the weight (O, C, T, S), size (H, W) -> (N * O, T * h, W'), or in channels last
    (N, T * h, W' * O).
    """
    (n, channels, height, width), (down, across) = x.shape, layer.kernel_size
    rows, columns = (_shifted(x, axis, size[axis], layer, align_corners=align_corners) for axis in (0, 1))

    def taps(order: tuple[int, int, int]) -> Tensor:
        """(N, ..., h, w), with O, T and S in this order."""
        filters = weight.permute(*order, 1).reshape(-1, channels, 1, 1)
        return F.conv2d(x, filters, None, (1, 1), (0, 0), (1, 1), 1)

    if channels_last:
        of_pixels = taps((2, 3, 0)).permute(0, 2, 3, 1).reshape(n, height, width, down, across, -1)
        beside = of_pixels.permute(0, 3, 1, 4, 2, 5).reshape(n * down * height, across * width, -1)
        return torch.bmm(columns.expand(len(beside), -1, -1), beside).view(n, down * height, -1), rows
    of_channels = taps((0, 2, 3)).reshape(-1, down, across, height, width)  # (N * O, T, S, h, w)
    return of_channels.transpose(2, 3).reshape(-1, down * height, across * width) @ columns.T, rows


def _shifted(x: Tensor, axis: int, length: int, layer: nn.Conv2d, *, align_corners: bool = False) -> Tensor:
    """(H', T * h): for each tap, what part each pixel has of the resized one that the tap sees; none of the padding."""
    before, pad, step = x.shape[2 + axis], int(layer.padding[axis]), layer.dilation[axis]
    one_each = torch.eye(before, dtype=x.dtype).view(1, before, before, 1)
    resized = resize(one_each, (length, 1), align_corners=align_corners)[0, :, :, 0].T  # (H, h)
    padded = F.pad(resized, (0, 0, pad, pad))
    after = len(padded) - step * (layer.kernel_size[axis] - 1)
    return torch.cat([padded[tap * step : tap * step + after] for tap in range(layer.kernel_size[axis])], dim=1)


def _with_small(out: Tensor, parts: Sequence[tuple[Tensor, Tensor]], channels_last: bool) -> Tensor:
    """`out` (N, O, H', W') and what the small maps add to it."""
    values = torch.cat([part for part, _ in parts], dim=1)
    rows = torch.cat([matrix for _, matrix in parts], dim=1).expand(len(values), -1, -1)  # (H', sum of T * h)
    if not channels_last:
        return torch.baddbmm(out.flatten(0, 1), rows, values).view(out.shape)
    n, channels, height, width = out.shape
    in_order = out.permute(0, 2, 3, 1).reshape(n, height, width * channels)
    return torch.baddbmm(in_order, rows, values).view(n, height, width, channels).permute(0, 3, 1, 2)
