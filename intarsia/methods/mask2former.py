"""Mask2Former: queries that each find one mask, by looking only where they last saw it.

Paper: Cheng, Misra, Schwing, Kirillov, Girdhar, Masked-attention Mask Transformer for Universal Image Segmentation,
    CVPR 2022, arXiv:2112.01527. Pixel decoder: Zhu et al., Deformable DETR, arXiv:2010.04159.
Original code: https://github.com/facebookresearch/Mask2Former (PyTorch, with a compiled kernel).
Deviations: the deformable attention is plain PyTorch (`layers/deformable_attention.py`).

Published scores (MMSegmentation, single scale): Cityscapes 83.65 (Swin-L, 90k), ADE20K 56.01 (Swin-L, 640 x 640, 160k).

Shape letters: N images, C channels of the decoder, E of the masks, Q queries, K classes, h_i, w_i height and width of
    level i, finest first, S_i = h_i * w_i its positions, S those of the three coarse levels, M heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.fx
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions, Size
from intarsia.layers import precision
from intarsia.layers.activation import RELU
from intarsia.layers.conv import ConvNormAct, init_caffe2_xavier_
from intarsia.layers.cross_attention import Attention, initialise_matrices
from intarsia.layers.deformable_attention import DeformableAttention
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import Norm
from intarsia.layers.positions import centres, sine_positions

GROUP_NORM = Norm("GN", num_groups=32)
NUM_SCALES = 3
"""Levels that the encoder mixes and the queries look at in turn; the finest level only makes the masks sharp."""

# One step each for torch.fx, which makes no tensors of a size that depends on the input.
torch.fx.wrap("sine_positions")
torch.fx.wrap("centres")


class EncoderLayer(nn.Module):
    """Every position of three levels looks at a few places of all three."""

    def __init__(self, channels: int, *, num_heads: int, num_points: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(channels, num_heads, num_levels=NUM_SCALES, num_points=num_points)
        self.ffn = FeedForward(channels, hidden, activation=RELU)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, x: Tensor, positions: Tensor, centres: Tensor, sizes: Sequence[Size]) -> Tensor:
        """(N, S, C) with the position vectors (S, C) and centres (S, 2) of its pixels -> (N, S, C)."""
        x = self.norms[0](x + self.self_attn(x + positions, x, centres, sizes))
        out: Tensor = self.norms[1](x + self.ffn(x))
        return out


class Encoder(nn.Module):
    """The layers, under the name of published weights."""

    def __init__(self, layers: Sequence[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class PixelDecoder(nn.Module):
    """A deformable encoder over the three coarse levels, and a feature pyramid step to the finest (section 3.2.1)."""

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        mask_channels: int,
        *,
        num_layers: int,
        num_heads: int,
        num_points: int,
        hidden: int,
        norm: Norm,
    ) -> None:
        super().__init__()
        finest, *coarse = in_channels
        self.input_convs = nn.ModuleList(
            ConvNormAct(width, channels, 1, bias=True, norm=norm, activation=None) for width in reversed(coarse)
        )
        self.encoder = Encoder(
            [
                EncoderLayer(channels, num_heads=num_heads, num_points=num_points, hidden=hidden)
                for _ in range(num_layers)
            ]
        )
        self.level_encoding = nn.Embedding(NUM_SCALES, channels)
        self.lateral_convs = nn.ModuleList([ConvNormAct(finest, channels, 1, norm=norm, activation=None)])
        self.output_convs = nn.ModuleList([ConvNormAct(channels, channels, 3, padding=1, norm=norm)])
        self.mask_feature = nn.Conv2d(channels, mask_channels, 1)
        self._initialise()

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Four levels, finest first -> mask features (N, E, h_0, w_0), and the three mixed levels, coarsest first."""
        finest, *coarse = features
        maps = [conv(x) for conv, x in zip(self.input_convs, reversed(coarse), strict=True)]  # coarsest first
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        positions = torch.cat(
            [
                sine_positions(*size, maps[0].shape[1], like=maps[0]) + self.level_encoding.weight[i]
                for i, size in enumerate(sizes)
            ]
        )  # (S, C)
        at = torch.cat([centres(*size, like=maps[0]) for size in sizes])  # (S, 2)
        x = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)  # (N, S, C)
        for layer in self.encoder.layers:
            x = layer(x, positions, at, sizes)
        of_levels = x.split([h * w for h, w in sizes], dim=1)
        mixed = [of_levels[i].transpose(1, 2).unflatten(2, size) for i, size in enumerate(sizes)]
        fine = self.lateral_convs[0](finest) + resize(mixed[-1], finest.shape[2:])
        return self.mask_feature(self.output_convs[0](fine)), mixed

    def _initialise(self) -> None:
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                init_caffe2_xavier_(conv)
        initialise_matrices(self.input_convs)
        for layer in cast("Iterable[EncoderLayer]", self.encoder.layers):
            initialise_matrices(layer.ffn)


class DecoderLayer(nn.Module):
    """Masked cross-attention, then self-attention, then the perceptron (figure 2, right)."""

    def __init__(self, channels: int, *, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(channels, num_heads, dropout=dropout)
        self.cross_attn = Attention(channels, num_heads, dropout=dropout)
        self.ffn = FeedForward(channels, hidden, activation=RELU, dropout=dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, query: Tensor, query_positions: Tensor, memory: Tensor, positions: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Queries (N, Q, C) with their learned positions (Q, C), one level (N, S_i, C) with positions (S_i, C), and
        what each query may see (N, 1, Q, S_i) -> (N, Q, C).
        """
        seen = self.cross_attn(
            query + query_positions, (memory + positions).to(memory.dtype), memory, mask=attention_mask
        )
        query = self.norms[0](query + self.dropout(seen))
        query = self.norms[1](
            query + self.dropout(self.self_attn(query + query_positions, query + query_positions, query))
        )
        out: Tensor = self.norms[2](query + self.ffn(query))
        return out


class Decoder(nn.Module):
    """The layers and the norm behind them, under the names of published weights."""

    def __init__(self, layers: Sequence[DecoderLayer], channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.post_norm = nn.LayerNorm(channels)


class Mask2FormerHead(nn.Module):
    """Pixel decoder, transformer decoder, and for every query a class and a mask.

    in_channels, in_index: four levels, finest first. channels: of pixel decoder and queries. mask_channels: of the
    space in which a query and the pixels of its mask meet. num_queries: masks looked for.
    num_heads, num_layers, hidden, dropout: of the transformer decoder, whose layers take the three coarse levels in
    turn. encoder_layers, encoder_heads, encoder_points, encoder_hidden: of the pixel decoder's deformable encoder.
    norm: of the pixel decoder.

    Weights start as the original code draws them: convolutions by their fan-in, matrices of the transformers by both.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        channels: int = 256,
        mask_channels: int = 256,
        num_queries: int = 100,
        num_heads: int = 8,
        num_layers: int = 9,
        hidden: int = 2048,
        dropout: float = 0.0,
        encoder_layers: int = 6,
        encoder_heads: int = 8,
        encoder_points: int = 4,
        encoder_hidden: int = 1024,
        norm: Norm = GROUP_NORM,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("Mask2FormerHead", in_index, in_channels)
        if len(self.in_index) != NUM_SCALES + 1:
            raise ValueError(f"Mask2FormerHead reads {NUM_SCALES + 1} levels; got in_index={in_index}")
        self.num_classes = num_classes
        self.pixel_decoder = PixelDecoder(
            in_channels,
            channels,
            mask_channels,
            num_layers=encoder_layers,
            num_heads=encoder_heads,
            num_points=encoder_points,
            hidden=encoder_hidden,
            norm=norm,
        )
        self.transformer_decoder = Decoder(
            [DecoderLayer(channels, num_heads=num_heads, hidden=hidden, dropout=dropout) for _ in range(num_layers)],
            channels,
        )
        self.query_embed = nn.Embedding(num_queries, channels)
        self.query_feat = nn.Embedding(num_queries, channels)
        self.level_embed = nn.Embedding(NUM_SCALES, channels)
        self.cls_embed = nn.Linear(channels, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, mask_channels),
        )
        initialise_matrices(self.transformer_decoder)

    def forward(self, features: Sequence[Tensor]) -> tuple[MaskPredictions, ...]:
        """Feature maps -> class logits (N, Q, K + 1) and mask logits (N, Q, h_0, w_0), first of the learned queries
        and then after every layer.
        """
        pixels, levels = self.pixel_decoder([features[i] for i in self.in_index])
        memories, positions = [], []
        for level, x in enumerate(levels):
            memories.append(x.flatten(2).transpose(1, 2) + self.level_embed.weight[level])  # (N, S_i, C)
            positions.append(sine_positions(x.shape[2], x.shape[3], x.shape[1], like=x))  # (S_i, C)
        query = self.query_feat.weight.expand(pixels.shape[0], -1, -1)  # (N, Q, C)
        found = [self._predict(query, pixels)]
        for i, layer in enumerate(self.transformer_decoder.layers):
            level = i % NUM_SCALES
            attention_mask = _attention_mask(found[-1].mask_logits, levels[level].shape[2:])
            query = layer(query, self.query_embed.weight, memories[level], positions[level], attention_mask)
            found.append(self._predict(query, pixels))
        return tuple(found)

    def _predict(self, query: Tensor, pixels: Tensor) -> MaskPredictions:
        """What queries (N, Q, C), as they are now, say of the pixels (N, E, h_0, w_0)."""
        query = self.transformer_decoder.post_norm(query)
        masks = torch.einsum("nqe,nehw->nqhw", self.mask_embed(query), pixels)
        return MaskPredictions(self.cls_embed(query), masks)


def _attention_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 1, Q, S_i): where a query may look: its mask of the layer before, or everywhere if that is empty."""
    inside = resize(precision.full_precision(mask.detach()), size).sigmoid().flatten(2) >= 0.5  # (N, Q, S_i)
    inside = inside | ~inside.any(dim=-1, keepdim=True)
    return inside.unsqueeze(1)
