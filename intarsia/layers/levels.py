"""What a head reads: one level of the trunk, or several brought to one size.

Shape letters: N images, C channels, h, w height and width of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Bilinear resize (N, C, h, w) -> (N, C, *size)."""
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=align_corners)


def concat_levels(levels: Sequence[Tensor], *, align_corners: bool = False) -> Tensor:
    """All levels (N, C_i, h_i, w_i) at the size of the first, side by side: (N, sum of C_i, h_0, w_0)."""
    size = levels[0].shape[2:]
    return torch.cat([resize(level, size, align_corners=align_corners) for level in levels], dim=1)


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
