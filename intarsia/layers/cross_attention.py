"""Multi-head attention whose keys and values differ, with the parameter names of `torch.nn.MultiheadAttention`.

Shape letters: N images, L queries, S keys, C channels, M heads, D = C / M.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.attention import MultiheadAttention, join_heads


class Attention(nn.Module):
    """The child `attn` of published transformer decoders, which add positions to queries and keys but not to values."""

    def __init__(self, channels: int, num_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.attn = MultiheadAttention(channels, num_heads, dropout=dropout)
        nn.init.xavier_uniform_(self.attn.in_proj_weight)
        nn.init.xavier_uniform_(self.attn.out_proj.weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Queries (N, L, C), keys and values (N, S, C), mask (N, M, L, S), broadcast, True: may look -> (N, L, C)."""
        attention = self.attn
        weights = attention.in_proj_weight.chunk(3)
        biases = (None,) * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, weights[i], biases[i]).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for i, x in enumerate((query, key, value))
        )  # (N, M, L or S, D) each
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=attention.dropout if self.training else 0.0
        )
        joined: Tensor = attention.out_proj(join_heads(out))
        return joined


def initialise_matrices(module: nn.Module) -> None:
    """Every weight of two dimensions or more by both of its fans (Glorot, Bengio, 2010), as transformers start."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
