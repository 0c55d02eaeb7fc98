"""Positions of a map's pixels as vectors.

Vaswani et al., arXiv:1706.03762, section 3.5, for two axes as in DETR (Carion et al., arXiv:2005.12872, appendix A.4).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_positions(height: int, width: int, channels: int, *, like: Tensor, temperature: float = 10000.0) -> Tensor:
    """(height * width, channels): sines and cosines of y, then of x, at `channels` / 4 wavelengths each.

    Coordinates count pixels from 1 and are scaled so that the last is 2 pi. Computed in float32 whatever the dtype of
    `like`, as published weights were trained with it; device and dtype of the result are those of `like`, except that
    a `like` in half precision gets float32, which tells the pixels of a large map apart.
    """
    quarter = torch.arange(channels // 4, device=like.device, dtype=torch.float32)
    wavelength = temperature ** (2 * quarter / (channels // 2))

    def axis(length: int) -> Tensor:
        position = torch.arange(1, length + 1, device=like.device, dtype=torch.float32)
        angle = (position / (length + 1e-6) * (2 * math.pi))[:, None] / wavelength  # (length, channels / 4)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (length, channels / 2)

    y = axis(height)[:, None].expand(-1, width, -1)
    x = axis(width)[None].expand(height, -1, -1)
    return torch.cat([y, x], dim=-1).flatten(0, 1).to(torch.promote_types(like.dtype, torch.float32))


def centres(height: int, width: int, *, like: Tensor) -> Tensor:
    """(height * width, 2): pixel centres as (x, y) in 0..1.

    Computed in float32, as published weights were trained with them, and never given in less: half precision cannot
    tell the pixels of a large map apart.
    """
    y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) / width
    points = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1).flatten(0, 1)
    return points.to(torch.promote_types(like.dtype, torch.float32))
