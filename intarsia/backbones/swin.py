"""Swin Transformer: attention within windows that shift from block to block, in four stages.

Paper: Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, arXiv:2103.14030.
Original code: https://github.com/microsoft/Swin-Transformer

Deviations, shared with OpenMMLab's published weights: patch merging takes its 2 x 2 neighbours channel by channel, not
neighbour by neighbour, so that weights of the original need their columns reordered; every level that is given has a
norm of its own.

Published scores with UPerNet on ADE20K 512x512, 160k steps, single scale (flipped and multi-scale), mIoU:
    trained on ImageNet-1k first                 T 44.41 (45.79)    S 47.72 (49.24)    B 47.99 (49.57)
    trained on ImageNet-22k first                                                      B 50.13 (51.90)
    ImageNet-22k at 384x384, windows of 12                                             B 50.76 (52.40)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present stage in tokens, S the
side of a window, L = S * S tokens in it, G windows in a map, M heads, D = C / M channels per head.

Maps are kept channels last, (N, h, w, C): all that a block does is linear in the last dimension or moves whole tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers import position_embedding
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.drop_path import DropPath
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.memory_order import in_order
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import PatchEmbed, pieces_and_padding
from intarsia.layers.position_embedding import learned_positions, relative_positions
from intarsia.layers.windows import crop_to, join_windows, pad_to_windows, split_windows

LN = Norm("LN")

MASKED = -100.0
"""Added to the attention between tokens that only the cyclic shift made neighbours; the original's value."""

torch.fx.wrap("_shift_mask")  # for torch.fx one step: it makes no tensors of a size that depends on the input


class PatchMerging(nn.Module):
    """Halves the map: 2 x 2 neighbours become one token of twice the channels (section 3.1)."""

    def __init__(self, channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.norm = norm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, C) -> (N, h / 2, w / 2, 2 C), odd sides padded with zeros."""
        height, width = x.shape[1:3]
        (rows, below), (columns, right) = (pieces_and_padding(length, 2) for length in (height, width))
        x = F.pad(x, (0, 0, 0, right, 0, below))
        x = x.unflatten(2, (columns, 2)).unflatten(1, (rows, 2))  # (N, h / 2, 2, w / 2, 2, C)
        x = x.permute(0, 1, 3, 5, 2, 4).flatten(3)  # (N, h / 2, w / 2, 4 C), channel by channel
        out: Tensor = self.reduction(self.norm(x))
        return out


class WindowAttention(nn.Module):
    """Multi-head attention within each window, with a learned bias per relative position (equation 4)."""

    relative_position_index: Tensor

    def __init__(
        self, channels: int, num_heads: int, *, window_size: int, qkv_bias: bool, qk_scale: float | None, dropout: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale
        self.dropout = dropout
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", relative_positions(window_size, window_size))
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Windows (N, G, L, C), and what is added to their attention, (G, L, L) or None -> (N, G, L, C)."""
        groups, length = x.shape[1:3]
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # (M, L, L)
        bias = bias.expand(groups, -1, -1, -1)  # (G, M, L, L)
        if mask is not None:
            bias = bias + mask[:, None]
        # Windows count as heads, so that one bias for all images needs no copy: (N, G * M, L, D) against (G * M, L, L).
        qkv = in_order(self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5))
        q, k, v = qkv.flatten(2, 3)
        out = F.scaled_dot_product_attention(
            q, k, v, in_order(bias).flatten(0, 1), dropout_p=self.dropout if self.training else 0.0, scale=self.scale
        )  # (N, G * M, L, D)
        out = in_order(out.unflatten(1, (groups, -1)).transpose(2, 3)).reshape(-1, groups, length, x.shape[-1])
        joined: Tensor = self.proj(out)
        return joined


class ShiftedWindows(nn.Module):
    """Window attention on a map whose windows begin `shift` tokens further right and down (section 3.2).

    The map is padded with zeros to whole windows and rolled; tokens that meet only through the roll do not see each
    other. Padding takes part in the attention, as in the original.
    """

    def __init__(self, attention: WindowAttention, *, window_size: int, shift: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.w_msa = attention

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, C) -> (N, h, w, C)."""
        height, width = x.shape[1:3]
        side, shift = self.window_size, self.shift
        x, windows = pad_to_windows(x, side)
        mask = None
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
            mask = _shift_mask(x.shape[1], x.shape[2], side, shift, x)
        x = join_windows(self.w_msa(split_windows(x, side, windows), mask), side, windows)  # (N, padded h, padded w, C)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return crop_to(x, height, width)


class SwinBlock(nn.Module):
    """Window attention and a perceptron, each behind a norm and beside a shortcut (figure 3b)."""

    def __init__(
        self,
        attention: ShiftedWindows,
        channels: int,
        *,
        hidden: int,
        norm: Norm,
        activation: Activation,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = attention
        self.norm2 = norm(channels)
        self.ffn = FeedForward(channels, hidden, activation=activation, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, C) -> (N, h, w, C)."""
        x = x + self.drop_path(self.dropout(self.attn(self.norm1(x))))
        out: Tensor = x + self.drop_path(self.ffn(self.norm2(x)))
        return out


class Stage(nn.Module):
    """Blocks of one resolution, every second one shifted, and the way down to the next."""

    def __init__(self, blocks: Sequence[SwinBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


class SwinTransformer(nn.Module):
    """A patch embedding, then stages of blocks; between two stages, patches merge (figure 3a, table 7).

    T is the default; S has ``depths=(2, 2, 18, 2)``, and B and L have that with ``embed_dims=128`` and ``192``.

    Args:
        in_channels: bands of the image.
        embed_dims: channels of the first stage; each further stage doubles them.
        patch_size: side of a patch in pixels.
        window_size: side of a window in tokens.
        mlp_ratio: hidden channels of the feed-forward networks per channel.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        strides: `patch_size`, then 2 for every further stage: what the patches' geometry leaves no choice about.
        out_indices: stages whose outputs are returned.
        qkv_bias: biases in the attention's projections.
        qk_scale: of queries times keys; 1 / sqrt(D) unless given.
        patch_norm: a norm behind the patch embedding.
        drop_rate: dropout behind the embedding, attention, and in the feed-forward networks.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        use_abs_pos_embed: learned positions besides the relative ones; resized where the image has another size.
        pretrain_img_size: side of the images that those positions are learned for.
        activation: of the feed-forward networks.
        norm: everywhere.
        frozen_stages: the embedding (0) and this many stages keep their weights as loaded; -1 freezes nothing.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Linear layers and positions start truncated-normal (0.02), biases at 0, norms as identity, as in the original; the
    patches' convolution as torch's.

    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dims: int = 96,
        patch_size: int = 4,
        window_size: int = 7,
        mlp_ratio: float = 4,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        strides: Sequence[int] = (4, 2, 2, 2),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        patch_norm: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        use_abs_pos_embed: bool = False,
        pretrain_img_size: int = 224,
        activation: Activation = GELU,
        norm: Norm = LN,
        frozen_stages: int = -1,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check(depths, num_heads, strides, out_indices, patch_size, embed_dims, frozen_stages)
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.checkpoint_activations = checkpoint_activations
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size=patch_size, norm=norm if patch_norm else None)
        self.absolute_pos_embed = (
            learned_positions((pretrain_img_size // patch_size) ** 2, embed_dims) if use_abs_pos_embed else None
        )
        self.drop_after_pos = nn.Dropout(drop_rate)
        attention = partial(
            WindowAttention, window_size=window_size, qkv_bias=qkv_bias, qk_scale=qk_scale, dropout=attn_drop_rate
        )
        last = max(sum(depths) - 1, 1)
        drop_path_rates = iter([drop_path_rate * i / last for i in range(sum(depths))])
        levels = [FeatureSpec(embed_dims * 2**stage, patch_size * 2**stage) for stage in range(len(depths))]
        self.stages = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            channels = levels[stage].channels
            blocks = [
                SwinBlock(
                    ShiftedWindows(
                        attention(channels, heads), window_size=window_size, shift=window_size // 2 if i % 2 else 0
                    ),
                    channels,
                    hidden=int(mlp_ratio * channels),
                    norm=norm,
                    activation=activation,
                    dropout=drop_rate,
                    drop_path=next(drop_path_rates),
                )
                for i in range(depth)
            ]
            is_last = stage == len(depths) - 1
            self.stages.append(Stage(blocks, None if is_last else PatchMerging(channels, norm=norm)))
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", norm(levels[stage].channels))
        self.features = tuple(levels[stage] for stage in self.out_indices)
        self.apply(_initialise)
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / stride, W / stride), rounded up."""
        x = self.patch_embed(images)  # (N, h, w, C)
        if self.absolute_pos_embed is not None:
            x = x + self._positions(x.shape[1], x.shape[2])
        x = self.drop_after_pos(x)
        outputs: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            assert isinstance(stage, Stage)
            for block in stage.blocks:
                x = run_block(block, x, checkpoint=self.checkpoint_activations)
            if i in self.out_indices:
                level = getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2)  # (N, C, h, w)
                outputs.append(in_order(level).contiguous())
            if stage.downsample is not None:
                x = stage.downsample(x)
        return tuple(outputs)

    def _positions(self, height: int, width: int) -> Tensor:
        """The learned positions for a map of this size: (1, h, w, C)."""
        assert self.absolute_pos_embed is not None
        side = math.isqrt(self.absolute_pos_embed.shape[1])
        positions = position_embedding.resize_positions(
            self.absolute_pos_embed, (side, side), (height, width), mode="bicubic"
        )
        grid: Tensor = positions.unflatten(1, (height, width))
        return grid

    def train(self, mode: bool = True) -> SwinTransformer:
        """Training mode, except for what is frozen."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen: list[nn.Module] = [self.patch_embed, self.drop_after_pos]
        for stage in range(self.frozen_stages):
            frozen.append(self.stages[stage])
            if stage in self.out_indices:
                frozen.append(getattr(self, f"norm{stage}"))
        for module in frozen:
            module.eval().requires_grad_(False)
        if self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad_(False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _shift_mask(height: int, width: int, side: int, shift: int, like: Tensor) -> Tensor:
    """What is added to the attention in a rolled map of this size, (G, L, L), in the dtype and on the device of `like`.

    0 between tokens that were neighbours before the roll, `MASKED` between those that the roll brought together.
    """

    def regions(length: int) -> Tensor:
        position = torch.arange(length, device=like.device)
        return (position >= length - side).long() + (position >= length - shift).long()  # 0, 1, 2

    region = 3 * regions(height)[:, None] + regions(width)[None, :]  # (h, w)
    region = in_order(region.unflatten(1, (-1, side)).unflatten(0, (-1, side)).transpose(1, 2))
    region = region.flatten(2, 3).flatten(0, 1)  # (G, L)
    apart: Tensor = region[:, :, None] != region[:, None, :]  # (G, L, L)
    return apart.to(like.dtype) * MASKED


def _check(
    depths: Sequence[int],
    num_heads: Sequence[int],
    strides: Sequence[int],
    out_indices: Sequence[int],
    patch_size: int,
    embed_dims: int,
    frozen_stages: int,
) -> None:
    if not len(depths) == len(num_heads) == len(strides):
        raise ValueError(
            f"depths, num_heads and strides need one entry for each stage; "
            f"got {tuple(depths)}, {tuple(num_heads)} and {tuple(strides)}"
        )
    if tuple(strides) != (patch_size, *(2 for _ in strides[1:])):
        raise ValueError(
            f"strides of SwinTransformer are its patch_size={patch_size} and then 2 for every stage; "
            f"got {tuple(strides)}"
        )
    for stage, heads in enumerate(num_heads):
        if (embed_dims * 2**stage) % heads:
            raise ValueError(
                f"{embed_dims * 2**stage} channels of stage {stage} cannot be divided among {heads} attention heads"
            )
    if not out_indices or any(not 0 <= stage < len(depths) for stage in out_indices):
        raise ValueError(f"out_indices must name stages from 0 to {len(depths) - 1}; got {tuple(out_indices)}")
    if not -1 <= frozen_stages <= len(depths):
        raise ValueError(f"frozen_stages must lie between -1 (none) and {len(depths)}; got {frozen_stages}")
