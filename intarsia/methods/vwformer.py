"""VWFormer: windows of pixels look at contexts of several sizes around them, all at the price of one window.

Paper: Yan et al., Multi-Scale Representations by Varying Window Attention for Semantic Segmentation, arXiv:2404.16573.
Original code: https://github.com/yan-hao-tian/VW (mmsegmentation-custom), whose two heads are here: `VWHead` is that of
    ADE20K, `VWCityHead` that of Cityscapes, which has norms behind its projections, torch's attention, and no pooling.

Deviations: the map of stride 8 is cut into 8 x 8 windows. Where its sides are no multiples of 8, its last row and
column are repeated, and what comes of them is cut off; the original takes images only whose sides are multiples of 64,
to which its pipelines resize. And one that moves no number, as in SegFormer: the last fusion is applied to the coarse
map before it is resized, so that the concatenation at stride 4 is never made.

Published scores of the paper, single scale (flipped and multi-scale), mIoU:
    ADE20K 512x512, 160k steps   ConvNeXt-T 47.3
    ADE20K 640x640, 160k steps   Swin-B 52.5, Swin-L 54.4, ConvNeXt-XL 54.6
    Cityscapes 512x1024, 160k    ConvNeXt-XL 83.6

Shape letters: N images, C channels, K classes, h, w height and width of the level of stride 8, a, b rows and columns of
a window (h = 8 a, w = 8 b), R how many windows a context is wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.adaptive_pooling import AdaptiveAvgPool
from intarsia.layers.attention import MultiheadAttention, join_heads
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import cropped, paired_levels, resize
from intarsia.layers.memory_order import in_order
from intarsia.layers.non_local import embedding, output
from intarsia.layers.norm import BN, Norm

WINDOWS = 8
"""Windows that the map is cut into, down and across."""

RATIOS = (2, 4, 8)
"""How many windows a context is wide, and high (section 3.3)."""

FINE_CHANNELS = 48
"""That the finest level is projected to (low-level enhancement, section 4)."""


# --- contexts --------------------------------------------------------------------------------------------------------


def contexts(x: Tensor, ratio: int) -> Tensor:
    """What each window sees: (N, C, h, w) -> (N * 64, R * R * C, a, b).

    x: the map with C / (R * R) channels of the paper's embedding, so that the R a x R b pixels of a context, R x R of
    them as channels of one, are as much as a window.
    """
    channels, a, b = x.shape[1], x.shape[2] // WINDOWS, x.shape[3] // WINDOWS
    x = shifted_borders(shifted_borders(x, ratio, dim=3), ratio, dim=2)  # (N, C, (7 + R) a, (7 + R) b)
    blocks = x.unflatten(3, (WINDOWS - 1 + ratio, b)).unflatten(2, (WINDOWS - 1 + ratio, a))
    blocks = torch.stack([blocks.narrow(2, i, WINDOWS) for i in range(ratio)], dim=3)  # (N, C, 8, R, a, 7 + R, b)
    blocks = torch.stack([blocks.narrow(5, i, WINDOWS) for i in range(ratio)], dim=6)  # (N, C, 8, R, a, 8, R, b)
    blocks = in_order(blocks.permute(0, 2, 5, 1, 3, 4, 6, 7))
    windows = blocks.flatten(0, 2).flatten(2, 3).flatten(3, 4)  # (N * 64, C, R a, R b)
    pixels: Tensor = windows.unflatten(3, (b, ratio)).unflatten(2, (a, ratio))  # (N * 64, C, a, R, b, R)
    return in_order(pixels.permute(0, 3, 5, 1, 2, 4)).reshape(-1, ratio * ratio * channels, a, b)


def shifted_borders(x: Tensor, ratio: int, *, dim: int) -> Tensor:
    """Rows or columns before and behind, copied from further inside, so that every window has its context in the middle
    and no context has zeros (copy-shift padding, section 3.4): 8 windows long -> 7 + R.
    """
    length = x.shape[dim]
    window = length // WINDOWS
    start, end = (ratio + 1) * window // 2, ratio * window
    behind = (ratio - 1) * window - (end - start)
    if not torch.compiler.is_compiling():
        return torch.cat([x.narrow(dim, start, end - start), x, x.narrow(dim, length - end, behind)], dim=dim)
    # Row by row: torch.export would take a border of one row for one that never has more.
    place = torch.arange((WINDOWS - 1 + ratio) * window, device=x.device) - (end - start)
    place = torch.where(place < 0, place + end, torch.where(place < length, place, place - end))
    return x.index_select(dim, place)


def windows_of(x: Tensor) -> Tensor:
    """(N, C, h, w) -> (N * 64, C, a, b)."""
    x = x.unflatten(3, (WINDOWS, -1)).unflatten(2, (WINDOWS, -1))  # (N, C, 8, a, 8, b)
    return in_order(x.permute(0, 2, 4, 1, 3, 5)).flatten(0, 2)


def joined(x: Tensor) -> Tensor:
    """(N * 64, C, a, b) -> (N, C, h, w)."""
    x = x.unflatten(0, (-1, WINDOWS, WINDOWS)).permute(0, 3, 1, 4, 2, 5)  # (N, C, 8, a, 8, b)
    return in_order(x).flatten(4, 5).flatten(2, 3)


def repeated_to_windows(x: Tensor) -> Tensor:
    """The last row and column repeated until the sides are multiples of 8."""
    height, width = x.shape[2:]
    rows, columns = (height + WINDOWS - 1) // WINDOWS, (width + WINDOWS - 1) // WINDOWS
    return F.pad(x, (0, columns * WINDOWS - width, 0, rows * WINDOWS - height), mode="replicate")


def embedded(conv: ConvNormAct, x: Tensor, ratio: int) -> Tensor:
    """Densely overlapping patch embedding (section 3.3): R x R pixels around each pixel -> C / (R * R) channels."""
    before, behind = ratio // 2 - 1, ratio // 2
    out: Tensor = conv(F.pad(x, (before, behind, before, behind)))
    return out


def check(head: str, in_channels: Sequence[int], channels: int) -> None:
    """Raises ValueError, naming the head, unless four levels are read and contexts can be embedded."""
    if len(in_channels) != 4:
        raise ValueError(f"{head} reads four levels, finest first; got in_channels={tuple(in_channels)}")
    if channels % max(RATIOS) ** 2:
        raise ValueError(
            f"channels of {head} must be a multiple of {max(RATIOS) ** 2}, since the widest context has one in so many "
            f"for each pixel; got {channels}"
        )


# --- attention -------------------------------------------------------------------------------------------------------


class VWA(nn.Module):
    """Attention of each pixel of a window over its context; starts at 0, with `norm`, as non-local blocks do."""

    def __init__(self, channels: int, *, num_heads: int, norm: Norm | None) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels cannot be divided among {num_heads} attention heads")
        self.num_heads = num_heads
        self.g = ConvNormAct(channels, channels, 1, activation=None)
        self.conv_out = output(channels, channels, norm=norm)
        self.theta = embedding(channels, channels)
        self.phi = ConvNormAct(channels, channels, 1, activation=None)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Windows and their contexts, (N * 64, C, a, b) each -> (N * 64, C, a, b)."""
        q, k, v = (
            in_order(x.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)).contiguous()
            for x in (self.theta(query), self.phi(context), self.g(context))
        )  # (N * 64, heads, a * b, C / heads) each
        mean = join_heads(F.scaled_dot_product_attention(q, k, v))  # (N * 64, a * b, C)
        out: Tensor = self.conv_out(mean.transpose(1, 2).unflatten(2, query.shape[2:]))
        return out


def over_maps(attention: nn.Module, query: Tensor, context: Tensor) -> Tensor:
    """Attention over sequences, of windows and their contexts (N * 64, C, a, b) each -> (N * 64, C, a, b)."""
    pixels, memory = (x.flatten(2).transpose(1, 2) for x in (query, context))  # (N * 64, a * b, C)
    out: Tensor = attention(pixels, memory).transpose(1, 2).unflatten(2, query.shape[2:])
    return out


Attend = Callable[[Tensor, Tensor], Tensor]
"""Windows and their contexts, (N * 64, C, a, b) each -> (N * 64, C, a, b)."""


def attended(x: Tensor, embeddings: nn.ModuleList, attentions: Iterable[Attend], *, short_cut: bool) -> list[Tensor]:
    """The map (N, C, h, w) as contexts of each size show it, each (N, C, h, w)."""
    height, width = x.shape[2:]
    padded = repeated_to_windows(x)
    query, found = windows_of(padded), []
    for ratio, embed, attend in zip(RATIOS, embeddings, attentions, strict=True):
        assert isinstance(embed, ConvNormAct)
        out = joined(attend(query, contexts(embedded(embed, padded, ratio), ratio)))
        out = cropped(out, height, width)  # (N, C, h, w)
        found.append(out + x if short_cut else out)
    return found


# --- heads -----------------------------------------------------------------------------------------------------------


class Projection(nn.Module):
    """A linear layer, pixel by pixel; `proj` in published weights."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        return F.conv2d(x, self.proj.weight[:, :, None, None], self.proj.bias)


class VWHead(nn.Module):
    """Levels of strides 8 to 32 fused, seen through contexts of three sizes, then laid beside the finest level.

    Args:
        in_channels: channels of the four levels, finest first.
        channels: channels in the head, a multiple of 64.
        num_classes: number of logits.
        short_cut: whether what attention gives is added to what it was given.
        nheads: heads of the attention.
        in_index: the levels read, finest first.
        dropout_ratio: of channels, before the classifier.
        norm: behind convolutions; those of the levels, and of keys and values, have none.
        activation: behind norms.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError unless four levels are read, and for channels that cannot be divided.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int = 512,
        num_classes: int,
        short_cut: bool = True,
        nheads: int = 1,
        in_index: Sequence[int] = (0, 1, 2, 3),
        dropout_ratio: float = 0.1,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("VWHead", in_index, in_channels)
        check("VWHead", self.in_channels, channels)
        self.num_classes, self.align_corners, self.short_cut = num_classes, align_corners, short_cut
        fine, at8, at16, at32 = self.in_channels

        def fused(count: int, extra: int = 0) -> ConvNormAct:
            return ConvNormAct(count * channels + extra, channels, 1, norm=norm, activation=activation)

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.linear_c4 = Projection(at32, channels)
        self.linear_c3 = Projection(at16, channels)
        self.linear_c2 = Projection(at8, channels)
        self.linear_fuse = fused(3)
        self.attn = nn.ModuleList(VWA(channels, num_heads=nheads, norm=norm) for _ in RATIOS)
        self.ds = _embeddings(channels, norm=norm, activation=activation)
        self.short_path = fused(1)
        self.image_pool = nn.Sequential(AdaptiveAvgPool(1), fused(1))
        self.cat = fused(5)
        self.linear_c1 = Projection(fine, FINE_CHANNELS)
        self.low_level_fuse = fused(1, FINE_CHANNELS)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the finest level."""
        fine, at8, at16, at32 = (features[i] for i in self.in_index)
        size = at8.shape[2:]
        levels = [resize(self.linear_c4(at32), size), resize(self.linear_c3(at16), size), self.linear_c2(at8)]
        x = self.linear_fuse(torch.cat(levels, dim=1))  # (N, channels, h, w)
        pooled = self.image_pool(x).expand_as(x)
        seen = attended(x, self.ds, self.attn, short_cut=self.short_cut)
        x = self.cat(torch.cat([self.short_path(x), pooled, *seen], dim=1))
        x = laid_beside(x, self.linear_c1(fine), self.low_level_fuse)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits


class VWCityHead(nn.Module):
    """As `VWHead`, which see, with norms behind every projection, torch's attention, and no pooled image."""

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int = 512,
        num_classes: int,
        short_cut: bool = False,
        nheads: int = 1,
        in_index: Sequence[int] = (0, 1, 2, 3),
        dropout_ratio: float = 0.1,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("VWCityHead", in_index, in_channels)
        check("VWCityHead", self.in_channels, channels)
        self.num_classes, self.align_corners, self.short_cut = num_classes, align_corners, short_cut
        fine, at8, at16, at32 = self.in_channels

        def conv(before: int, behind: int) -> ConvNormAct:
            return ConvNormAct(before, behind, 1, norm=norm, activation=activation)

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.linear_c4 = conv(at32, channels)
        self.linear_c3 = conv(at16, channels)
        self.linear_c2 = conv(at8, channels)
        self.linear_c1 = conv(fine, FINE_CHANNELS)
        self.linear_fuse = conv(3 * channels, channels)
        self.short_path = conv(channels, channels)
        self.cat = conv(4 * channels, channels)
        self.low_level_fuse = conv(channels + FINE_CHANNELS, channels)
        self.attn = nn.ModuleList(MultiheadAttention(channels, nheads) for _ in RATIOS)
        self.ds = _embeddings(channels, norm=norm, activation=activation)
        for attention in self.attn:  # as torch's attention starts
            assert isinstance(attention, MultiheadAttention)
            nn.init.xavier_uniform_(attention.in_proj_weight)
            attention.out_proj.reset_parameters()
            nn.init.zeros_(attention.out_proj.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the finest level."""
        fine, at8, at16, at32 = (features[i] for i in self.in_index)
        height, width = at8.shape[2:]
        levels = [F.interpolate(y, size=(height, width)) for y in (self.linear_c4(at32), self.linear_c3(at16))]
        x = self.linear_fuse(torch.cat([*levels, self.linear_c2(at8)], dim=1))  # (N, channels, h, w)
        seen = attended(x, self.ds, [partial(over_maps, each) for each in self.attn], short_cut=self.short_cut)
        x = self.cat(torch.cat([self.short_path(x), *seen], dim=1))
        x = laid_beside(x, self.linear_c1(fine), self.low_level_fuse)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits


def _embeddings(channels: int, *, norm: Norm, activation: Activation) -> nn.ModuleList:
    """For each ratio, the convolution that makes contexts as small as windows."""
    return nn.ModuleList(
        ConvNormAct(channels, channels // ratio**2, ratio, norm=norm, activation=activation) for ratio in RATIOS
    )


def laid_beside(x: Tensor, fine: Tensor, fuse: ConvNormAct) -> Tensor:
    """`fuse` of a coarse map (N, C, h, w) at the size of a fine one and the fine one (N, C', H, W): (N, C, H, W)."""
    conv = fuse.conv
    of_coarse, of_fine = conv.weight.split([x.shape[1], fine.shape[1]], dim=1)
    coarse = resize(F.conv2d(x, of_coarse), fine.shape[2:])
    return fuse.norm_act(coarse + F.conv2d(fine, of_fine, conv.bias))
