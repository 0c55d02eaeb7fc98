"""MaskFormer: segmentation as a set of masks, each with a class.

Paper: Cheng, Schwing, Kirillov, Per-Pixel Classification is Not All You Need for Semantic Segmentation, NeurIPS 2021,
    arXiv:2107.06278. Decoder: Carion et al., DETR, arXiv:2005.12872.
Original code: https://github.com/facebookresearch/MaskFormer (PyTorch).
Deviations: none.

Published scores (MMSegmentation, ADE20K 512 x 512, 160k, single scale): R50 42.20, Swin-S 49.36.

Shape letters: N images, C channels of the decoder, E of the masks, Q queries, K classes, h_i, w_i height and width of
    level i, finest first, S positions of the coarsest level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions
from intarsia.layers.activation import RELU
from intarsia.layers.conv import ConvNormAct, init_caffe2_xavier_
from intarsia.layers.cross_attention import Attention, initialise_matrices
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import Norm
from intarsia.layers.positions import sine_positions

GROUP_NORM = Norm("GN", num_groups=32)

torch.fx.wrap("sine_positions")  # for torch.fx one step: it makes no tensors of a size that depends on the input


class PixelDecoder(nn.Module):
    """A feature pyramid: coarse levels are enlarged and added to finer ones (section 4.3, "MaskFormer")."""

    def __init__(self, in_channels: Sequence[int], channels: int, mask_channels: int, *, norm: Norm) -> None:
        super().__init__()
        *fine, coarsest = in_channels
        self.lateral_convs = nn.ModuleList(
            ConvNormAct(width, channels, 1, norm=norm, activation=None) for width in fine
        )
        self.output_convs = nn.ModuleList(ConvNormAct(channels, channels, 3, padding=1, norm=norm) for _ in fine)
        self.last_feat_conv = ConvNormAct(coarsest, channels, 3, padding=1, norm=norm)
        self.mask_feature = nn.Conv2d(channels, mask_channels, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Levels, finest first -> mask features (N, E, h_0, w_0)."""
        *fine, coarsest = features
        x = self.last_feat_conv(coarsest)
        for level, lateral, output in zip(
            reversed(fine), reversed(self.lateral_convs), reversed(self.output_convs), strict=True
        ):
            x = output(lateral(level) + F.interpolate(x, size=level.shape[2:], mode="nearest"))
        mask_features: Tensor = self.mask_feature(x)
        return mask_features


class DecoderLayer(nn.Module):
    """Self-attention of the queries, attention to the image, perceptron; a norm behind each (DETR, figure 10)."""

    def __init__(self, channels: int, *, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(channels, num_heads, dropout=dropout)
        self.cross_attn = Attention(channels, num_heads, dropout=dropout)
        self.ffn = FeedForward(channels, hidden, activation=RELU, dropout=dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, query_positions: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """Queries (N, Q, C) with learned positions (Q, C), image (N, S, C) with its positions (S, C) -> (N, Q, C)."""
        query = self.norms[0](
            query + self.dropout(self.self_attn(query + query_positions, query + query_positions, query))
        )
        seen = self.cross_attn(query + query_positions, (memory + positions).to(memory.dtype), memory)
        query = self.norms[1](query + self.dropout(seen))
        out: Tensor = self.norms[2](query + self.ffn(query))
        return out


class Decoder(nn.Module):
    """The layers and the norm behind them, under the names of published weights."""

    def __init__(self, layers: Sequence[DecoderLayer], channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.post_norm = nn.LayerNorm(channels)


class MaskFormerHead(nn.Module):
    """Pixel decoder, transformer decoder on the coarsest level, and for every query a class and a mask.

    in_channels, in_index: levels, finest first. channels: of pixel decoder and queries. mask_channels: of the space in
    which a query and the pixels of its mask meet. num_queries: masks looked for. num_heads, num_layers, hidden,
    dropout: of the transformer decoder. norm: of the pixel decoder. enforce_decoder_input_project: project the coarsest
    level to `channels` even if it has so many already.

    Weights start as the original code draws them: convolutions by their fan-in, matrices of the transformer by both.
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
        num_layers: int = 6,
        hidden: int = 2048,
        dropout: float = 0.1,
        norm: Norm = GROUP_NORM,
        enforce_decoder_input_project: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("MaskFormerHead", in_index, in_channels)
        self.num_classes = num_classes
        self.pixel_decoder = PixelDecoder(in_channels, channels, mask_channels, norm=norm)
        self.transformer_decoder = Decoder(
            [DecoderLayer(channels, num_heads=num_heads, hidden=hidden, dropout=dropout) for _ in range(num_layers)],
            channels,
        )
        fits = in_channels[-1] == channels and not enforce_decoder_input_project
        self.decoder_input_proj = nn.Identity() if fits else nn.Conv2d(in_channels[-1], channels, 1)
        self.query_embed = nn.Embedding(num_queries, channels)
        self.cls_embed = nn.Linear(channels, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, mask_channels),
        )
        for conv in (*self.pixel_decoder.modules(), self.decoder_input_proj):
            if isinstance(conv, nn.Conv2d):
                init_caffe2_xavier_(conv)
        initialise_matrices(self.transformer_decoder)

    def forward(self, features: Sequence[Tensor]) -> tuple[MaskPredictions, ...]:
        """Feature maps -> after every layer, class logits (N, Q, K + 1) and mask logits (N, Q, h_0, w_0)."""
        levels = [features[i] for i in self.in_index]
        pixels = self.pixel_decoder(levels)  # (N, E, h_0, w_0)
        coarsest = self.decoder_input_proj(levels[-1])
        positions = sine_positions(coarsest.shape[2], coarsest.shape[3], coarsest.shape[1], like=coarsest)  # (S, C)
        memory = coarsest.flatten(2).transpose(1, 2)  # (N, S, C)
        queries = (self.query_embed.num_embeddings, self.query_embed.embedding_dim)
        query = memory.new_zeros(()).expand(memory.shape[0], *queries)  # (N, Q, C)
        found = []
        for layer in self.transformer_decoder.layers:
            query = layer(query, self.query_embed.weight, memory, positions)
            read = self.transformer_decoder.post_norm(query)
            masks = torch.einsum("nqe,nehw->nqhw", self.mask_embed(read), pixels)
            found.append(MaskPredictions(self.cls_embed(read), masks))
        return tuple(found)
