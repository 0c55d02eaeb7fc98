"""Vision Transformer (ViT, DeiT): an image is a sequence of patches, and every patch looks at every other.

Papers: Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale,
    arXiv:2010.11929. DeiT, which has the same layers and another training: Touvron et al., Training data-efficient
    image transformers & distillation through attention, arXiv:2012.12877.
Original code: https://github.com/google-research/vision_transformer (JAX), https://github.com/facebookresearch/deit

All levels that it gives have the stride of the patches; necks and heads make of them what they need.

Deviations, shared with OpenMMLab's published weights: the projection of patches has no bias, and levels are taken
between the layers, without the norm behind the last one unless `final_norm` is set. One that is not shared: positions
are resized wherever the grid has another height and width, there only where it has another number of tokens.

Published scores with UPerNet on ADE20K 512x512, 160k steps, single scale (flipped and multi-scale), mIoU:
                                   ViT-B            DeiT-S           DeiT-B
    without a neck                                  42.87 (43.79)    45.36 (47.16)
    MultiLevelNeck                 46.75 (48.46)    43.82 (45.07)    45.46 (47.16)
    MultiLevelNeck, final norm     47.73 (49.95)    43.52 (45.01)    45.37 (47.23)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the grid of patches, L = h * w tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec, Level, Size, TokenLevel
from intarsia.layers import position_embedding
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import PatchEmbed, to_map
from intarsia.layers.position_embedding import Interpolation, learned_positions
from intarsia.layers.stages import layer_indices
from intarsia.layers.transformer import EncoderLayer

LN = Norm("LN")


class VisionTransformer(nn.Module):
    """Patches with learned positions and a class token, then layers of attention (figure 1).

    B is the default; L has ``embed_dims=1024, num_layers=24, num_heads=16``; DeiT-S ``embed_dims=384, num_heads=6``.

    Args:
        img_size: height and width of the images that positions are learned for, or its side; they are resized where
            an image has another size.
        patch_size: side of a patch in pixels.
        patch_pad: where images are padded to whole patches: below and to the right ("corner"), or on all sides
            ("same"); or how many zeros on each side, and what is then left of a patch is left out.
        in_channels: bands of the image.
        embed_dims: channels of a token.
        num_layers: layers.
        num_heads: attention heads.
        mlp_ratio: hidden channels of the feed-forward networks per channel.
        out_origin: give what the first layer reads as a level before all others.
        out_indices: layers whose outputs are returned; -1 is the last.
        qkv_bias: biases in the attention's projections.
        drop_rate: dropout behind the embedding, attention, and in the feed-forward networks.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last layer; grows linearly from 0 at the first.
        with_cls_token: the layers see the class token; without it, it is taken away before the first of them.
        output_cls_token: give the class token with each level (`TokenLevel`).
        norm: everywhere.
        activation: of the feed-forward networks.
        patch_norm: a norm behind the projection of patches.
        patch_bias: a bias in it.
        pre_norm: a norm before the first layer.
        final_norm: a norm behind the last layer.
        interpolate_mode: how positions are resized.
        frozen_exclude: parts of names; parameters without any of them in their name keep their weights as loaded.
            With "all" among them, nothing is frozen.
        checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.

    Linear layers, positions and class token start truncated-normal (0.02), the patches' convolution normal by fan_in,
    biases of feed-forward networks near 0, other biases at 0, norms as identity, as in the original.

    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        *,
        img_size: int | Size = 224,
        patch_size: int = 16,
        patch_pad: int | Literal["corner", "same"] = "corner",
        in_channels: int = 3,
        embed_dims: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4,
        out_origin: bool = False,
        out_indices: int | Sequence[int] = -1,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        with_cls_token: bool = True,
        output_cls_token: bool = False,
        norm: Norm = LN,
        activation: Activation = GELU,
        patch_norm: bool = False,
        patch_bias: bool = False,
        pre_norm: bool = False,
        final_norm: bool = False,
        interpolate_mode: Interpolation = "bicubic",
        frozen_exclude: Sequence[str] = ("all",),
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if output_cls_token and not with_cls_token:
            raise ValueError("output_cls_token=True gives the class token, which needs with_cls_token=True")
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid = (height // patch_size, width // patch_size)
        self.out_indices = layer_indices(out_indices, num_layers)
        self.out_origin = out_origin
        self.with_cls_token = with_cls_token
        self.output_cls_token = output_cls_token
        self.interpolate_mode = interpolate_mode
        self.checkpoint_activations = checkpoint_activations
        self.cls_token = learned_positions(1, embed_dims)
        self.pos_embed = learned_positions(1 + self.grid[0] * self.grid[1], embed_dims)
        self.patch_embed = PatchEmbed(
            in_channels,
            embed_dims,
            patch_size=patch_size,
            padding=patch_pad,
            bias=patch_bias,
            norm=norm if patch_norm else None,
        )
        self.drop_after_pos = nn.Dropout(drop_rate)
        self.ln_pre = norm(embed_dims) if pre_norm else None
        last = max(num_layers - 1, 1)
        self.layers = nn.ModuleList(
            EncoderLayer(
                embed_dims,
                num_heads,
                hidden=int(mlp_ratio * embed_dims),
                qkv_bias=qkv_bias,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate * i / last,
                norm=norm,
                activation=activation,
            )
            for i in range(num_layers)
        )
        self.ln1 = norm(embed_dims) if final_norm else None
        level = FeatureSpec(embed_dims, patch_size, tokens=output_cls_token)
        self.features = (level,) * (len(self.out_indices) + out_origin)
        self._initialise()
        if "all" not in frozen_exclude:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(any(part in name for part in frozen_exclude))

    def forward(self, images: Tensor) -> tuple[Level, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / patch_size, W / patch_size), rounded up."""
        x = self.patch_embed(images)  # (N, h, w, C)
        height, width = x.shape[1:3]
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], dim=1)  # (N, 1 + L, C)
        positions = position_embedding.resize_positions(
            self.pos_embed, self.grid, (height, width), mode=self.interpolate_mode, tokens=1
        )
        x = self.drop_after_pos(x + positions)
        if not self.with_cls_token:
            x = x[:, 1:]  # (N, L, C)
        if self.ln_pre is not None:
            x = self.ln_pre(x)
        outputs: list[Level] = [self._level(x, height, width)] if self.out_origin else []
        for i, layer in enumerate(self.layers):
            x = run_block(layer, x, checkpoint=self.checkpoint_activations)
            if self.ln1 is not None and i == len(self.layers) - 1:
                x = self.ln1(x)
            if i in self.out_indices:
                outputs.append(self._level(x, height, width))
        return tuple(outputs)

    def _level(self, x: Tensor, height: int, width: int) -> Level:
        """Tokens (N, 1 + L or L, C) -> the map (N, C, h, w), with the class token (N, C) if that is wanted."""
        patches = x[:, 1:] if self.with_cls_token else x
        level = to_map(patches, height, width).contiguous()
        return TokenLevel(level, x[:, 0]) if self.output_cls_token else level

    def _initialise(self) -> None:
        nn.init.kaiming_normal_(self.patch_embed.projection.weight)  # by fan_in
        if self.patch_embed.projection.bias is not None:
            nn.init.zeros_(self.patch_embed.projection.bias)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=1e-6 if "ffn" in name else 0.0)
