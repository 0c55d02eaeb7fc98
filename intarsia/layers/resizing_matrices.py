"""Resizing as products with two matrices, for networks that are exported: it is separable, as a mean over cells is.

torch's own functions give the same numbers. But how they resize is decided while a network is followed, and not every
format has every kind: OpenVINO leaves antialiasing out without a word.

Shape letters: N images, C channels, H, W height and width before, R, S after; L and M a length before and after.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intarsia.contracts import Size
from intarsia.layers.memory_order import in_order

CUBIC = -0.5
"""The coefficient of the kernel that torch's antialiased resizing has, as Pillow's."""


def resized_by_corners(x: Tensor, size: Size, corners: int | bool) -> Tensor:
    """Bilinear (N, C, H, W) -> (N, C, R, S), as `resize` with align_corners, or without where `corners` is 0.

    corners: 0 or 1; may be a number that depends on a size that is not known while a network is followed.
    """
    rows, columns = (_linear(x.shape[dim], size[dim - 2], corners, x) for dim in (2, 3))
    return by_matrices(x, rows, columns)


def by_matrices(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`rows @ x @ columns.T` of (N, C, H, W), (R, H) and (S, W) -> (N, C, R, S), of maps of one row or column, too.

    The map on the left of both, and in order: torch.export would ask for more than one row before it repeats `rows`
    for each map, or leaves one as it lies.
    """
    across = in_order((x @ columns.T).transpose(2, 3))  # (N, C, S, H)
    return (across @ rows.T).transpose(2, 3)


def _linear(before: int, after: int, corners: int | bool, like: Tensor) -> Tensor:
    """(M, L): what part each pixel has of each new one."""
    place = _numbers(after, like)
    steps: Any = torch.sym_max(after - 1, 1)  # a number, known or not
    by_corners = place * (before - 1) / steps
    by_halves = (place + 0.5) * before / after - 0.5
    centre = (corners * by_corners + (1 - corners) * by_halves).clamp(min=0)
    pixel = _numbers(before, like)
    distance = (torch.minimum(centre, pixel[-1:])[:, None] - pixel).abs()
    return (1 - distance).clamp(min=0).to(like.dtype)


def antialiased_bicubic(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) -> (N, C, R, S), as `F.interpolate(x, size, mode="bicubic", antialias=True)`."""
    rows, columns = (_cubic(x.shape[dim], size[dim - 2], x) for dim in (2, 3))
    return rows @ x @ columns.T


def _cubic(before: int, after: int, like: Tensor) -> Tensor:
    """(M, L): the kernel around each new pixel, as wide as that is where it is wider than an old one."""
    step = before / after
    wide: Any = torch.sym_max(step, 1.0)  # a number, known or not
    centre = (_numbers(after, like) + 0.5) * step
    pixel = _numbers(before, like) + 0.5
    distance = (pixel - centre[:, None]).abs() / wide
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * CUBIC
    kernel = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    return (kernel / kernel.sum(dim=1, keepdim=True)).to(like.dtype)


def _numbers(count: int, like: Tensor) -> Tensor:
    """0, 1 ...: coordinates, for which half precision has no digits."""
    return torch.arange(count, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
