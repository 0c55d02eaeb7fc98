"""Mix Transformer (MiT), the backbone of SegFormer.

Paper: Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, arXiv:2105.15203,
    sections 3.1 and A (table 6: B0 to B5).
Original code: https://github.com/NVlabs/SegFormer

Four stages of attention at strides 4, 8, 16, 32. Three ideas: patches overlap, so that neighbours stay connected;
keys and values are reduced in space before attention; and a 3 x 3 convolution inside each feed-forward network
tells positions apart, so that there is no positional encoding and any image size will do.

Deviations, shared with OpenMMLab's published weights: none in the computation; query, key and value projections are
stored in one matrix.

Published scores: see `methods/segformer.py`.

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present stage, L = h * w tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import init_by_group_
from intarsia.layers.drop_path import DropPath
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import PatchEmbed, to_map, to_tokens
from intarsia.layers.spatial_reduction_attention import SpatialReductionAttention

LN = Norm("LN", eps=1e-6)


class MixFFN(nn.Module):
    """Feed-forward network with a 3 x 3 depthwise convolution between its two layers (section 3.1)."""

    def __init__(self, channels: int, hidden: int, *, dropout: float, activation: Activation) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            activation(),
            nn.Dropout(dropout),
            nn.Conv2d(hidden, channels, 1),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        return to_tokens(self.layers(to_map(x, height, width)))


class Block(nn.Module):
    """Attention and feed-forward network, each normalised before and added to its input."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        sr_ratio: int,
        mlp_ratio: int,
        qkv_bias: bool,
        drop_rate: float,
        attn_drop_rate: float,
        drop_path_rate: float,
        norm: Norm,
        inner_norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = SpatialReductionAttention(
            channels,
            num_heads,
            sr_ratio=sr_ratio,
            bias=qkv_bias,
            attn_dropout=attn_drop_rate,
            dropout=drop_rate,
            norm=inner_norm,
        )
        self.norm2 = norm(channels)
        self.ffn = MixFFN(channels, mlp_ratio * channels, dropout=drop_rate, activation=activation)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), height, width))
        out: Tensor = x + self.drop_path(self.ffn(self.norm2(x), height, width))
        return out


class MixVisionTransformer(nn.Module):
    """MiT: per stage a patch embedding, blocks, and a norm.

    B0 is ``embed_dims=32, num_layers=(2, 2, 2, 2), num_heads=(1, 2, 5, 8)``; B1 to B5 have 64 and more layers.

    Args:
        in_channels: bands of the image.
        embed_dims: channels per attention head; a stage has `embed_dims * num_heads` channels.
        num_stages: stages to build; the sequences that follow have one entry for each.
        num_layers: blocks.
        num_heads: attention heads.
        patch_sizes: side of the overlapping patches.
        strides: distance between patches.
        sr_ratios: how much coarser keys and values are than queries, in each direction.
        out_indices: stages whose outputs are returned.
        mlp_ratio: hidden channels of the feed-forward networks per channel.
        qkv_bias: biases in the attention's projections.
        drop_rate: dropout behind attention and in the feed-forward networks.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        activation: of the feed-forward networks.
        norm: everywhere.
        inner_eps: of the norms of patch embeddings and of coarser grids, where it differs from that of `norm`: 1e-5 in
            the weights of the paper's authors and of segmentation_models.pytorch.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Projections start truncated-normal (0.02), convolutions normal by fan_out, norms as identity, as in the original.

    Raises ValueError if a sequence has not one entry per stage.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dims: int = 64,
        num_stages: int = 4,
        num_layers: Sequence[int] = (3, 4, 6, 3),
        num_heads: Sequence[int] = (1, 2, 4, 8),
        patch_sizes: Sequence[int] = (7, 3, 3, 3),
        strides: Sequence[int] = (4, 2, 2, 2),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        mlp_ratio: int = 4,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        activation: Activation = GELU,
        norm: Norm = LN,
        inner_eps: float | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check(num_stages, out_indices, [num_layers, num_heads, patch_sizes, strides, sr_ratios])
        self.out_indices = tuple(out_indices)
        self.least_size = _least_size(patch_sizes, strides, sr_ratios)
        self.checkpoint_activations = checkpoint_activations
        inner_norm = norm if inner_eps is None else replace(norm, eps=inner_eps)
        block = partial(
            Block,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            norm=norm,
            inner_norm=inner_norm,
            activation=activation,
        )
        last = max(sum(num_layers) - 1, 1)
        drop_path_rates = iter([drop_path_rate * i / last for i in range(sum(num_layers))])
        self.layers = nn.ModuleList()
        levels: list[FeatureSpec] = []
        stride = 1
        for stage, heads in enumerate(num_heads):
            channels = embed_dims * heads
            embed = PatchEmbed(
                levels[-1].channels if levels else in_channels,
                channels,
                patch_size=patch_sizes[stage],
                stride=strides[stage],
                padding=patch_sizes[stage] // 2,
                norm=inner_norm,
            )
            blocks = nn.ModuleList(
                block(channels, heads, sr_ratio=sr_ratios[stage], drop_path_rate=next(drop_path_rates))
                for _ in range(num_layers[stage])
            )
            self.layers.append(nn.ModuleList([embed, blocks, norm(channels)]))
            stride *= strides[stage]
            levels.append(FeatureSpec(channels, stride))
        self.features = tuple(levels[stage] for stage in self.out_indices)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        x = images
        outputs: list[Tensor] = []
        for stage, parts in enumerate(self.layers):
            embed, blocks, norm = cast("nn.ModuleList", parts)
            x = embed(x)  # (N, h, w, C)
            height, width = x.shape[1:3]
            x = x.flatten(1, 2)  # (N, L, C)
            for block in cast("nn.ModuleList", blocks):
                x = run_block(block, x, height, width, checkpoint=self.checkpoint_activations)
            x = to_map(norm(x), height, width)  # (N, C, h, w)
            if stage in self.out_indices:
                outputs.append(x)
        return tuple(outputs)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        init_by_group_(module)


def _least_size(patch_sizes: Sequence[int], strides: Sequence[int], sr_ratios: Sequence[int]) -> int:
    """The smallest side of an image of which every stage has a patch for keys and values."""
    side = 1
    while True:
        size = side
        for patch, stride, ratio in zip(patch_sizes, strides, sr_ratios, strict=True):
            size = (size + 2 * (patch // 2) - patch) // stride + 1
            if size < ratio:
                break
        else:
            return side
        side += 1


def _check(num_stages: int, out_indices: Sequence[int], per_stage: Sequence[Sequence[int]]) -> None:
    if any(len(values) != num_stages for values in per_stage):
        raise ValueError(
            f"num_layers, num_heads, patch_sizes, strides and sr_ratios need one entry for each of "
            f"num_stages={num_stages}; got {', '.join(str(tuple(values)) for values in per_stage)}"
        )
    if not out_indices or any(not 0 <= stage < num_stages for stage in out_indices):
        raise ValueError(f"out_indices must name stages from 0 to {num_stages - 1}; got {tuple(out_indices)}")
