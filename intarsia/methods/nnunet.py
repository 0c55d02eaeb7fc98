"""nnU-Net's networks in two dimensions: a U-Net whose depth, strides and widths a planner has chosen for the data.

Papers: Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, Nature
    Methods 18, 2021, https://doi.org/10.1038/s41592-020-01008-z (plain convolutions); Isensee et al., nnU-Net
    Revisited, MICCAI 2024, arXiv:2404.09556 (residual encoder, presets M, L and XL).
Original code: https://github.com/MIC-DKFZ/nnUNet and https://github.com/MIC-DKFZ/dynamic-network-architectures
    (Apache-2.0). With the same weights, logits of all levels and gradients are the same.

The encoder is a backbone here, the decoder a head. What the planner does is `workflows/plan_nnunet.py`; checkpoints of
nnU-Net are read by `weights/maps/nnunet.py`.

Ours: images of any size. Strided convolutions round up, what is enlarged is cut to the map beside it, and pooling
averages what there is; where the strides divide the sides, as those of all patches do, nothing of that happens.

Published scores (nnU-Net Revisited, table 1) are of its 3D networks; there are none of 2D alone.

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of a level, P its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec, HeadOutput, PointLogits, Size
from intarsia.layers.activation import Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import Norm

SLOPE = 0.01
NORM = Norm("IN", affine=True)
LEAKY = Activation("LeakyReLU", negative_slope=SLOPE)

Sides: TypeAlias = "int | Sequence[int]"
"""Of a kernel or a stride: of height and width, or one number for both."""

_MORE = 1e-6
"""Added to middles, in 0..1, so that rounding does not put one between two labels into the first."""


def _pair(value: Sides) -> Size:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


class ConvInstance(nn.Module):
    """A convolution with a bias, an instance norm, and a leaky rectifier unless it is the last one before a sum.

    A `ConvNormAct` would call such a norm `in`, a word of Python, which torch.fx cannot write into its programs.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: Sides,
        stride: Sides = 1,
        *,
        bias: bool = True,
        last: bool = False,
    ) -> None:
        super().__init__()
        kernel = _pair(kernel_size)
        padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride=_pair(stride), padding=padding, bias=bias)
        self.norm = NORM(channels)
        self.activate = nn.Identity() if last else LEAKY()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h / stride, w / stride)."""
        out: Tensor = self.activate(self.norm(self.conv(x)))
        return out


def _convs(in_channels: int, channels: int, kernel_size: Sides, count: int, stride: Sides = 1) -> nn.Sequential:
    """Some convolutions, the first of which strides."""
    first = ConvInstance(in_channels, channels, kernel_size, stride)
    return nn.Sequential(first, *(ConvInstance(channels, channels, kernel_size) for _ in range(count - 1)))


def start_nnunet(module: nn.Module) -> None:
    """Weights as nnU-Net starts them: after He et al. (arXiv:1502.01852), fan_in, for a slope of 0.01; biases 0; a
    residual block adds nothing at first.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, a=SLOPE)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, ResidualBlock):
            nn.init.zeros_(part.conv2.norm.weight)  # type: ignore[arg-type]


def _checked_stages(
    owner: str,
    channels: Sequence[int],
    kernel_sizes: Sequence[Sides] | int,
    strides: Sequence[Sides],
    counts: Sequence[int],
) -> list[tuple[int, Size, Size, int]]:
    """Width, kernel, stride and number of parts of each stage. Raises ValueError for lists of different lengths."""
    kernels = [kernel_sizes] * len(channels) if isinstance(kernel_sizes, int) else kernel_sizes
    lengths = {"channels": channels, "kernel_sizes": kernels, "strides": strides, "num_convs or num_blocks": counts}
    if not channels or len({len(values) for values in lengths.values()}) != 1:
        found = ", ".join(f"{name} {len(values)}" for name, values in lengths.items())
        raise ValueError(f"{owner}: each stage has an entry in each list; their lengths are {found}")
    return list(zip(channels, map(_pair, kernels), map(_pair, strides), counts, strict=True))


def _features(stages: Sequence[tuple[int, Size, Size, int]]) -> tuple[FeatureSpec, ...]:
    """What each stage gives. Of strides that differ from side to side the larger one is stated."""
    down, across = (list(accumulate((stage[2][axis] for stage in stages), mul)) for axis in (0, 1))
    return tuple(FeatureSpec(stage[0], max(sides)) for stage, *sides in zip(stages, down, across, strict=True))


def _levels(stages: nn.ModuleList, x: Tensor, checkpoint: bool) -> tuple[Tensor, ...]:
    levels = []
    for stage in stages:
        x = run_block(stage, x, checkpoint=checkpoint)
        levels.append(x)
    return tuple(levels)


class PlainConvEncoder(nn.Module):
    """Stages of convolutions, the first of which strides (`PlainConvUNet` of the original).

    Args:
        in_channels: bands of the image.
        channels: of each stage; the lists that follow have an entry for each, too.
        kernel_sizes: of a stage's convolutions, (height, width) or one number; or one number for all stages.
        strides: of a stage's first convolution, (height, width) or one number. The stride that a level states is the
            larger one of both sides.
        num_convs: convolutions of each stage.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.

    Raises ValueError for lists of different lengths.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: Sequence[int] = (32, 64, 128, 256, 512, 512, 512, 512),
        kernel_sizes: Sequence[Sides] | int = 3,
        strides: Sequence[Sides] = (1, 2, 2, 2, 2, 2, 2, 2),
        num_convs: Sequence[int] = (2, 2, 2, 2, 2, 2, 2, 2),
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        found = _checked_stages("PlainConvEncoder", channels, kernel_sizes, strides, num_convs)
        self.checkpoint_activations = checkpoint_activations
        self.features = _features(found)
        self.least_size = self.features[-1].stride + 1  # a norm needs two pixels
        self.stages, before = nn.ModuleList(), in_channels
        for width, kernel, stride, count in found:
            self.stages.append(_convs(before, width, kernel, count, stride))
            before = width
        start_nnunet(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> levels (N, channels[i], H / stride, W / stride), the finest first."""
        return _levels(self.stages, images, self.checkpoint_activations)


class ResidualBlock(nn.Module):
    """Two convolutions and what comes past them: averaged where they stride, projected where they change the width
    (He et al., Bag of Tricks, arXiv:1812.01187, figure 2c).
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: Sides, stride: Sides) -> None:
        super().__init__()
        self.conv1 = ConvInstance(in_channels, channels, kernel_size, stride)
        self.conv2 = ConvInstance(channels, channels, kernel_size, last=True)
        strides = _pair(stride) != (1, 1)
        self.pool = nn.AvgPool2d(_pair(stride), ceil_mode=True) if strides else nn.Identity()
        self.skip: nn.Module = nn.Identity()
        if in_channels != channels:
            self.skip = ConvInstance(in_channels, channels, 1, bias=False, last=True)
        self.activate = LEAKY()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h / stride, w / stride)."""
        out: Tensor = self.activate(self.conv2(self.conv1(x)) + self.skip(self.pool(x)))
        return out


class ResidualEncoder(nn.Module):
    """A convolution that keeps the size, then stages of residual blocks (`ResidualEncoderUNet` of the original).

    Args:
        num_blocks: residual blocks of each stage.

    The others are those of `PlainConvEncoder`. Raises ValueError for lists of different lengths.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: Sequence[int] = (32, 64, 128, 256, 512, 512, 512, 512),
        kernel_sizes: Sequence[Sides] | int = 3,
        strides: Sequence[Sides] = (1, 2, 2, 2, 2, 2, 2, 2),
        num_blocks: Sequence[int] = (1, 3, 4, 6, 6, 6, 6, 6),
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        found = _checked_stages("ResidualEncoder", channels, kernel_sizes, strides, num_blocks)
        self.checkpoint_activations = checkpoint_activations
        self.features = _features(found)
        self.least_size = self.features[-1].stride + 1  # a norm needs two pixels
        before, first_kernel, _, _ = found[0]
        self.stem = ConvInstance(in_channels, before, first_kernel)
        self.stages = nn.ModuleList()
        for width, kernel, stride, count in found:
            first = ResidualBlock(before, width, kernel, stride)
            others = (ResidualBlock(width, width, kernel, 1) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *others))
            before = width
        start_nnunet(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> levels (N, channels[i], H / stride, W / stride), the finest first."""
        return _levels(self.stages, self.stem(images), self.checkpoint_activations)


class NNUNetHead(nn.Module):
    """The decoder: each step enlarges by a transposed convolution, lays the encoder's level beside, and convolves.

    Training looks at the logits of all steps (deep supervision), each with half the weight of the next finer one
    (`config/lowering/losses.py`), but for the coarsest: its classifier is in checkpoints, and is never trained.

    Args:
        in_channels: of each level, the finest first.
        num_classes: number of logits.
        in_index: the levels read, the finest first.
        kernel_sizes: of each level's convolutions, as those of the encoder; or one number.
        strides: from the level before to each one, as those of the encoder; the first is not looked at.
        num_convs: convolutions of each step, the coarsest first; or one number.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for fewer than two levels, or lists of other lengths.
    """

    averaged_as_logits = True
    """Of several folds nnU-Net averages the logits, as it does of windows and mirror images."""

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3, 4, 5, 6, 7),
        kernel_sizes: Sequence[Sides] | int = 3,
        strides: Sequence[Sides] | int = 2,
        num_convs: Sequence[int] | int = 2,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("NNUNetHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        steps = len(self.in_channels) - 1
        kernels = [kernel_sizes] * (steps + 1) if isinstance(kernel_sizes, int) else kernel_sizes
        jumps = [strides] * (steps + 1) if isinstance(strides, int) else strides
        counts = [num_convs] * steps if isinstance(num_convs, int) else num_convs
        if steps < 1 or (len(kernels), len(jumps), len(counts)) != (steps + 1, steps + 1, steps):
            raise ValueError(
                f"NNUNetHead reads two levels or more, and has a kernel size and a stride for each and a number of "
                f"convolutions for each step between two; got {steps + 1} levels, kernel_sizes={kernel_sizes}, "
                f"strides={strides}, num_convs={num_convs}"
            )
        self.transpconvs, self.stages, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for step, count in enumerate(counts):
            level = steps - step  # from this one to the next finer
            width, jump = self.in_channels[level - 1], _pair(jumps[level])
            self.transpconvs.append(nn.ConvTranspose2d(self.in_channels[level], width, jump, stride=jump))
            self.stages.append(_convs(2 * width, width, kernels[level - 1], count))
            self.seg_layers.append(nn.Conv2d(width, num_classes, 1))
        start_nnunet(self)
        if steps > 1:
            self.seg_layers[0].requires_grad_(False)  # of the coarsest step, which nothing looks at

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the finest level."""
        logits: Tensor = self.seg_layers[-1](self._steps(features)[-1])
        return logits

    def training_outputs(self, features: Sequence[Tensor]) -> dict[str, HeadOutput]:
        """The logits as "", and those of coarser levels as "level_1", "level_2" ..., but for the coarsest.

        They are compared with the label in the middle of each of their pixels, which is what `PointLogits` says.
        """
        maps = self._steps(features)
        logits = [layer(x) for layer, x in zip(self.seg_layers, maps, strict=True)][::-1]
        logits = logits[: max(len(logits) - 1, 1)]
        others = {f"level_{i}": PointLogits(x.flatten(2), _middles(x)) for i, x in enumerate(logits[1:], 1)}
        return {"": logits[0], **others}

    def _steps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The maps (N, C, h, w) behind each step, the coarsest first."""
        x, *beside = [features[i] for i in reversed(self.in_index)]
        maps = []
        for enlarge, convs, skip in zip(self.transpconvs, self.stages, beside, strict=True):
            height, width = skip.shape[2:]
            x = convs(torch.cat([_cut(enlarge(x), height, width), skip], dim=1))
            maps.append(x)
        return maps


def _cut(x: Tensor, height: int, width: int) -> Tensor:
    """(N, C, h, w) without the row and the column that an odd side of the finer level does not have."""
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))


def _middles(logits: Tensor) -> Tensor:
    """Where the middles of the pixels of (N, K, h, w) lie, row by row: (N, P, 2) as (x, y) in 0..1.

    That of a pixel often lies between two labels, of which the second counts (torch's "nearest-exact").
    """
    height, width = logits.shape[2:]
    y, x = ((torch.arange(side, device=logits.device) + 0.5) / side + _MORE for side in (height, width))
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)  # (h, w, 2)
    return grid.reshape(1, -1, 2).expand(logits.shape[0], -1, -1)
