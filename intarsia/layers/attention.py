"""Multi-head attention with the parameter names of `torch.nn.MultiheadAttention`.

Shape letters: N images, C channels, L query tokens, S key tokens, M heads, D channels per head (C = M * D).

Published transformers keep query, key and value projections stacked in `in_proj_weight`. The attention itself goes
through scaled_dot_product_attention, which never stores the (N, M, L, S) matrix where a fused kernel exists.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.memory_order import in_order


class MultiheadAttention(nn.Module):
    """Attention of `query` over `memory`, which gives keys and values (Vaswani et al., arXiv:1706.03762).

    bias: of all projections. dropout: of the attention weights, in training.

    Projections start truncated-normal with deviation 0.02, as vision transformers do; biases 0.
    """

    in_proj_bias: nn.Parameter | None

    def __init__(self, channels: int, num_heads: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels cannot be divided among {num_heads} attention heads")
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels)) if bias else None
        self.out_proj = nn.Linear(channels, channels, bias=bias)
        for weight in (self.in_proj_weight, self.out_proj.weight):
            nn.init.trunc_normal_(weight, std=0.02)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Query (N, L, C), memory (N, S, C), and what is added to the attention, which spreads to (N, M, L, S), or
        None -> (N, L, C).
        """
        channels = query.shape[-1]
        q_weight, kv_weight = self.in_proj_weight.split([channels, 2 * channels])
        q_bias, kv_bias = (
            (None, None) if self.in_proj_bias is None else self.in_proj_bias.split([channels, 2 * channels])
        )
        q = F.linear(query, q_weight, q_bias)  # (N, L, C)
        k, v = F.linear(memory, kv_weight, kv_bias).chunk(2, dim=-1)  # (N, S, C) each
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))  # (N, M, L or S, D) each
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)  # (N, M, L, D)
        joined: Tensor = self.out_proj(join_heads(out))  # (N, L, C)
        return joined


def join_heads(x: Tensor) -> Tensor:
    """(..., M, L, D) of scaled_dot_product_attention -> (..., L, C)."""
    x = x.transpose(-3, -2)
    # Its fused kernels leave heads last in memory, so that nothing is copied. What takes their place in an ONNX file
    # does not: without this copy, the graph would keep to the layout that it saw.
    return in_order(x).flatten(-2)
