"""BEiT: a plain transformer whose layers learn where tokens are to each other.

Paper: Bao et al., BEiT: BERT Pre-Training of Image Transformers, arXiv:2106.08254, sections 2.2 and 3.2. Relative
    positions as in T5 and Swin, factors on the branches as in CaiT (Touvron et al., arXiv:2103.17239).
Original code: https://github.com/microsoft/unilm/tree/master/beit

The paper is about how such a network learns without labels; this is the network, with weights from there.

Deviations, shared with OpenMMLab's published weights: positions of its own for each layer, keys without a bias, no norm
behind the last layer unless `final_norm` is set. One that is not shared: images of another size than `img_size`, which
the original refuses, are padded to whole patches, and the table of relative positions is resized for them.

Published scores with UPerNet on ADE20K 640x640, 160k steps, single scale (flipped and multi-scale), mIoU:
    B 53.08 (53.84)    L 56.33 (56.84)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the grid of patches, L = h * w tokens,
M heads, D = C / M channels per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec, Size
from intarsia.layers import position_embedding
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.attention import join_heads
from intarsia.layers.drop_path import DropPath
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.layer_scale import layer_scale
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import PatchEmbed, to_map
from intarsia.layers.position_embedding import learned_positions, relative_positions_of_all
from intarsia.layers.stages import layer_indices

LN = Norm("LN")

Bias = Literal["none", "query and value", "all"]
"""Which projections of the attention have a bias."""


class Attention(nn.Module):
    """Multi-head attention of all tokens, with a learned bias per relative position.

    grid: height and width in patches that the bias is learned for.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, num_heads: int, *, grid: Size, bias: Bias, dropout: float) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels cannot be divided among {num_heads} attention heads")
        self.num_heads = num_heads
        self.grid = grid
        self.dropout = dropout
        partial_bias = bias == "query and value"
        self.q_bias = nn.Parameter(torch.zeros(channels)) if partial_bias else None
        self.v_bias = nn.Parameter(torch.zeros(channels)) if partial_bias else None
        vectors = (2 * grid[0] - 1) * (2 * grid[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(vectors + 3, num_heads))
        self.register_buffer("relative_position_index", relative_positions_of_all(*grid))
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias == "all")
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, 1 + L, C) -> (N, 1 + L, C)."""
        qkv_bias: Tensor | None = self.qkv.bias
        if self.q_bias is not None and self.v_bias is not None:
            qkv_bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, qkv_bias)  # (N, 1 + L, 3 C)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (N, M, 1 + L, D) each
        bias = position_embedding.relative_position_bias(
            self.relative_position_bias_table, self.relative_position_index, self.grid, (height, width)
        )  # (M, 1 + L, 1 + L)
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, bias[None], dropout_p=dropout)
        joined: Tensor = self.proj(join_heads(out))
        return joined


class Layer(nn.Module):
    """Attention and a perceptron, each behind a norm, scaled, and beside a shortcut."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        grid: Size,
        hidden: int,
        bias: Bias,
        attn_drop_rate: float,
        drop_path_rate: float,
        init_values: float,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.gamma_1 = layer_scale(channels, init_values)
        self.gamma_2 = layer_scale(channels, init_values)
        self.ln1 = norm(channels)
        self.attn = Attention(channels, num_heads, grid=grid, bias=bias, dropout=attn_drop_rate)
        self.ln2 = norm(channels)
        self.ffn = FeedForward(channels, hidden, activation=activation)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, 1 + L, C) -> (N, 1 + L, C)."""
        x = x + self.drop_path(self.gamma_1 * self.attn(self.ln1(x), height, width))
        out: Tensor = x + self.drop_path(self.gamma_2 * self.ffn(self.ln2(x)))
        return out


class RelativeTransformer(nn.Module):
    """What BEiT and MAE have in common: patches and a class token, then layers with relative positions.

    bias: of the attention's projections. absolute: learned positions besides the relative ones.
    Everything else is said by `BEiT`.
    """

    def __init__(
        self,
        *,
        bias: Bias,
        absolute: bool,
        img_size: int | Size,
        patch_size: int,
        in_channels: int,
        embed_dims: int,
        num_layers: int,
        num_heads: int,
        mlp_ratio: float,
        out_indices: int | Sequence[int],
        attn_drop_rate: float,
        drop_path_rate: float,
        norm: Norm,
        activation: Activation,
        patch_norm: bool,
        final_norm: bool,
        init_values: float,
        checkpoint_activations: bool,
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid = (height // patch_size, width // patch_size)
        self.out_indices = layer_indices(out_indices, num_layers)
        self.checkpoint_activations = checkpoint_activations
        self.cls_token = learned_positions(1, embed_dims)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], embed_dims)) if absolute else None
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size=patch_size, norm=norm if patch_norm else None)
        self.layers = nn.ModuleList(
            Layer(
                embed_dims,
                num_heads,
                grid=self.grid,
                hidden=int(mlp_ratio * embed_dims),
                bias=bias,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate * i / max(num_layers - 1, 1),
                init_values=init_values,
                norm=norm,
                activation=activation,
            )
            for i in range(num_layers)
        )
        self.ln1 = norm(embed_dims) if final_norm else None
        self.features = (FeatureSpec(embed_dims, patch_size),) * len(self.out_indices)
        self._initialise()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / patch_size, W / patch_size), rounded up."""
        x = self.patch_embed(images)  # (N, h, w, C)
        height, width = x.shape[1:3]
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], dim=1)  # (N, 1 + L, C)
        if self.pos_embed is not None:
            x = x + position_embedding.resize_positions(
                self.pos_embed, self.grid, (height, width), mode="bicubic", tokens=1
            )
        outputs: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            x = run_block(layer, x, height, width, checkpoint=self.checkpoint_activations)
            if self.ln1 is not None and i == len(self.layers) - 1:
                x = self.ln1(x)
            if i in self.out_indices:
                outputs.append(to_map(x[:, 1:], height, width).contiguous())  # (N, C, h, w)
        return tuple(outputs)

    def _initialise(self) -> None:
        nn.init.kaiming_normal_(self.patch_embed.projection.weight, mode="fan_in", nonlinearity="relu")
        assert self.patch_embed.projection.bias is not None
        nn.init.zeros_(self.patch_embed.projection.bias)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=1e-6 if "ffn" in name else 0.0)


class BEiT(RelativeTransformer):
    """Patches and a class token, then layers of attention with relative positions.

    B is the default; L has ``embed_dims=1024, num_layers=24, num_heads=16, init_values=1e-6``.

    Args:
        img_size: height and width of the images that positions are learned for, or its side; they are resized where
            an image has another size.
        patch_size: side of a patch in pixels.
        in_channels: bands of the image.
        embed_dims: channels of a token.
        num_layers: layers.
        num_heads: attention heads.
        mlp_ratio: hidden channels of the feed-forward networks per channel.
        out_indices: layers whose outputs are returned; -1 is the last.
        qv_bias: biases of queries and values.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last layer; grows linearly from 0 at the first.
        norm: everywhere.
        activation: of the feed-forward networks.
        patch_norm: a norm behind the projection of patches.
        final_norm: a norm behind the last layer.
        init_values: at which the factors of the branches start.
        checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.

    Linear layers, class token and tables of positions start truncated-normal (0.02), the patches' convolution normal by
    fan_in, biases of feed-forward networks near 0, other biases at 0, norms as identity, as in the original.

    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        *,
        img_size: int | Size = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dims: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4,
        out_indices: int | Sequence[int] = -1,
        qv_bias: bool = True,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm: Norm = LN,
        activation: Activation = GELU,
        patch_norm: bool = False,
        final_norm: bool = False,
        init_values: float = 0.1,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__(
            bias="query and value" if qv_bias else "none",
            absolute=False,
            img_size=img_size,
            patch_size=patch_size,
            in_channels=in_channels,
            embed_dims=embed_dims,
            num_layers=num_layers,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            out_indices=out_indices,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            norm=norm,
            activation=activation,
            patch_norm=patch_norm,
            final_norm=final_norm,
            init_values=init_values,
            checkpoint_activations=checkpoint_activations,
        )
