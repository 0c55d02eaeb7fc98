"""Attention whose keys and values come from a coarser grid, which pyramid transformers afford at fine strides.

Shape letters: N images, C channels, h, w height and width of a map, L = h * w tokens, S tokens of the coarser grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intarsia.layers.attention import MultiheadAttention
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import to_map, to_tokens


class SpatialReductionAttention(nn.Module):
    """Self-attention whose keys and values are taken from a grid coarser by `sr_ratio` (Wang et al., PVT,
    arXiv:2102.12122, section 3.3; here as in SegFormer, section 3.1, and Twins, equation 3).

    bias: in the attention's projections. attn_dropout: of attention weights. dropout: of what comes out.
    norm: of the tokens of the coarser grid.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        sr_ratio: int,
        bias: bool,
        attn_dropout: float,
        dropout: float,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.attn = MultiheadAttention(channels, num_heads, bias=bias, dropout=attn_dropout)
        self.dropout = nn.Dropout(dropout)
        self.sr = nn.Conv2d(channels, channels, sr_ratio, stride=sr_ratio) if sr_ratio > 1 else None
        self.norm = norm(channels) if sr_ratio > 1 else None

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        memory = x
        if self.sr is not None and self.norm is not None:
            memory = self.norm(_tokens(self.sr(to_map(x, height, width))))  # (N, S, C)
        out: Tensor = self.dropout(self.attn(x, memory))
        return out


def _tokens(x: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, S, C)."""
    if not torch.compiler.is_exporting():
        return to_tokens(x)
    return x.flatten(2).transpose(1, 2)  # the other way, torch.export would ask for more than one token
