"""The layer that plain transformers are a stack of, with the names of published weights.

Shape letters: N images, C channels, L tokens, M heads.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from intarsia.layers.activation import GELU, Activation
from intarsia.layers.attention import MultiheadAttention
from intarsia.layers.drop_path import DropPath
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.norm import Norm


class SelfAttention(nn.Module):
    """Every token looks at every token. Published weights keep the attention one level deeper: `attn.attn`.

    attn_dropout: of attention weights. dropout: of what comes out.
    """

    def __init__(self, channels: int, num_heads: int, *, bias: bool, attn_dropout: float, dropout: float) -> None:
        super().__init__()
        self.attn = MultiheadAttention(channels, num_heads, bias=bias, dropout=attn_dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, L, C), and what is added to the attention, (N or 1, M or 1, L, L) -> (N, L, C)."""
        out: Tensor = self.dropout(self.attn(x, x, mask))
        return out


class EncoderLayer(nn.Module):
    """Self-attention and a perceptron, each behind a norm and beside a shortcut (Dosovitskiy et al., arXiv:2010.11929,
    equations 2 and 3).

    hidden: channels within the perceptron. qkv_bias: biases in the attention's projections.
    drop_rate: dropout behind the attention and in the perceptron. attn_drop_rate: of attention weights.
    drop_path_rate: how often a whole branch is left out.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        hidden: int,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm: Norm,
        activation: Activation = GELU,
    ) -> None:
        super().__init__()
        self.ln1 = norm(channels)
        self.attn = SelfAttention(channels, num_heads, bias=qkv_bias, attn_dropout=attn_drop_rate, dropout=drop_rate)
        self.ln2 = norm(channels)
        self.ffn = FeedForward(channels, hidden, activation=activation, dropout=drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, L, C), and what is added to the attention, (N or 1, M or 1, L, L) -> (N, L, C)."""
        x = x + self.drop_path(self.attn(self.ln1(x), mask))
        out: Tensor = x + self.drop_path(self.ffn(self.ln2(x)))
        return out


class ListedEncoderLayer(nn.Module):
    """The same layer, whose children other published weights keep in lists: `attentions.0`, `ffns.0`, `norms.0` and
    `norms.1`. Nothing is dropped.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        hidden: int,
        qkv_bias: bool = True,
        norm: Norm,
        activation: Activation = GELU,
    ) -> None:
        super().__init__()
        attention = SelfAttention(channels, num_heads, bias=qkv_bias, attn_dropout=0.0, dropout=0.0)
        self.attentions = nn.ModuleList([attention])
        self.ffns = nn.ModuleList([FeedForward(channels, hidden, activation=activation)])
        self.norms = nn.ModuleList(norm(channels) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, L, C), and what is added to the attention, which spreads to (N, M, L, L) -> (N, L, C)."""
        x = x + self.attentions[0](self.norms[0](x), mask)
        out: Tensor = x + self.ffns[0](self.norms[1](x))
        return out

    def initialise(self, *, attention: float, projection: float, hidden: float) -> None:
        """Weights normal around 0, biases at 0. Deviations: of the attention's stacked projections, of the layers whose
        output is added to the shortcut, and of the layer before the activation.
        """
        attend = cast("SelfAttention", self.attentions[0]).attn
        widen, narrow = (layer for layer in self.ffns.modules() if isinstance(layer, nn.Linear))
        nn.init.normal_(attend.in_proj_weight, std=attention)
        nn.init.normal_(attend.out_proj.weight, std=projection)
        nn.init.normal_(widen.weight, std=hidden)
        nn.init.normal_(narrow.weight, std=projection)
        for layer in (widen, narrow):
            nn.init.zeros_(layer.bias)
