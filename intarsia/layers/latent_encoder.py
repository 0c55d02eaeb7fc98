"""The encoder of latent diffusion's autoencoder: an image as a small map of few channels.

Rombach et al., High-resolution image synthesis with latent diffusion models, arXiv:2112.10752, section 3.1 and
appendix G. Original code: https://github.com/CompVis/stable-diffusion

Parameters have the names of Stable Diffusion's published weights. The decoder, which makes images of latents, is not
here: nothing looks at them.

Shape letters: N images, C channels, H, W height and width of the image, h, w of a level, Z channels of the latents.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.patch_embed import pieces

GROUPS = 32
"""Of every group norm."""


class LatentEncoder(nn.Module):
    """Images (N, in_channels, H, W) in -1..1 -> the mean of their latents (N, embed_dim, H / s, W / s).

    s is 2 to the number of levels less one. Sides that it does not divide lose what is left over, below and to the
    right.

    Args:
        in_channels: bands of the image.
        channels: of the finest level.
        channel_mult: channels of each level, as multiples of `channels`.
        num_res_blocks: residual blocks of each level.
        z_channels: of the convolution that ends the encoder.
        embed_dim: Z.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        z_channels: int = 4,
        embed_dim: int = 4,
    ) -> None:
        super().__init__()
        widths = [channels * multiple for multiple in channel_mult]
        self.stride = 2 ** (len(widths) - 1)
        self.encoder = _Encoder(in_channels, channels, widths, num_res_blocks, z_channels)
        # Mean and logarithm of the variance of each latent.
        self.quant_conv = nn.Conv2d(2 * z_channels, 2 * embed_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, Z, H / s, W / s)."""
        mean: Tensor = self.quant_conv(self.encoder(images)).chunk(2, dim=1)[0]
        return mean


@torch.fx.wrap
def padded(images: Tensor, least: Sequence[int], multiple: int, value: float) -> Tensor:
    """Images (N, C, H, W) -> (N, C, H', W') of sides that are at least these and multiples of that, filled below and to
    the right.

    One step for torch.fx, which cannot compare sizes; called as `latent_encoder.padded`, since it is looked for here.
    """
    height, width = (max(side, shortest) for side, shortest in zip(images.shape[2:], least, strict=True))
    below = pieces(height, multiple) * multiple - images.shape[2]
    right = pieces(width, multiple) * multiple - images.shape[3]
    return F.pad(images, (0, right, 0, below), value=value)


class _Encoder(nn.Module):
    def __init__(
        self, in_channels: int, channels: int, widths: Sequence[int], num_res_blocks: int, z_channels: int
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        last = len(widths) - 1
        self.down = nn.ModuleList(
            _Level(before, width, num_res_blocks, halves=index < last)
            for index, (before, width) in enumerate(zip([channels, *widths], widths, strict=False))
        )
        self.mid = _Middle(widths[-1])
        self.norm_out = nn.GroupNorm(GROUPS, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return out


class _Level(nn.Module):
    """Residual blocks, and a convolution of stride 2 behind them."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, *, halves: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * (num_blocks - 1)
        self.block = nn.ModuleList(_ResidualBlock(width, out_channels) for width in widths)
        self.downsample = _Downsample(out_channels) if halves else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class _Middle(nn.Module):
    """Attention between two residual blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = _ResidualBlock(channels, channels)
        self.attn_1 = _PixelAttention(channels)
        self.block_2 = _ResidualBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class _ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels, eps=1e-6)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.silu(self.norm1(x)))
        change: Tensor = self.conv2(F.silu(self.norm2(out)))
        return change + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class _PixelAttention(nn.Module):
    """Attention of all pixels to all others, with one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (conv(normed).flatten(2).transpose(1, 2).unsqueeze(1) for conv in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v)  # (N, 1, h w, C)
        change: Tensor = self.proj_out(out[:, 0].transpose(1, 2).reshape(x.shape))
        return x + change


class _Downsample(nn.Module):
    """A convolution of stride 2 that looks one pixel below and to the right."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out
