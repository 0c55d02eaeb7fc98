"""What a head reads: one level of the backbone, or several brought to one size.

Shape letters: N images, C channels, h, w height and width of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Bilinear resize (N, C, h, w) -> (N, C, *size)."""
    height, width = size  # taken apart so, torch.fx sees through a size that depends on the input
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=align_corners)


def concat_levels(levels: Sequence[Tensor], *, align_corners: bool = False) -> Tensor:
    """All levels (N, C_i, h_i, w_i) at the size of the first, side by side: (N, sum of C_i, h_0, w_0)."""
    size = levels[0].shape[2:]
    return torch.cat([resize(level, size, align_corners=align_corners) for level in levels], dim=1)


def cropped(x: Tensor, height: int, width: int, *, top: int = 0, left: int = 0) -> Tensor:
    """The part (N, C, height, width) of a map, of a padded one for example."""
    if not torch.compiler.is_compiling():
        return x[:, :, top : top + height, left : left + width]
    # A copy: a view lies in memory in one way with a border and in another without, and torch.export keeps to one.
    x = x.index_select(2, torch.arange(top, top + height, device=x.device))
    return x.index_select(3, torch.arange(left, left + width, device=x.device))


def read_levels(features: Sequence[Tensor], in_index: int | tuple[int, ...], *, align_corners: bool = False) -> Tensor:
    """The level at `in_index`, or all of several levels as one map: (N, sum of C_i, h, w) at the size of the first."""
    if isinstance(in_index, int):
        return features[in_index]
    return concat_levels([features[i] for i in in_index], align_corners=align_corners)


def one_or_several_levels(
    head: str,
    in_index: int | Sequence[int],
    in_channels: int | Sequence[int],
    input_transform: Literal["resize_concat"] | None,
) -> tuple[int | tuple[int, ...], int | tuple[int, ...], int]:
    """`in_index` and `in_channels` of a head that reads with `read_levels`, and the channels of what it gets.

    input_transform: "resize_concat" for several levels, None for one.

    Raises ValueError, naming the head, if the three do not agree.
    """
    if input_transform == "resize_concat":
        indices, channels = paired_levels(head, in_index, in_channels)
        return indices, channels, sum(channels)
    if input_transform is None and isinstance(in_index, int) and isinstance(in_channels, int):
        return in_index, in_channels, in_channels
    raise ValueError(
        f"{head} reads one level unless input_transform is 'resize_concat'; "
        f"got in_index={in_index}, in_channels={in_channels}, input_transform={input_transform!r}"
    )


def paired_levels(
    head: str, in_index: int | Sequence[int], in_channels: int | Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`in_index` and `in_channels` of a head that reads several levels, as tuples of equal length.

    Raises ValueError, naming the head, if they do not pair up.
    """
    if isinstance(in_index, int) or isinstance(in_channels, int) or len(in_index) != len(in_channels):
        raise ValueError(
            f"{head} reads several levels, so in_index and in_channels must be lists of equal length; "
            f"got in_index={in_index} and in_channels={in_channels}"
        )
    return tuple(in_index), tuple(in_channels)
