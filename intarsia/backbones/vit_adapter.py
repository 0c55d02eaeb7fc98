"""ViT-Adapter: a plain transformer that a pyramid of convolutions looks at, and is looked at by.

Paper: Chen et al., Vision Transformer Adapter for Dense Predictions, arXiv:2205.08534.
Original code: https://github.com/czczup/ViT-Adapter

    ViTAdapter("vit_small_patch16_224")        the transformer is timm's, under timm's names, as in `TIMM`

Deviations. Tokens in front of the patches (class token, registers) run through the blocks and are not looked at, as the
authors have it for BEiT; their DeiTs and AugRegs go without: `prefix_tokens=False`. Positions learned for another grid
are resampled as timm does it, whose bicubic kernel is another one. Images are padded to multiples of 32, and the levels
cut back, where the authors resize.

mIoU on ADE20K as published, UPerNet, one scale: T 42.6, S 46.2, B 48.8.

Shape letters: N images, C channels, H, W height and width of the images, T patches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.backbones.timm import TIMM
from intarsia.backbones.timm_blocks import FILES
from intarsia.contracts import FeatureSpec, Size
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.adapter import Interaction, SpatialPrior
from intarsia.layers.deformable_attention import DeformableAttention
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.patch_embed import within_image
from intarsia.layers.positions import centres

STRIDES = (4, 8, 16, 32)
PATCH = 16


class ViTAdapter(nn.Module):
    """A plain transformer of timm with an adapter: four levels of strides 4 to 32, all of its width.

    Args:
        model_name: of the transformer, as timm knows it; patches are of 16 pixels.
        in_channels: bands of the image.
        interaction_indexes: (first, last) block of each of the four interactions; by default quarters of the depth.
        conv_channels: of the first convolutions.
        num_points: that each head looks at, per level.
        deform_num_heads: of the attention between both.
        deform_ratio: channels of its values, as a share.
        ffn_ratio: channels within its perceptrons, as a share.
        extra_extractors: two more behind the last blocks.
        add_trunk_levels: add what the transformer is after each interaction to the levels.
        prefix_tokens: keep the tokens that stand in front of the patches.
        norm: of the convolutions, and behind each level.
        drop_path_rate: of the transformer, stochastic depth rising to it, and of the extractors.
        options: further arguments of timm's own network, such as {"patch_size": 16}.
        checkpoint_activations: recompute blocks in the backward pass instead of keeping their activations.

    The adapter starts as the authors have it; injectors start at 0, so that the transformer is at first as it was.

    Raises ValueError for networks of timm that are no plain transformers of such patches.
    """

    untrained_parts = ("spm", "interactions", "up", "norm1", "norm2", "norm3", "norm4", "level_embed")
    features: tuple[FeatureSpec, ...]
    model_name: str
    left_away: tuple[str, ...]
    network: tuple[Any]
    checkpoint_activations: bool
    add_trunk_levels: bool
    prefix_tokens: bool
    interaction_indexes: tuple[tuple[int, int], ...]

    def __init__(
        self,
        model_name: str,
        *,
        in_channels: int = 3,
        interaction_indexes: Sequence[Sequence[int]] | None = None,
        conv_channels: int = 64,
        num_points: int = 4,
        deform_num_heads: int = 6,
        deform_ratio: float = 1.0,
        ffn_ratio: float = 0.25,
        extra_extractors: bool = True,
        add_trunk_levels: bool = True,
        prefix_tokens: bool = True,
        norm: Norm = BN,
        drop_path_rate: float | None = None,
        options: Mapping[str, Any] | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        trunk = TIMM(
            model_name, in_channels=in_channels, out_indices=(-1,), drop_path_rate=drop_path_rate, options=options
        )
        (network,) = trunk.network
        _check(network, trunk.features[0], model_name)
        channels, depth = trunk.features[0].channels, len(network.blocks)
        self.__dict__ |= {
            "features": tuple(FeatureSpec(channels, stride) for stride in STRIDES),
            "model_name": model_name,
            "left_away": trunk.left_away,
            "network": trunk.network,
            "checkpoint_activations": checkpoint_activations,
            "add_trunk_levels": add_trunk_levels,
            "prefix_tokens": prefix_tokens,
            "interaction_indexes": _ranges(interaction_indexes, depth, model_name),
        }
        # The transformer's own children, as in `TIMM`; those of the adapter come beside them.
        for own in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[own] = getattr(network, own)
        self.level_embed = nn.Parameter(torch.zeros(3, channels))
        self.spm = SpatialPrior(in_channels, conv_channels, channels, norm=norm)
        last = len(self.interaction_indexes) - 1
        self.interactions = nn.Sequential(
            *(
                Interaction(
                    channels, deform_num_heads, num_points=num_points, ratio=deform_ratio, ffn_ratio=ffn_ratio,
                    drop_path_rate=drop_path_rate or 0.0, extra=extra_extractors and number == last,
                )
                for number in range(last + 1)
            )
        )  # fmt: skip
        self.up = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        for number in range(1, 5):
            self.add_module(f"norm{number}", norm(channels))
        if not prefix_tokens:
            self.__dict__["left_away"] = (*trunk.left_away, *_drop_tokens(network))
        self._initialise()

    @property
    def least_size(self) -> int:
        """Pixels of a side of the smallest image."""
        return STRIDES[-1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> (N, C, H / stride, W / stride) for the strides 4, 8, 16 and 32, rounded up."""
        height, width = images.shape[-2:]
        step = math.lcm(STRIDES[-1], PATCH)
        images = F.pad(images, (0, -width % step, 0, -height % step))
        finest, *coarse = self.spm(images)
        sizes: list[Size] = [(level.shape[2], level.shape[3]) for level in coarse]
        tokens, rope = self._tokens(images)
        pyramid = torch.cat(
            [level.flatten(2).transpose(1, 2) + self.level_embed[i] for i, level in enumerate(coarse)], dim=1
        )  # (N, S, C)
        pyramid, maps = self._interacted(pyramid, tokens, rope, sizes)
        parts = pyramid.split([rows * columns for rows, columns in sizes], dim=1)
        levels = [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]
        levels = [self.up(levels[0]) + finest, *levels]
        if self.add_trunk_levels:
            levels = [
                level + resize(x, level.shape[2:], align_corners=False) for level, x in zip(levels, maps, strict=True)
            ]
        normed = (getattr(self, f"norm{number}")(level) for number, level in enumerate(levels, start=1))
        return tuple(
            within_image(level, (height, width), stride) for level, stride in zip(normed, STRIDES, strict=True)
        )

    def train(self, mode: bool = True) -> ViTAdapter:
        """Training mode, also of timm's network, which is no child."""
        super().train(mode)
        self.network[0].training = mode
        return self

    def _tokens(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What goes into the first block, (N, P + T, C), and rotations for positions, if the network has them."""
        (network,) = self.network
        embedded = network._pos_embed(network.patch_embed(images))
        tokens, rope = embedded if isinstance(embedded, tuple) else (embedded, None)
        if not self.prefix_tokens:
            tokens = tokens[:, network.num_prefix_tokens :]
        if hasattr(network, "norm_pre"):
            tokens = network.norm_pre(tokens)
        return tokens, rope

    def _interacted(
        self, pyramid: Tensor, tokens: Tensor, rope: Tensor | None, sizes: Sequence[Size]
    ) -> tuple[Tensor, list[Tensor]]:
        """The pyramid (N, S, C) after all interactions, and the patches after each, as maps (N, C, H / 16, W / 16)."""
        (network,) = self.network
        count = network.num_prefix_tokens if self.prefix_tokens else 0
        grid = sizes[1]
        at_patches = centres(*grid, like=pyramid)  # (T, 2)
        at_pyramid = torch.cat([centres(*size, like=pyramid) for size in sizes])  # (S, 2)
        keywords = {} if rope is None else {"rope": rope}
        maps = []
        for interaction, (first, last) in zip(self.interactions, self.interaction_indexes, strict=True):
            around = cast("Interaction", interaction)
            prefix, patches = tokens[:, :count], tokens[:, count:]
            tokens = torch.cat([prefix, around.injector(patches, pyramid, at_patches, sizes)], dim=1)
            for block in network.blocks[first : last + 1]:
                tokens = run_block(_Bound(block, keywords), tokens, checkpoint=self.checkpoint_activations)
            patches = tokens[:, count:]
            pyramid = around.extract(pyramid, patches, at_pyramid, sizes, grid)
            maps.append(patches.transpose(1, 2).unflatten(2, grid))
        return pyramid, maps

    def _initialise(self) -> None:
        for module in (*self.up.modules(), *self.spm.modules(), *self.interactions.modules()):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.interactions.modules():
            if isinstance(module, DeformableAttention):
                module.initialise()
        nn.init.normal_(self.level_embed)


class _Bound(nn.Module):
    """A block with its keywords, as what is recomputed takes it."""

    def __init__(self, block: nn.Module, keywords: Mapping[str, Any]) -> None:
        super().__init__()
        self.block, self.keywords = block, keywords
        self.training = block.training

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) -> (N, L, C)."""
        out: Tensor = self.block(tokens, **self.keywords)
        return out


def _drop_tokens(network: nn.Module) -> list[str]:
    """Tokens that are cut off again, as timm computes with them, are no parameters: the authors' files have none.

    Their names, which files of timm have.
    """
    names = [name for name in ("cls_token", "reg_token") if getattr(network, name, None) is not None]
    for name in names:
        token = getattr(network, name)
        delattr(network, name)
        network.register_buffer(name, torch.zeros_like(token), persistent=False)
    return names


def _check(network: Any, level: FeatureSpec, name: str) -> None:
    """Raises ValueError for a network that an adapter cannot be put beside."""
    file = type(network).__module__.rpartition(".")[2]
    if file not in FILES or getattr(network, "rope_mixed", False):
        raise ValueError(
            f"ViTAdapter is for plain transformers of timm (ViT, DeiT, DINOv2, DINOv3, CLIP, EVA-02); {name} is none"
        )
    if level.stride != PATCH:
        raise ValueError(
            f"ViTAdapter is for patches of {PATCH} pixels; those of {name} have {level.stride}: "
            f"options={{'patch_size': {PATCH}}}"
        )


def _ranges(given: Sequence[Sequence[int]] | None, depth: int, name: str) -> tuple[tuple[int, int], ...]:
    """(first, last) block of each interaction. Raises ValueError unless four of them are all blocks, in order."""
    bounds = [depth * quarter // 4 for quarter in range(5)]
    usual = tuple((first, last - 1) for first, last in itertools.pairwise(bounds))
    ranges = usual if given is None else tuple((int(one[0]), int(one[-1])) for one in given)
    blocks = [block for first, last in ranges for block in range(first, last + 1)]
    if len(ranges) != len(STRIDES) or blocks != list(range(depth)) or any(first > last for first, last in ranges):
        raise ValueError(
            f"interaction_indexes are (first, last) of four stretches that are all {depth} blocks of {name}, such as "
            f"{[list(one) for one in usual]}; got {[list(one) for one in ranges]}"
        )
    return ranges
