"""Twins: pyramid transformers whose positions come from a convolution (PCPVT), and from windows as well (SVT).

Paper: Chu et al., Twins: Revisiting the Design of Spatial Attention in Vision Transformers, arXiv:2104.13840,
    sections 3.1 (PCPVT) and 3.2 (SVT), tables 10 and 11.
Original code: https://github.com/Meituan-AutoML/Twins

Both have four stages at strides 4, 8, 16, 32, and behind the first block of each a 3 x 3 convolution that tells
positions apart, so that any image size will do. PCPVT attends to a coarser grid; SVT to the token's window and to a
coarser grid, block by block in turn.

Deviations, shared with OpenMMLab's published weights: none. One that the paper does not mention and the original code
has: tokens of SVT do not see the padding of their window only where the map is padded both below and to the right.

Published scores on ADE20K 512x512, single scale (flipped and multi-scale), mIoU:
                                PCPVT-S          PCPVT-B          PCPVT-L
    Semantic FPN, 80k steps     43.26 (44.11)    45.66 (46.48)    45.94 (46.70)
    UPerNet, 160k steps         46.04 (46.92)    47.91 (48.64)    49.35 (50.08)
                                SVT-S            SVT-B            SVT-L
    Semantic FPN, 80k steps     44.47 (45.42)    46.77 (47.47)    46.55 (47.74)
    UPerNet, 160k steps         46.08 (46.96)    48.04 (48.87)    49.65 (50.63)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present stage, L = h * w tokens,
G windows in a map, S tokens in a window, M heads, D = C / M channels per head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec, Size
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.attention import join_heads
from intarsia.layers.conv import init_by_group_
from intarsia.layers.drop_path import DropPath
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.memory_order import in_order
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import PatchEmbed, to_map, to_tokens
from intarsia.layers.spatial_reduction_attention import SpatialReductionAttention
from intarsia.layers.stages import checked_out_indices
from intarsia.layers.windows import crop_to, join_windows, pad_to_windows, split_windows

LN = Norm("LN")

MASKED = -1000.0
"""Added to the attention between a token and the padding of its window; the original's value."""

torch.fx.wrap("_padding_mask")  # for torch.fx one step: it makes no tensors of a size that depends on the input


class WindowAttention(nn.Module):
    """Multi-head attention within each window of a map ("locally-grouped", equation 4)."""

    def __init__(
        self, channels: int, num_heads: int, *, window_size: int, qkv_bias: bool, attn_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.attn_dropout = attn_dropout
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        side = self.window_size
        padded, windows = pad_to_windows(x.unflatten(1, (height, width)), side)
        x = split_windows(padded, side, windows)  # (N, G, S, C)
        groups = x.shape[1]
        mask = _padding_mask(padded, height, width, side, windows)  # (G, S, S)
        mask = in_order(mask[:, None].expand(-1, self.num_heads, -1, -1)).flatten(0, 1)  # (G * M, S, S)
        # Windows count as heads, so that one mask for all images needs no copy.
        qkv = in_order(self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5))
        q, k, v = qkv.flatten(2, 3)
        dropout = self.attn_dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)  # (N, G * M, S, D)
        out = join_heads(out.unflatten(1, (groups, -1)))  # (N, G, S, C)
        out = crop_to(join_windows(out, side, windows), height, width).flatten(1, 2)  # (N, L, C)
        joined: Tensor = self.dropout(self.proj(out))
        return joined


class PositionEncoding(nn.Module):
    """Adds to each token what a 3 x 3 convolution makes of its neighbours (Chu et al., arXiv:2102.10882)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        return x + to_tokens(self.proj(to_map(x, height, width)))


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a shortcut."""

    def __init__(
        self,
        attention: nn.Module,
        channels: int,
        *,
        hidden: int,
        drop_rate: float,
        drop_path_rate: float,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = attention
        self.norm2 = norm(channels)
        self.ffn = FeedForward(channels, hidden, dropout=drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), height, width))
        out: Tensor = x + self.drop_path(self.ffn(self.norm2(x)))
        return out


class Twins(nn.Module):
    """What PCPVT and SVT have in common: all but the attention.

    attentions: of each block of each stage, called with tokens (N, L, C), h and w.
    """

    def __init__(
        self,
        attentions: Sequence[Sequence[nn.Module]],
        *,
        in_channels: int,
        embed_dims: Sequence[int],
        patch_sizes: Sequence[int],
        strides: Sequence[int],
        mlp_ratios: Sequence[int],
        sr_ratios: Sequence[int],
        out_indices: Sequence[int],
        drop_rate: float,
        drop_path_rate: float,
        norm: Norm,
        norm_after_stage: bool,
        checkpoint_activations: bool,
    ) -> None:
        super().__init__()
        stages = range(len(attentions))
        self.out_indices = checked_out_indices(out_indices, len(stages))
        self.checkpoint_activations = checkpoint_activations
        blocks = sum(len(stage) for stage in attentions)
        rates = iter([drop_path_rate * i / max(blocks - 1, 1) for i in range(blocks)])
        self.patch_embeds = nn.ModuleList(
            PatchEmbed(width, channels, patch_size=patch_size, stride=stride, norm=norm)
            for width, channels, patch_size, stride in zip(
                (in_channels, *embed_dims), embed_dims, patch_sizes, strides, strict=False
            )
        )
        self.position_encoding_drops = nn.ModuleList(nn.Dropout(drop_rate) for _ in stages)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                Block(
                    attention,
                    embed_dims[stage],
                    hidden=mlp_ratios[stage] * embed_dims[stage],
                    drop_rate=drop_rate,
                    drop_path_rate=next(rates),
                    norm=norm,
                )
                for attention in attentions[stage]
            )
            for stage in stages
        )
        self.position_encodings = nn.ModuleList(PositionEncoding(channels) for channels in embed_dims)
        self.norm_list = nn.ModuleList(norm(channels) for channels in embed_dims) if norm_after_stage else None
        levels = [FeatureSpec(embed_dims[stage], math.prod(strides[: stage + 1])) for stage in stages]
        self.features = tuple(levels[stage] for stage in self.out_indices)
        self.least_size = max(
            (ratio - 1) * level.stride + 1 for ratio, level in zip(sr_ratios, levels, strict=True)
        )  # so that every stage has a token for keys and values
        self.apply(_initialise)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / stride, W / stride), rounded up."""
        x = images
        outputs: list[Tensor] = []
        for stage, embed in enumerate(self.patch_embeds):
            x = embed(x)  # (N, h, w, C)
            height, width = x.shape[1:3]
            x = self.position_encoding_drops[stage](x.flatten(1, 2))  # (N, L, C)
            for i, block in enumerate(cast("nn.ModuleList", self.layers[stage])):
                x = run_block(block, x, height, width, checkpoint=self.checkpoint_activations)
                if i == 0:
                    x = self.position_encodings[stage](x, height, width)
            if self.norm_list is not None:
                x = self.norm_list[stage](x)
            x = to_map(x, height, width)  # (N, C, h, w)
            if stage in self.out_indices:
                outputs.append(in_order(x).contiguous())
        return tuple(outputs)


class PCPVT(Twins):
    """PVT with positions from a convolution behind the first block of each stage (figure 1).

    S is the default with ``embed_dims=(64, 128, 320, 512), num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4),
    qkv_bias=True``; B has that and ``depths=(3, 4, 18, 3)``, L ``(3, 8, 27, 3)``.

    Args:
        in_channels: bands of the image.
        embed_dims: channels of each stage.
        patch_sizes: sides of the patches that each stage reads.
        strides: distances between them.
        num_heads: attention heads of each stage.
        mlp_ratios: hidden channels of the feed-forward networks per channel, in each stage.
        out_indices: stages whose outputs are returned.
        qkv_bias: biases in the attention's projections.
        drop_rate: dropout behind the embeddings, attention, and in the feed-forward networks.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        norm: everywhere.
        depths: blocks of each stage.
        sr_ratios: how much coarser keys and values are than queries, in each direction and stage.
        norm_after_stage: a norm behind each stage.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Linear layers start truncated-normal (0.02) with biases at 0, convolutions normal by the fan_out of their group,
    norms as identity, as in the original.

    Raises ValueError if a sequence has not one entry per stage.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dims: Sequence[int] = (64, 128, 256, 512),
        patch_sizes: Sequence[int] = (4, 2, 2, 2),
        strides: Sequence[int] = (4, 2, 2, 2),
        num_heads: Sequence[int] = (1, 2, 4, 8),
        mlp_ratios: Sequence[int] = (4, 4, 4, 4),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        qkv_bias: bool = False,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm: Norm = LN,
        depths: Sequence[int] = (3, 4, 6, 3),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        norm_after_stage: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        _check(depths, embed_dims, patch_sizes, strides, num_heads, mlp_ratios, sr_ratios)
        attention = partial(
            SpatialReductionAttention, bias=qkv_bias, attn_dropout=attn_drop_rate, dropout=drop_rate, norm=norm
        )
        super().__init__(
            [
                [attention(channels, heads, sr_ratio=ratio) for _ in range(depth)]
                for channels, heads, ratio, depth in zip(embed_dims, num_heads, sr_ratios, depths, strict=True)
            ],
            in_channels=in_channels,
            embed_dims=embed_dims,
            patch_sizes=patch_sizes,
            strides=strides,
            mlp_ratios=mlp_ratios,
            sr_ratios=sr_ratios,
            out_indices=out_indices,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            norm=norm,
            norm_after_stage=norm_after_stage,
            checkpoint_activations=checkpoint_activations,
        )


class SVT(Twins):
    """Blocks that attend to their window and blocks that attend to a coarser grid, in turn (figure 2).

    S is the default with ``qkv_bias=True``; B has that and ``embed_dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24),
    depths=(2, 2, 18, 2)``, L ``(128, 256, 512, 1024)`` and ``(4, 8, 16, 32)`` with the same depths.

    Args:
        in_channels: bands of the image.
        embed_dims: channels of each stage.
        patch_sizes: sides of the patches that each stage reads.
        strides: distances between them.
        num_heads: attention heads of each stage.
        mlp_ratios: hidden channels of the feed-forward networks per channel, in each stage.
        out_indices: stages whose outputs are returned.
        qkv_bias: biases in the attention's projections.
        drop_rate: dropout behind the embeddings, attention, and in the feed-forward networks.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        norm: everywhere.
        depths: blocks of each stage; the first has windows.
        sr_ratios: how much coarser keys and values are than queries, in each direction and stage, in blocks without
            windows.
        window_sizes: sides of the windows in tokens, in each stage.
        norm_after_stage: a norm behind each stage.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Parameters start as those of PCPVT.

    Raises ValueError if a sequence has not one entry per stage.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dims: Sequence[int] = (64, 128, 256, 512),
        patch_sizes: Sequence[int] = (4, 2, 2, 2),
        strides: Sequence[int] = (4, 2, 2, 2),
        num_heads: Sequence[int] = (2, 4, 8, 16),
        mlp_ratios: Sequence[int] = (4, 4, 4, 4),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        qkv_bias: bool = False,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        norm: Norm = LN,
        depths: Sequence[int] = (2, 2, 10, 4),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        window_sizes: Sequence[int] = (7, 7, 7, 7),
        norm_after_stage: bool = True,
        checkpoint_activations: bool = False,
    ) -> None:
        _check(depths, embed_dims, patch_sizes, strides, num_heads, mlp_ratios, sr_ratios, window_sizes)
        local = partial(WindowAttention, qkv_bias=qkv_bias, attn_dropout=attn_drop_rate, dropout=drop_rate)
        coarse = partial(
            SpatialReductionAttention, bias=qkv_bias, attn_dropout=attn_drop_rate, dropout=drop_rate, norm=norm
        )
        super().__init__(
            [
                [
                    coarse(channels, heads, sr_ratio=ratio) if i % 2 else local(channels, heads, window_size=side)
                    for i in range(depth)
                ]
                for channels, heads, ratio, side, depth in zip(
                    embed_dims, num_heads, sr_ratios, window_sizes, depths, strict=True
                )
            ],
            in_channels=in_channels,
            embed_dims=embed_dims,
            patch_sizes=patch_sizes,
            strides=strides,
            mlp_ratios=mlp_ratios,
            sr_ratios=sr_ratios,
            out_indices=out_indices,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            norm=norm,
            norm_after_stage=norm_after_stage,
            checkpoint_activations=checkpoint_activations,
        )


def _padding_mask(padded: Tensor, height: int, width: int, side: int, windows: Size) -> Tensor:
    """What is added to the attention in the windows of a map (N, padded h, padded w, C): (G, S, S).

    `MASKED` between tokens and padding, 0 elsewhere; and nowhere but 0 where the map is padded on one side only.
    """
    below = torch.arange(padded.shape[1], device=padded.device) >= height
    right = torch.arange(padded.shape[2], device=padded.device) >= width
    padding = (below[:, None] | right) & below.any() & right.any()  # (padded h, padded w)
    padding = split_windows(padding[None, :, :, None], side, windows)[0, ..., 0]  # (G, S)
    apart: Tensor = padding[:, :, None] != padding[:, None, :]  # (G, S, S)
    return apart.to(padded.dtype) * MASKED


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        init_by_group_(module)


def _check(depths: Sequence[int], *per_stage: Sequence[int]) -> None:
    if any(len(values) != len(depths) for values in per_stage):
        raise ValueError(
            f"embed_dims, patch_sizes, strides, num_heads, mlp_ratios, sr_ratios and window_sizes need one entry for "
            f"each of the stages in depths={tuple(depths)}; got {', '.join(str(tuple(v)) for v in per_stage)}"
        )
