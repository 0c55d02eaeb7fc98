"""PMT: queries in blocks of their own, beside what a frozen transformer has seen at several depths.

Paper: tue-mps, Plain Mask Transformer, 2026; code https://github.com/tue-mps/pmt (PyTorch, MIT).
Deviation: while it trains, the original scales the coordinates of DINOv3's rotations at random, here they stand still.
    In the original batch norms are always synchronised.

Published score (original, windows): ADE20K 58.5 (DINOv3-L, 512 x 512).

Shape letters: N images, C channels of the transformer, Q queries, P tokens before the patches (class token, registers),
    h, w height and width of the grid of patches, S = P + h w tokens of an image, T = Q + S, M heads, D channels of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions, OpenLevel, Size
from intarsia.layers.query_masks import (
    ScaleBlock,
    annealing_of,
    attention_mask,
    cut_to,
    mask_perceptron,
    masked_share,
    predicted,
)

ROTATION_BASE = 100.0


class Attention(nn.Module):
    """Self-attention whose last tokens are turned by where they are (DINOv3, arXiv:2508.10104). Keys have no bias."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels, bias=False)
        self.v_proj = nn.Linear(channels, channels)
        self.o_proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(N, T, C), sines and cosines (h w, D) each, who looks at whom (N, 1, T, T) -> (N, T, C)."""
        query, key, value = (
            project(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (N, M, T, D)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = F.scaled_dot_product_attention(turned(query, rotation), turned(key, rotation), value, attn_mask=mask)
        out: Tensor = self.o_proj(found.transpose(1, 2).flatten(2))
        return out


class LayerScale(nn.Module):
    """A factor for each channel of a branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, C)."""
        return tokens * self.lambda1


class Perceptron(nn.Module):
    """Two layers."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(channels, hidden)
        self.down_proj = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, C)."""
        out: Tensor = self.down_proj(F.gelu(self.up_proj(tokens)))
        return out


class Block(nn.Module):
    """A layer as DINOv3 has it."""

    def __init__(self, channels: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, num_heads)
        self.layer_scale1 = LayerScale(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Perceptron(channels, hidden)
        self.layer_scale2 = LayerScale(channels)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """See `Attention`."""
        tokens = tokens + self.layer_scale1(self.attention(self.norm1(tokens), rotation, mask))
        out: Tensor = tokens + self.layer_scale2(self.mlp(self.norm2(tokens)))
        return out


class PMTHead(nn.Module):
    """Queries and the sum of what a plain transformer has seen at several depths, through blocks of their own.

    in_channels, in_index: levels with their tokens before the patches, the final norm behind each. num_queries: masks
    looked for. num_blocks: of the head. num_heads: of each. hidden_channels: of its perceptrons; None: four times as
    many as `in_channels`. num_upscales, annealing_start, annealing_end: as those of `EoMTHead`, as is what training
    looks at.

    The transformer may stand still: several heads can then read one pass of it.

    Weights start as torch draws them, as in the original code.

    Raises ValueError for levels of other numbers of channels, heads that do not divide these into quarters, and
    schedules that are not one ascending pair in 0..1 for each block.
    """

    attn_mask_probs: Tensor
    in_prefix = True

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        num_queries: int = 100,
        num_blocks: int = 6,
        num_heads: int = 16,
        hidden_channels: int | None = 1024,
        num_upscales: int = 2,
        annealing_start: Sequence[float] | None = None,
        annealing_end: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.in_index = tuple(in_channels), tuple(in_index)
        if len(set(self.in_channels)) != 1:
            raise ValueError(f"PMTHead adds up levels, which have one number of channels; got {self.in_channels}")
        channels = self.in_channels[0]
        if channels % (4 * num_heads):
            raise ValueError(f"num_heads must leave each head a multiple of 4 of {channels} channels; got {num_heads}")
        self.num_classes, self.num_upscales, self.num_heads = num_classes, num_upscales, num_heads
        self.annealing = annealing_of(num_blocks, annealing_start, annealing_end)
        count = len(self.in_channels)
        self.bn = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(count))
        self.lateral_projections = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, channels // 2), nn.GELU(), nn.Linear(channels // 2, channels))
            for _ in range(count)
        )
        self.scalers = nn.ParameterList(nn.Parameter(torch.ones(channels)) for _ in range(count))
        self.q = nn.Embedding(num_queries, channels)
        hidden = 4 * channels if hidden_channels is None else hidden_channels
        self.blocks = nn.ModuleList(Block(channels, num_heads, hidden) for _ in range(num_blocks))
        self.decoder_norm = nn.LayerNorm(channels)
        self.upscale = nn.Sequential(*(ScaleBlock(channels) for _ in range(num_upscales)))
        self.mask_head = mask_perceptron(channels)
        self.class_head = nn.Linear(channels, num_classes + 1)
        self.register_buffer("attn_mask_probs", torch.ones(num_blocks))

    def forward(self, features: Sequence[OpenLevel]) -> tuple[MaskPredictions, ...]:
        """The levels -> class logits (N, Q, K + 1) and mask logits (N, Q, H / 4, W / 4), as the last block leaves its
        queries; in training, first as each block finds them.
        """
        levels = [features[index] for index in self.in_index]
        height, width = levels[0].map.shape[2:]
        grid, found = (height, width), []
        lateral = self._lateral(levels)  # (N, S, C)
        queries = self.q.weight.to(lateral.dtype).expand(lateral.shape[0], -1, -1)
        tokens = torch.cat([queries, lateral], dim=1)  # (N, T, C)
        rotation = rotations(grid, lateral.shape[2] // self.num_heads, tokens)
        for i, block in enumerate(self.blocks):
            mask = None
            if self.training:
                found.append(self._predict(tokens, grid))
                prefix = levels[0].prefix.shape[1]
                mask = attention_mask(found[-1].mask_logits, grid, prefix, self.attn_mask_probs[i])
            tokens = block(tokens, rotation, mask)
        found.append(self._predict(tokens, grid))
        return cut_to(found, levels[0].size, levels[0].stride // 2**self.num_upscales)

    def set_training_progress(self, progress: float) -> None:
        """Set the probabilities of masked attention."""
        self.attn_mask_probs.copy_(masked_share(self.annealing, progress), non_blocking=True)

    def _lateral(self, levels: Sequence[OpenLevel]) -> Tensor:
        """The sum of the levels, each normalised over the batch, projected beside itself and scaled."""
        found = []
        for level, norm, project, scale in zip(levels, self.bn, self.lateral_projections, self.scalers, strict=True):
            tokens = torch.cat([level.prefix.transpose(1, 2), level.map.flatten(2)], dim=2)  # (N, C, S)
            seen = norm(tokens).transpose(1, 2)
            found.append((seen + project(seen)) * scale)
        return torch.stack(found).sum(dim=0)

    def _predict(self, tokens: Tensor, grid: Size) -> MaskPredictions:
        """What the queries among the tokens (N, T, C), as they are now, say of the patches."""
        return predicted(
            self.decoder_norm(tokens), self.q.num_embeddings, grid,
            class_head=self.class_head, mask_head=self.mask_head, upscale=self.upscale,
        )  # fmt: skip


def rotations(grid: Size, channels: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Sines and cosines (h w, D) for the patches of a grid: their centres in -1..1, at D / 4 frequencies each way."""
    sides = [(torch.arange(count, device=like.device, dtype=torch.float32) + 0.5) / count * 2 - 1 for count in grid]
    places = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).flatten(0, 1)  # (h w, 2)
    periods = ROTATION_BASE ** (torch.arange(channels // 4, device=like.device, dtype=torch.float32) * 4 / channels)
    angles = (2 * math.pi * places.unsqueeze(-1) / periods).flatten(1).tile(2)  # (h w, D)
    return angles.sin().to(like.dtype), angles.cos().to(like.dtype)


def turned(tokens: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """(N, M, T, D) with the last h w tokens turned, each half of their channels against the other."""
    sines, cosines = rotation
    first = tokens.shape[2] - sines.shape[0]
    rest, patches = tokens[:, :, :first], tokens[:, :, first:]
    left, right = patches.chunk(2, dim=-1)
    return torch.cat([rest, patches * cosines + torch.cat([-right, left], dim=-1) * sines], dim=2)
