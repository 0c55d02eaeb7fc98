"""SegNeXt: attention out of large depthwise convolutions, and a head that factorises the map.

Paper: Guo et al., SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation, arXiv:2209.08575
    (MSCAN in section 3.1 and table 2, decoder in section 3.2). The head's factorisation is that of Geng et al.,
    arXiv:2109.04553 (`layers/matrix_decomposition.py`).
Original code: https://github.com/Visual-Attention-Network/SegNeXt

Deviations, shared with OpenMMLab's published weights: none in the computation. And one of ours: at inference the bases
from which the factorisation begins are always the same, so that two runs agree to the last bit.

Published scores, single scale (flipped and multi-scale), mIoU:
    ADE20K 512x512, 160k steps    T 41.50 (42.59)    S 44.16 (45.81)    B 48.03 (49.68)    L 50.99 (52.10)

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present stage.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import GELU, RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct, init_by_group_
from intarsia.layers.drop_path import DropPath
from intarsia.layers.levels import paired_levels
from intarsia.layers.matrix_decomposition import NonnegativeFactorisation
from intarsia.layers.norm import BN, LayerNorm2d, Norm
from intarsia.layers.resized_concat import conv_of_resized

LAYER_SCALE = 1e-2
"""At which the scales of both branches of a block start."""

Pair = int | Sequence[int]
"""One number for both directions, or height and width."""


class MultiScaleAttention(nn.Module):
    """Weights made by depthwise convolutions of several sizes, with which the map is multiplied (equation 1).

    Each size but the first is a strip of 1 x k and one of k x 1.
    """

    def __init__(self, channels: int, *, kernel_sizes: Sequence[Pair], paddings: Sequence[Pair]) -> None:
        super().__init__()

        def depthwise(kernel_size: tuple[int, ...], padding: tuple[int, ...]) -> nn.Conv2d:
            (kh, kw), (ph, pw) = kernel_size, padding
            return nn.Conv2d(channels, channels, (kh, kw), padding=(ph, pw), groups=channels)

        (first, *strips), (first_padding, *strip_paddings) = kernel_sizes, paddings
        self.conv0 = depthwise(_pair(first), _pair(first_padding))
        self.strip_names = tuple((f"conv{i}_1", f"conv{i}_2") for i in range(len(strips)))
        for names, size, padding in zip(self.strip_names, strips, strip_paddings, strict=True):
            self.add_module(names[0], depthwise(_pair(size), _pair(padding)))
            self.add_module(names[1], depthwise(_pair(size)[::-1], _pair(padding)[::-1]))
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        weights = local = self.conv0(x)
        for first, second in self.strip_names:
            weights = weights + getattr(self, second)(getattr(self, first)(local))
        out: Tensor = self.conv3(weights) * x
        return out


class Attention(nn.Module):
    """Multi-scale attention between two projections, beside a shortcut (figure 2b)."""

    def __init__(
        self, channels: int, *, kernel_sizes: Sequence[Pair], paddings: Sequence[Pair], activation: Activation
    ) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = activation()
        self.spatial_gating_unit = MultiScaleAttention(channels, kernel_sizes=kernel_sizes, paddings=paddings)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x))))
        return x + out


class Mlp(nn.Module):
    """Feed-forward network with a 3 x 3 depthwise convolution between its two layers."""

    def __init__(self, channels: int, hidden: int, *, drop_rate: float, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = activation()
        self.drop1 = nn.Dropout(drop_rate)
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.drop2 = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        x = self.drop1(self.act(self.dwconv(self.fc1(x))))
        out: Tensor = self.drop2(self.fc2(x))
        return out


class Block(nn.Module):
    """Attention and feed-forward network, each normalised before, scaled, and added to its input (figure 2a)."""

    def __init__(
        self,
        channels: int,
        *,
        kernel_sizes: Sequence[Pair],
        paddings: Sequence[Pair],
        mlp_ratio: int,
        drop_rate: float,
        drop_path_rate: float,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.norm1 = norm(channels)
        self.attn = Attention(channels, kernel_sizes=kernel_sizes, paddings=paddings, activation=activation)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = norm(channels)
        self.mlp = Mlp(channels, mlp_ratio * channels, drop_rate=drop_rate, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))
        return out


class Stem(nn.Module):
    """Two strided convolutions."""

    def __init__(self, in_channels: int, channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        half = channels // 2
        self.proj = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, stride=2, padding=1), norm(half), activation(),
            nn.Conv2d(half, channels, 3, stride=2, padding=1), norm(channels),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """(N, bands, H, W) -> (N, C, H / 4, W / 4), rounded up."""
        out: Tensor = self.proj(images)
        return out


class Downsample(nn.Module):
    """A strided convolution before the second and each later stage."""

    def __init__(self, in_channels: int, channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h / 2, w / 2), rounded up."""
        out: Tensor = self.norm(self.proj(x))
        return out


class MSCAN(nn.Module):
    """SegNeXt's encoder: stages of convolutional attention at strides 4, 8, 16, 32.

    Args:
        in_channels: bands of the image.
        embed_dims: channels of each stage.
        mlp_ratios: hidden channels of the feed-forward networks per channel, in each stage.
        depths: blocks of each stage.
        drop_rate: dropout in the feed-forward networks.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        num_stages: stages to build; the sequences have one entry for each.
        attention_kernel_sizes: of the attention's depthwise convolutions; the first is a square, the others strips.
        attention_kernel_paddings: of the same.
        norm: before each branch of a block, and behind the convolutions between stages.
        activation: of stem, attention and feed-forward networks.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Convolutions start normal by the fan_out of their group, norms as identity.

    Raises ValueError if a sequence has not one entry per stage, or sizes and paddings do not pair up.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        embed_dims: Sequence[int] = (64, 128, 256, 512),
        mlp_ratios: Sequence[int] = (4, 4, 4, 4),
        depths: Sequence[int] = (3, 4, 6, 3),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        num_stages: int = 4,
        attention_kernel_sizes: Sequence[Pair] = (5, (1, 7), (1, 11), (1, 21)),
        attention_kernel_paddings: Sequence[Pair] = (2, (0, 3), (0, 5), (0, 10)),
        norm: Norm = BN,
        activation: Activation = GELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if any(len(values) != num_stages for values in (embed_dims, mlp_ratios, depths)):
            raise ValueError(
                f"embed_dims, mlp_ratios and depths need one entry for each of num_stages={num_stages}; got "
                f"{', '.join(str(tuple(values)) for values in (embed_dims, mlp_ratios, depths))}"
            )
        if len(attention_kernel_sizes) != len(attention_kernel_paddings):
            raise ValueError(
                f"attention_kernel_sizes and attention_kernel_paddings must have equal length; "
                f"got {attention_kernel_sizes} and {attention_kernel_paddings}"
            )
        self.checkpoint_activations = checkpoint_activations
        last = max(sum(depths) - 1, 1)
        rates = iter([drop_path_rate * i / last for i in range(sum(depths))])
        self.stage_names = tuple((f"patch_embed{i}", f"block{i}", f"norm{i}") for i in range(1, num_stages + 1))
        for stage, (embed, blocks, norm_name) in enumerate(self.stage_names):
            width = embed_dims[stage]
            before = (
                Downsample(embed_dims[stage - 1], width, norm=norm)
                if stage
                else Stem(in_channels, width, norm=norm, activation=activation)
            )
            self.add_module(embed, before)
            self.add_module(blocks, nn.ModuleList(
                Block(
                    width, kernel_sizes=attention_kernel_sizes, paddings=attention_kernel_paddings,
                    mlp_ratio=mlp_ratios[stage], drop_rate=drop_rate, drop_path_rate=next(rates), norm=norm,
                    activation=activation,
                )
                for _ in range(depths[stage])
            ))  # fmt: skip
            self.add_module(norm_name, LayerNorm2d(width))
        self.features = tuple(FeatureSpec(width, 4 * 2**stage) for stage, width in enumerate(embed_dims))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_by_group_(module)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each stage (N, channels, H / stride, W / stride), rounded up."""
        x = images
        outputs: list[Tensor] = []
        for embed, blocks, norm in self.stage_names:
            x = getattr(self, embed)(x)
            for block in getattr(self, blocks):
                x = run_block(block, x, checkpoint=self.checkpoint_activations)
            x = getattr(self, norm)(x)
            outputs.append(x)
        return tuple(outputs)


class Hamburger(nn.Module):
    """Factorisation between two projections, beside a shortcut (arXiv:2109.04553, figure 1)."""

    def __init__(self, channels: int, *, num_bases: int, train_steps: int, eval_steps: int, norm: Norm | None) -> None:
        super().__init__()
        self.ham_in = ConvNormAct(channels, channels, 1, activation=None)
        self.ham = NonnegativeFactorisation(
            channels, num_bases=num_bases, train_steps=train_steps, eval_steps=eval_steps
        )
        self.ham_out = ConvNormAct(channels, channels, 1, norm=norm, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        found = self.ham(self.ham_in(x).relu())  # (N, C, h, w), in full precision
        out: Tensor = self.ham_out(found.to(x.dtype))
        return (x + out).relu()


class LightHamHead(nn.Module):
    """Several levels at the size of the first, projected, factorised, projected and classified (figure 3c).

    Args:
        in_channels: channels of each level.
        channels: channels before the classifier.
        num_classes: number of logits.
        in_index: the levels read, finest first.
        ham_channels: channels that are factorised.
        num_bases: bases of the factorisation.
        train_steps: its rounds in training.
        eval_steps: its rounds at inference.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution but the first of the factorisation.
        activation: behind the first and the last norm.
        align_corners: how levels are resized here, and logits by those who consume them.

    Raises ValueError if `in_index` and `in_channels` differ in length.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (1, 2, 3),
        ham_channels: int = 512,
        num_bases: int = 64,
        train_steps: int = 6,
        eval_steps: int = 7,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("LightHamHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.squeeze = ConvNormAct(sum(self.in_channels), ham_channels, 1, norm=norm, activation=activation)
        self.hamburger = Hamburger(
            ham_channels, num_bases=num_bases, train_steps=train_steps, eval_steps=eval_steps, norm=norm
        )
        self.align = ConvNormAct(ham_channels, channels, 1, norm=norm, activation=activation)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the first level read."""
        levels = [features[i] for i in self.in_index]
        x = conv_of_resized(self.squeeze, levels, align_corners=self.align_corners)
        x = self.align(self.hamburger(x))  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits


def _pair(value: Pair) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second
