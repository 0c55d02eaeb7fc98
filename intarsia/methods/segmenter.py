"""Segmenter: classes are tokens that look at the patches, and at each other, before they are compared with them.

Paper: Strudel et al., Segmenter: Transformer for Semantic Segmentation, arXiv:2105.05633. The backbone is
    `backbones/vit.py`; the linear decoder (section 3.2.1) is `FCNHead` without convolutions.
Original code: https://github.com/rstrudel/segmenter

Deviations, shared with OpenMMLab's published weights: none in the computation.

Published scores on ADE20K 512x512, 160k steps, single scale (flipped and multi-scale), mIoU:
    mask transformer    T 39.99 (40.83)    S 46.19 (47.85)    B 49.60 (51.07)    L (640x640) 52.16 (53.65)
    linear                                 S 45.75 (46.82)

Shape letters: N images, C channels, K classes, h, w height and width of the grid of patches, L = h * w patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import GELU, Activation
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import to_map, to_tokens
from intarsia.layers.transformer import EncoderLayer

LN = Norm("LN")


class SegmenterMaskTransformerHead(nn.Module):
    """Patches and one learned token for each class through a few layers; how alike they are then is the logit
    (section 3.2.2).

    Args:
        in_channels: channels of the level read.
        num_layers: layers.
        num_heads: attention heads.
        embed_dims: channels of a token.
        num_classes: number of logits.
        in_index: the level read.
        mlp_ratio: hidden channels of the feed-forward networks per channel.
        drop_path_rate: stochastic depth of the last layer; grows linearly from 0 at the first.
        drop_rate: dropout behind attention and in the feed-forward networks.
        attn_drop_rate: dropout of attention weights.
        qkv_bias: biases in the attention's projections.
        activation: of the feed-forward networks.
        norm: everywhere.
        init_std: deviation of the normal distribution that linear layers and class tokens start from.
        align_corners: how logits are resized by those who consume them.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_layers: int,
        num_heads: int,
        embed_dims: int,
        num_classes: int,
        in_index: int = -1,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.1,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        qkv_bias: bool = True,
        activation: Activation = GELU,
        norm: Norm = LN,
        init_std: float = 0.02,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index = in_index
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.cls_emb = nn.Parameter(torch.empty(1, num_classes, embed_dims))
        last = max(num_layers - 1, 1)
        self.layers = nn.ModuleList(
            EncoderLayer(
                embed_dims,
                num_heads,
                hidden=mlp_ratio * embed_dims,
                qkv_bias=qkv_bias,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate * i / last,
                norm=norm,
                activation=activation,
            )
            for i in range(num_layers)
        )
        self.dec_proj = nn.Linear(in_channels, embed_dims)
        self.patch_proj = nn.Linear(embed_dims, embed_dims, bias=False)
        self.classes_proj = nn.Linear(embed_dims, embed_dims, bias=False)
        self.decoder_norm = norm(embed_dims)
        self.mask_norm = norm(num_classes)
        self._initialise(init_std)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        level = features[self.in_index]  # (N, C, h, w)
        height, width = level.shape[2:]
        x = self.dec_proj(to_tokens(level))  # (N, L, embed_dims)
        x = torch.cat([x, self.cls_emb.expand(x.shape[0], -1, -1)], dim=1)  # (N, L + K, embed_dims)
        for layer in self.layers:
            x = layer(x)
        x = self.decoder_norm(x)
        patches = F.normalize(self.patch_proj(x[:, : -self.num_classes]), dim=2)  # (N, L, embed_dims)
        classes = F.normalize(self.classes_proj(x[:, -self.num_classes :]), dim=2)  # (N, K, embed_dims)
        masks = self.mask_norm(patches @ classes.transpose(1, 2))  # (N, L, K)
        return to_map(masks, height, width).contiguous()

    def _initialise(self, std: float) -> None:
        nn.init.trunc_normal_(self.cls_emb, std=std)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
