"""PoolFormer: a transformer whose attention is replaced by the mean of the neighbours.

Paper: Yu et al., MetaFormer Is Actually What You Need for Vision, arXiv:2111.11418, sections 3.2 and 4.1, table 1.
Original code: https://github.com/sail-sg/poolformer

Deviations, shared with OpenMMLab's published weights: none in the computation; every level that is given has a norm of
its own.

Published scores with Semantic FPN on ADE20K 512x512, 40k steps, mIoU:
    S12 36.68    S24 40.12    S36 41.61    M36 41.95    M48 42.43

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.drop_path import DropPath
from intarsia.layers.layer_scale import layer_scale
from intarsia.layers.norm import Norm
from intarsia.layers.stages import freeze, layer_indices

ONE_GROUP = Norm("GN", num_groups=1)


@dataclass(frozen=True, slots=True)
class Architecture:
    """Blocks, channels, and hidden channels of the perceptrons per channel, of each stage; where the factors of the
    branches start.
    """

    layers: Sequence[int]
    embed_dims: Sequence[int]
    mlp_ratios: Sequence[int] = (4, 4, 4, 4)
    layer_scale_init_value: float = 1e-6

    def __post_init__(self) -> None:
        if not len(self.layers) == len(self.embed_dims) == len(self.mlp_ratios):
            raise ValueError(
                f"layers, embed_dims and mlp_ratios of arch need one entry for each stage; got {tuple(self.layers)}, "
                f"{tuple(self.embed_dims)} and {tuple(self.mlp_ratios)}"
            )


_SMALL, _MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)
ARCHITECTURES = {
    "s12": Architecture((2, 2, 6, 2), _SMALL, layer_scale_init_value=1e-5),
    "s24": Architecture((4, 4, 12, 4), _SMALL, layer_scale_init_value=1e-5),
    "s36": Architecture((6, 6, 18, 6), _SMALL),
    "m36": Architecture((6, 6, 18, 6), _MEDIUM),
    "m48": Architecture((8, 8, 24, 8), _MEDIUM),
}
"""The sizes of table 1."""


class PatchEmbed(nn.Module):
    """A strided convolution, at the beginning and between two stages."""

    def __init__(self, in_channels: int, channels: int, *, patch_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, patch_size, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h / stride, w / stride)."""
        out: Tensor = self.proj(x)
        return out


class Pooling(nn.Module):
    """By how much the mean of a pixel's neighbours, those within the map, differs from it (equation 4)."""

    def __init__(self, pool_size: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(pool_size, stride=1, padding=pool_size // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = self.pool(x) - x
        return out


class Mlp(nn.Module):
    """The perceptron over the channels of each pixel."""

    def __init__(self, channels: int, hidden: int, *, drop_rate: float, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.act = activation()
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.drop1 = nn.Dropout(drop_rate)
        self.drop2 = nn.Dropout(drop_rate)
        for layer in (self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        x = self.drop1(self.act(self.fc1(x)))  # (N, hidden, h, w)
        out: Tensor = self.drop2(self.fc2(x))
        return out


class Block(nn.Module):
    """Pooling and perceptron, each normalised before, scaled, and added to its input (figure 2b)."""

    def __init__(
        self,
        channels: int,
        *,
        pool_size: int,
        mlp_ratio: int,
        layer_scale_init_value: float,
        drop_rate: float,
        drop_path_rate: float,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.token_mixer = Pooling(pool_size)
        self.norm2 = norm(channels)
        self.mlp = Mlp(channels, mlp_ratio * channels, drop_rate=drop_rate, activation=activation)
        self.drop_path = DropPath(drop_path_rate)
        self.layer_scale_1 = layer_scale(channels, layer_scale_init_value)
        self.layer_scale_2 = layer_scale(channels, layer_scale_init_value)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.token_mixer(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))
        return out


class PoolFormer(nn.Module):
    """Stages of pooling blocks at strides 4, 8, 16, 32, with a strided convolution between two of them.

    Stages and convolutions are counted together: with four stages, 0, 2, 4 and 6 are the stages.

    Args:
        arch: name of a size in `ARCHITECTURES`, or the fields of an `Architecture` as a dict.
        in_channels: bands of the image.
        pool_size: side of the neighbourhood.
        in_patch_size: side of the patches of the image.
        in_stride: distance between them.
        in_pad: zeros around the image.
        down_patch_size: side of the patches that are merged between two stages.
        down_stride: distance between them.
        down_pad: zeros around the map.
        drop_rate: dropout in the perceptrons.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        out_indices: stages and convolutions whose outputs are returned, each behind a norm; -1 is the last.
        frozen_stages: the first convolution (0) and so many stages and convolutions behind it keep their weights as
            loaded; -1 freezes nothing.
        norm: everywhere.
        activation: of the perceptrons.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Perceptrons start truncated-normal (0.02) with biases at 0, norms as identity, strided convolutions as torch's, as
    in the original.

    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        *,
        arch: str | Mapping[str, Any] = "s12",
        in_channels: int = 3,
        pool_size: int = 3,
        in_patch_size: int = 7,
        in_stride: int = 4,
        in_pad: int = 2,
        down_patch_size: int = 3,
        down_stride: int = 2,
        down_pad: int = 1,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = 0,
        norm: Norm = ONE_GROUP,
        activation: Activation = GELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        size = _architecture(arch)
        steps = 2 * len(size.layers) - 1
        self.out_indices = layer_indices(out_indices, steps)
        if not -1 <= frozen_stages <= steps:
            raise ValueError(f"frozen_stages must lie between -1 (none) and {steps}; got {frozen_stages}")
        self.frozen_stages = frozen_stages
        self.checkpoint_activations = checkpoint_activations
        last = max(sum(size.layers) - 1, 1)
        rates = iter([drop_path_rate * i / last for i in range(sum(size.layers))])
        levels = [FeatureSpec(width, in_stride * down_stride**i) for i, width in enumerate(size.embed_dims)]
        self.patch_embed = PatchEmbed(
            in_channels, levels[0].channels, patch_size=in_patch_size, stride=in_stride, padding=in_pad
        )
        self.network = nn.ModuleList()
        for stage, level in enumerate(levels):
            if stage:
                self.network.append(
                    PatchEmbed(
                        levels[stage - 1].channels,
                        level.channels,
                        patch_size=down_patch_size,
                        stride=down_stride,
                        padding=down_pad,
                    )
                )
            blocks = [
                Block(
                    level.channels,
                    pool_size=pool_size,
                    mlp_ratio=size.mlp_ratios[stage],
                    layer_scale_init_value=size.layer_scale_init_value,
                    drop_rate=drop_rate,
                    drop_path_rate=next(rates),
                    norm=norm,
                    activation=activation,
                )
                for _ in range(size.layers[stage])
            ]
            self.network.append(nn.Sequential(*blocks))
        self.features = tuple(levels[(index + 1) // 2] for index in self.out_indices)
        side = 1  # that the last convolution must leave
        for _ in levels[1:]:
            side = max(1, (side - 1) * down_stride + down_patch_size - 2 * down_pad)
        self.least_size = max(1, (side - 1) * in_stride + in_patch_size - 2 * in_pad)
        for index, level in zip(self.out_indices, self.features, strict=True):
            self.add_module(f"norm{index}", norm(level.channels))
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / stride, W / stride)."""
        x = self.patch_embed(images)  # (N, C, h, w)
        outputs: list[Tensor] = []
        for i, part in enumerate(self.network):
            for block in part if isinstance(part, nn.Sequential) else [part]:
                x = run_block(block, x, checkpoint=self.checkpoint_activations)
            if i in self.out_indices:
                outputs.append(getattr(self, f"norm{i}")(x))
        return tuple(outputs)

    def train(self, mode: bool = True) -> PoolFormer:
        """Training mode, except for what is frozen."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        norms = [getattr(self, f"norm{i}") for i in self.out_indices if i < self.frozen_stages]
        freeze([self.patch_embed, *self.network[: self.frozen_stages], *norms])


def _architecture(arch: str | Mapping[str, Any]) -> Architecture:
    if not isinstance(arch, str):
        return Architecture(**arch)
    if arch not in ARCHITECTURES:
        raise ValueError(f"arch must be one of {', '.join(ARCHITECTURES)}, or a dict of its values; got {arch!r}")
    return ARCHITECTURES[arch]
