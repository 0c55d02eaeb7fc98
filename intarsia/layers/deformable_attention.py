"""Multi-scale deformable attention in plain PyTorch.

Zhu et al., Deformable DETR, arXiv:2010.04159, section 4.1, equation 3. Instead of comparing a query with every
position, the query itself says where to look (a few points around its place on every level) and how much each counts.

Shape letters: N images, L queries, S positions of all levels together, C channels, M heads, D = C / M, V levels,
    P points. Points are (x, y) in 0..1 of a level's width and height.

Places and weights are in float32 whatever the network computes in: in bfloat16 a place on a map of 256 columns is off
by up to half a column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Size
from intarsia.layers import precision
from intarsia.layers.precision import linear


class DeformableAttention(nn.Module):
    """num_levels, num_points: levels that are looked at, and points on each of them per head. value_ratio: channels of
    the values, as a share of all.

    Offsets start as a star: head m looks in the direction 2 pi m / M, point p at distance p + 1; all weigh the same.
    """

    def __init__(
        self, channels: int, num_heads: int, *, num_levels: int, num_points: int, value_ratio: float = 1.0
    ) -> None:
        super().__init__()
        values = int(channels * value_ratio)
        if channels % num_heads or values % num_heads or not values:
            share = "" if value_ratio == 1 else f", or {values} of their values,"
            raise ValueError(f"{channels} channels{share} cannot be divided among {num_heads} attention heads")
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        self.sampling_offsets = nn.Linear(channels, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(channels, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(channels, values)
        self.output_proj = nn.Linear(values, channels)
        self.initialise()

    def forward(self, query: Tensor, memory: Tensor, reference_points: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Queries (N, L, C), the levels' features (N, S, C), the queries' own points (L, 2) in float32 or wider, and
        the levels' (height, width) -> (N, L, C).
        """
        value = self.value_proj(memory).unflatten(-1, (self.num_heads, -1))  # (N, S, M, D)
        heads = self._gathered(query, precision.full_precision(value), reference_points, sizes)  # (N, L, M * D)
        out: Tensor = self.output_proj(heads.to(value.dtype))
        return out

    def _gathered(self, query: Tensor, value: Tensor, reference_points: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Values (N, S, M, D) at the points that each query looks at, weighted and summed: (N, L, M * D)."""
        points = (self.num_heads, self.num_levels, self.num_points)
        offsets = linear(self.sampling_offsets, query).unflatten(-1, (*points, 2))  # (N, L, M, V, P, 2)
        weights = linear(self.attention_weights, query).unflatten(-1, (self.num_heads, -1))  # (N, L, M, V * P)
        weights = weights.softmax(-1).unflatten(-1, points[1:])  # (N, L, M, V, P)
        total = value.new_zeros(())
        for level, (height, width) in enumerate(sizes):
            size = torch.stack([reference_points.new_full((), side) for side in (width, height)])  # stays dynamic
            sampling_locations = reference_points[:, None, None] + offsets[:, :, :, level] / size  # (N, L, M, P, 2)
            grid = (2 * sampling_locations - 1).transpose(1, 2).flatten(0, 1)  # (N * M, L, P, 2) in -1..1
            start = sum(h * w for h, w in sizes[:level])
            plane = value[:, start : start + height * width].permute(0, 2, 3, 1).flatten(0, 1)  # (N * M, D, h * w)
            sampled = F.grid_sample(plane.unflatten(-1, (height, width)), grid, align_corners=False)  # (N * M, D, L, P)
            of_level = weights[:, :, :, level].transpose(1, 2).flatten(0, 1).unsqueeze(1)  # (N * M, 1, L, P)
            total = total + (sampled * of_level).sum(-1)  # (N * M, D, L)
        heads: Tensor = total.unflatten(0, (-1, self.num_heads)).flatten(1, 2).transpose(1, 2)
        return heads

    def initialise(self) -> None:
        """Begin anew, after somebody has filled all linear layers."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        star = torch.stack([angles.cos(), angles.sin()], -1)  # (M, 2)
        star = star / star.abs().max(-1, keepdim=True).values
        distance = torch.arange(1, self.num_points + 1)[:, None]
        bias = star[:, None, None] * distance  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.weight.zero_()
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.num_levels, -1, -1).flatten())
            self.attention_weights.weight.zero_()
            self.attention_weights.bias.zero_()
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
