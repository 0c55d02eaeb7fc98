"""The U-Net of latent diffusion: residual blocks that know the time, transformers that read words.

Rombach et al., High-resolution image synthesis with latent diffusion models, arXiv:2112.10752, section 3.3 and
appendix E.2.1. Original code: https://github.com/CompVis/stable-diffusion

Parameters have the names of Stable Diffusion's published weights. What makes noise of the finest level (`out`) is not
here: nothing reads the noise.

Maps of cross attention are those of Zhao et al., Unleashing Text-to-Image Diffusion Models for Visual Perception,
arXiv:2303.02153, section 3.2.

Deviation: where a side is odd, the coarser level is enlarged to what was kept of the finer one; the original has no
answer for such sizes.

Shape letters: N images, C channels, h, w height and width of a level, L = h * w pixels, T tokens of the context, D its
channels, E channels of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.attention import join_heads

GROUPS = 32
"""Of every group norm."""
PERIODS = 10_000
"""Wave lengths of the time go from one to this times 2 pi."""


class DiffusionUNet(nn.Module):
    """Latents (N, in_channels, h, w) at times (N,) with a context (N, T, D) -> the levels of the decoder, finest first.

    Of each level but the finest the answer of the last block but one is given, since the last enlarges it; of the
    finest that of the last. To the levels `map_levels` maps of cross attention are joined, T channels more: how much
    each pixel attends to each token, as the mean over the heads of all transformers of that level.

    Args:
        in_channels: of the latents.
        model_channels: of the finest level.
        channel_mult: channels of each level, as multiples of `model_channels`; each halves height and width.
        num_res_blocks: residual blocks of each level on the way down; there is one more on the way up.
        attention_resolutions: how often a side has been halved, as 1, 2, 4 ..., where transformers follow the blocks.
        num_heads: of each attention.
        transformer_depth: layers of a transformer.
        context_dim: D.
        checkpoint_activations: recompute blocks in the backward pass instead of keeping their activations.
        attention_maps: which transformers the maps are of, those on the way "down", on the way "up", or both; none are
            joined without.
        finest_map_level: levels from this on, 0 being the finest, have maps, if transformers follow their blocks.

    Raises ValueError for a level without residual blocks, and for maps of other transformers.
    """

    def __init__(
        self,
        *,
        in_channels: int = 4,
        model_channels: int = 320,
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (4, 2, 1),
        num_heads: int = 8,
        transformer_depth: int = 1,
        context_dim: int = 768,
        checkpoint_activations: bool = False,
        attention_maps: Sequence[Literal["down", "up"]] = (),
        finest_map_level: int = 1,
    ) -> None:
        super().__init__()
        if num_res_blocks < 1:
            raise ValueError(f"each level of the U-Net has at least one residual block; got {num_res_blocks}")
        if not set(attention_maps) <= {"down", "up"}:
            raise ValueError(f"attention_maps are of the ways 'down' and 'up'; got {tuple(attention_maps)}")
        widths = [model_channels * multiple for multiple in channel_mult]
        time_channels = 4 * model_channels
        self.model_channels = model_channels
        self.channels = tuple(widths)  # of the levels that it gives, finest first
        self.taps = tuple((num_res_blocks + 1) * level + num_res_blocks - 1 for level in range(len(widths) - 1))
        self.checkpoint_activations = checkpoint_activations
        attending = tuple(level for level in range(len(widths)) if 2**level in attention_resolutions)
        self.map_levels = tuple(level for level in attending if attention_maps and level >= finest_map_level)

        def map_level(way: Literal["down", "up"], level: int) -> int | None:
            return level if way in attention_maps and level in self.map_levels else None

        def block(in_width: int, width: int) -> ResidualBlock:
            return ResidualBlock(in_width, width, time_channels=time_channels)

        def transformer(width: int) -> SpatialTransformer:
            return SpatialTransformer(width, num_heads=num_heads, depth=transformer_depth, context_dim=context_dim)

        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels)
        )
        self.input_blocks = nn.ModuleList([Step(nn.Conv2d(in_channels, widths[0], 3, padding=1))])
        kept, width = [widths[0]], widths[0]
        for level, out_width in enumerate(widths):
            for _ in range(num_res_blocks):
                layers = [block(width, out_width), *([transformer(out_width)] if level in attending else [])]
                self.input_blocks.append(Step(*layers, map_level=map_level("down", level)))
                width = out_width
                kept.append(width)
            if level < len(widths) - 1:
                self.input_blocks.append(Step(Downsample(width)))
                kept.append(width)
        self.middle_block = Step(block(width, width), transformer(width), block(width, width))
        self.output_blocks = nn.ModuleList()
        for level, out_width in reversed(list(enumerate(widths))):
            for index in range(num_res_blocks + 1):
                layers = [block(width + kept.pop(), out_width)]
                layers += [transformer(out_width)] if level in attending else []
                width = out_width
                if level and index == num_res_blocks:
                    layers.append(Upsample(width))
                self.output_blocks.append(Step(*layers, map_level=map_level("up", level)))

    def forward(self, latents: Tensor, times: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """Latents (N, in_channels, h, w), times (N,), context (N, T, D) -> levels (N, C_i, h / 2^i, w / 2^i)."""
        time = self.time_embed(time_embedding(times, self.model_channels).to(latents.dtype))  # (N, E)
        checkpoint = self.checkpoint_activations
        maps: dict[int, list[Tensor]] = {level: [] for level in self.map_levels}
        kept, x = [], latents
        for step in self.input_blocks:
            x, attention = run_block(step, x, time, context, checkpoint=checkpoint)
            if attention is not None:
                maps[cast(int, step.map_level)].append(attention)
            kept.append(x)
        x, _ = run_block(self.middle_block, x, time, context, checkpoint=checkpoint)
        levels = []
        for index, step in enumerate(self.output_blocks):
            skip = kept.pop()
            finer = kept[-1] if kept else skip  # what the next step joins, and so the size that this one makes
            joined = torch.cat([x, skip], dim=1)
            x, attention = run_block(step, joined, time, context, finer, checkpoint=checkpoint)
            if attention is not None:
                maps[cast(int, step.map_level)].append(attention)
            if index in self.taps:
                levels.append(x)
        found = [x, *reversed(levels)]
        for level, attentions in maps.items():
            found[level] = torch.cat([found[level], torch.stack(attentions).mean(dim=0)], dim=1)
        return tuple(found)


class Step(nn.ModuleList):
    """Layers one behind the other, each given what it reads. Numbered as in published weights.

    map_level: the level whose maps of cross attention its transformer gives; None if it gives none.
    """

    def __init__(self, *layers: nn.Module, map_level: int | None = None) -> None:
        super().__init__(layers)
        self.map_level = map_level

    def forward(
        self, x: Tensor, time: Tensor, context: Tensor, finer: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map (N, C, h, w), time (N, E), context (N, T, D) -> (N, C', h', w'), and the attention (N, T, h, w) or None.

        finer: a map of the size that an enlarged one shall have.
        """
        attention = None
        for layer in self:
            if isinstance(layer, ResidualBlock):
                x = layer(x, time)
            elif isinstance(layer, SpatialTransformer):
                x, attention = layer(x, context, with_attention=self.map_level is not None)
            elif isinstance(layer, Upsample):
                assert finer is not None
                x = layer(x, finer.shape[2:])
            else:
                x = layer(x)
        return x, attention


class ResidualBlock(nn.Module):
    """Two convolutions, between which each channel is shifted by what the time says; starts as its shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, time_channels: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, in_channels), nn.SiLU(), nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, out_channels))
        # A dropout that Stable Diffusion does not use stands third; published weights count it.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, out_channels),
            nn.SiLU(),
            nn.Identity(),
            starting_at_zero(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = in_channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (N, C, h, w), time (N, E) -> (N, C', h, w)."""
        out = self.in_layers(x) + self.emb_layers(time)[:, :, None, None]
        change: Tensor = self.out_layers(out)
        shortcut: Tensor = self.skip_connection(x)
        return shortcut + change


class SpatialTransformer(nn.Module):
    """A transformer over the pixels of a map, beside a shortcut as which it starts."""

    def __init__(self, channels: int, *, num_heads: int, depth: int, context_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            TransformerLayer(channels, num_heads=num_heads, context_dim=context_dim) for _ in range(depth)
        )
        self.proj_out = starting_at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, context: Tensor, *, with_attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """Map (N, C, h, w), context (N, T, D) -> (N, C, h, w), and, if asked for, the mean attention (N, T, h, w)."""
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)  # (N, L, C)
        found = []
        for layer in self.transformer_blocks:
            tokens, attention = layer(tokens, context, with_attention=with_attention)
            found.append(attention)
        change: Tensor = self.proj_out(tokens.transpose(1, 2).reshape(x.shape))
        if not with_attention:
            return x + change, None
        mean = torch.stack(found).mean(dim=0)  # (N, L, T)
        return x + change, mean.transpose(1, 2).unflatten(2, x.shape[2:])


class TransformerLayer(nn.Module):
    """Attention to the other pixels, attention to the context, and a gated perceptron, each behind a norm."""

    def __init__(self, channels: int, *, num_heads: int, context_dim: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, num_heads=num_heads)
        self.ff = GatedPerceptron(channels)
        self.attn2 = CrossAttention(channels, context_dim, num_heads=num_heads)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, context: Tensor, *, with_attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """Tokens (N, L, C), context (N, T, D) -> (N, L, C), and, if asked for, attention (N, L, T) to the context."""
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        normed = self.norm2(x)
        attention = self.attn2.weights(normed, context).mean(dim=1) if with_attention else None
        x = x + self.attn2(normed, context)
        change: Tensor = self.ff(self.norm3(x))
        return x + change, attention


class CrossAttention(nn.Module):
    """Attention of some tokens to others, with projections that have no bias but the last.

    Raises ValueError unless the heads divide the channels.
    """

    def __init__(self, channels: int, context_channels: int, *, num_heads: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels cannot be split among num_heads={num_heads} heads")
        self.num_heads = num_heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_channels, channels, bias=False)
        self.to_v = nn.Linear(context_channels, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Tokens (N, L, C), context (N, T, D) -> (N, L, C)."""
        q, k, v = (self._heads(y) for y in (self.to_q(x), self.to_k(context), self.to_v(context)))
        out = F.scaled_dot_product_attention(q, k, v)  # (N, heads, L, C / heads)
        merged: Tensor = self.to_out(join_heads(out))
        return merged

    def weights(self, x: Tensor, context: Tensor) -> Tensor:
        """Tokens (N, L, C), context (N, T, D) -> how much each attends to each of the context (N, heads, L, T)."""
        q, k = self._heads(self.to_q(x)), self._heads(self.to_k(context))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        found: Tensor = scores.softmax(dim=-1)
        return found

    def _heads(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(2, (self.num_heads, -1))
        return split.transpose(1, 2)


class GatedPerceptron(nn.Module):
    """Two linear layers, the first of which gives values and a gate of GELU for each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # A dropout that Stable Diffusion does not use stands second; published weights count it.
        self.net = nn.Sequential(_Gated(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        out: Tensor = self.net(x)
        return out


class _Gated(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        values, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = values * F.gelu(gate)
        return gated


class Downsample(nn.Module):
    """A convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h / 2, w / 2), rounded up."""
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """The nearest pixel, and a convolution behind it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(N, C, h, w) -> (N, C, *size), size being twofold up to a pixel."""
        height, width = size
        out: Tensor = self.conv(F.interpolate(x, size=(height, width), mode="nearest"))
        return out


def time_embedding(times: Tensor, channels: int) -> Tensor:
    """Times (N,) -> cosines and sines (N, channels) of them at falling frequencies, as exact as they are.

    Raises ValueError for an odd number of channels.
    """
    if channels % 2:
        raise ValueError(f"a time is told by pairs of cosines and sines; got {channels} channels")
    half = channels // 2
    steps = torch.arange(half, dtype=times.dtype, device=times.device)
    angles = times[:, None] * torch.exp(-math.log(PERIODS) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def starting_at_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and biases of 0, behind which a block starts as its shortcut."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv
