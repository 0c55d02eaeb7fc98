"""ResNet and its relatives, as dilated backbones for dense prediction.

Papers:
    ResNet    He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385
    dilation  Chen et al., Rethinking Atrous Convolution (DeepLabV3: strides, dilations, multi-grid), arXiv:1706.05587
    V1c, V1d  He et al., Bag of Tricks for Image Classification, arXiv:1812.01187, figure 2 (stems, ResNet-D's shortcut)
    ResNeXt   Xie et al., Aggregated Residual Transformations, arXiv:1611.05431
Original code: https://github.com/KaimingHe/deep-residual-networks (Caffe), torchvision (PyTorch).

Variants, all one class with different arguments:
    ResNet       7 x 7 stem. style "pytorch" strides in a bottleneck's 3 x 3 convolution, "caffe" in its first 1 x 1.
    ResNetV1c    three 3 x 3 convolutions as stem.
    ResNetV1d    V1c whose shortcuts average before they project, so that no activation is skipped.
    ResNeXt      bottlenecks of grouped 3 x 3 convolutions.

Deviations from the papers, shared with OpenMMLab's published weights:
    * a dilated stage with `contract_dilation` opens with half its dilation, against gridding;
    * in a basic block only the first convolution is dilated;
    * `multi_grid` gives the dilations of the last stage's blocks themselves, not factors of the stage's dilation.

Published scores are those of the heads on top: nearly all published segmentation models stand on a V1c of 18, 50 or 101
layers, trained on ImageNet first.

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import conv1x1, conv3x3, initialise_conv
from intarsia.layers.norm import BN, Norm
from intarsia.layers.stages import checked_out_indices, freeze, keep_statistics

Style = Literal["pytorch", "caffe"]

STEM_STRIDE = 4

EXPANSION = 4
"""Channels out of a bottleneck per channel of its stage."""

BLOCKS_PER_STAGE: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Table 1 of the paper, 200 from arXiv:1603.05027; from 50 layers on the blocks are bottlenecks."""


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. The second is never dilated."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, dilation: int, avg_down: bool, norm: Norm
    ) -> None:
        super().__init__()
        self.norm_names = (f"{norm.name}1", f"{norm.name}2")
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride, dilation=dilation)
        self.add_module(self.norm_names[0], norm(out_channels))
        self.conv2 = conv3x3(out_channels, out_channels)
        self.add_module(self.norm_names[1], norm(out_channels))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride=stride, avg_down=avg_down, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        norm1, norm2 = (getattr(self, name) for name in self.norm_names)
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(norm1(self.conv1(x)))  # (N, out_channels, h / stride, w / stride)
        x = norm2(self.conv2(x))
        x += shortcut
        out: Tensor = self.relu(x)
        return out


class Bottleneck(nn.Module):
    """1 x 1 convolution to `width` channels, 3 x 3 in groups, 1 x 1 to `out_channels`, beside a shortcut."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int,
        groups: int,
        style: Style,
        avg_down: bool,
        norm: Norm,
    ) -> None:
        super().__init__()
        stride1, stride2 = (1, stride) if style == "pytorch" else (stride, 1)
        self.norm_names = (f"{norm.name}1", f"{norm.name}2", f"{norm.name}3")
        self.conv1 = conv1x1(in_channels, width, stride=stride1)
        self.add_module(self.norm_names[0], norm(width))
        self.conv2 = conv3x3(width, width, stride=stride2, dilation=dilation, groups=groups)
        self.add_module(self.norm_names[1], norm(width))
        self.conv3 = conv1x1(width, out_channels)
        self.add_module(self.norm_names[2], norm(out_channels))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride=stride, avg_down=avg_down, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        norm1, norm2, norm3 = (getattr(self, name) for name in self.norm_names)
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(norm1(self.conv1(x)))  # (N, width, h, w), or already strided in style "caffe"
        x = self.relu(norm2(self.conv2(x)))  # (N, width, h / stride, w / stride)
        x = norm3(self.conv3(x))  # (N, out_channels, h / stride, w / stride)
        x += shortcut
        out: Tensor = self.relu(x)
        return out


class ResNet(nn.Module):
    """The family's backbone: a stem of stride 4, then stages of residual blocks that each double the channels.

    Args:
        depth: 18, 34, 50, 101, 152 or 200 layers; from 50 on the blocks are bottlenecks.
        in_channels: bands of the image.
        stem_channels: channels behind the stem.
        base_channels: channels of the first stage's blocks.
        num_stages: stages to build.
        strides: of each stage's first block.
        dilations: of each stage's 3 x 3 convolutions.
        out_indices: stages whose outputs are returned.
        style: where a strided bottleneck strides, "pytorch" in the 3 x 3 convolution, "caffe" in the first 1 x 1.
        deep_stem: three 3 x 3 convolutions instead of one 7 x 7.
        avg_down: shortcuts average over the stride before they project.
        groups: of the bottlenecks' 3 x 3 convolutions.
        base_width: channels of each group in the first stage; `base_channels` unless given.
        multi_grid: dilations of the last stage's blocks, one by one.
        contract_dilation: open a dilated stage with half its dilation.
        frozen_stages: the stem (0) and this many stages keep weights and statistics as loaded; -1 freezes nothing.
        norm: the normalisation behind every convolution.
        norm_eval: batch norms always use their running statistics.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.
        zero_init_residual: the last norm of each block starts at scale 0, so that the block starts as its shortcut.
        bottleneck: what makes the blocks from 50 layers on, called as `Bottleneck`; relatives give their own.

    Convolutions start Kaiming-normal by fan_out (arXiv:1502.01852), norms as identity.

    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        stem_channels: int = 64,
        base_channels: int = 64,
        num_stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        style: Style = "pytorch",
        deep_stem: bool = False,
        avg_down: bool = False,
        groups: int = 1,
        base_width: int | None = None,
        multi_grid: Sequence[int] | None = None,
        contract_dilation: bool = False,
        frozen_stages: int = -1,
        norm: Norm = BN,
        norm_eval: bool = False,
        checkpoint_activations: bool = False,
        zero_init_residual: bool = True,
        bottleneck: Callable[..., nn.Module] = Bottleneck,
    ) -> None:
        super().__init__()
        _check(depth, num_stages, strides, dilations, frozen_stages, multi_grid, groups)
        self.out_indices = checked_out_indices(out_indices, num_stages)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.checkpoint_activations = checkpoint_activations
        self.stem_names = self._add_stem(in_channels, stem_channels, deep=deep_stem, norm=norm)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer_names = tuple(f"layer{stage + 1}" for stage in range(num_stages))

        def block(in_channels: int, stage: int, stride: int, dilation: int) -> nn.Module:
            channels = base_channels * 2**stage
            if depth < 50:
                return BasicBlock(in_channels, channels, stride=stride, dilation=dilation, avg_down=avg_down, norm=norm)
            width = (base_width or base_channels) * groups * 2**stage
            return bottleneck(
                in_channels, width, EXPANSION * channels, stride=stride, dilation=dilation, groups=groups,
                style=style, avg_down=avg_down, norm=norm,
            )  # fmt: skip

        channels, levels, stride = stem_channels, [], STEM_STRIDE
        for stage, name in enumerate(self.layer_names):
            out_channels = base_channels * 2**stage * (1 if depth < 50 else EXPANSION)
            first, *rest = _block_dilations(
                BLOCKS_PER_STAGE[depth][stage],
                dilations[stage],
                multi_grid=multi_grid if stage == num_stages - 1 else None,
                contract=contract_dilation,
            )
            blocks = [block(channels, stage, strides[stage], first), *(block(out_channels, stage, 1, d) for d in rest)]
            self.add_module(name, nn.Sequential(*blocks))
            channels, stride = out_channels, stride * strides[stage]
            levels.append(FeatureSpec(channels, stride))
        self.features = tuple(levels[stage] for stage in self.out_indices)
        self._initialise(zero_init_residual=zero_init_residual)
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        x = images
        for name in self.stem_names:
            x = getattr(self, name)(x)
        x = self.maxpool(x)  # (N, stem_channels, H / 4, W / 4)
        outputs: list[Tensor] = []
        for stage, name in enumerate(self.layer_names):
            for block in getattr(self, name):
                x = run_block(block, x, checkpoint=self.checkpoint_activations)
            if stage in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> ResNet:
        """Training mode, except for what is frozen and, under `norm_eval`, every batch norm."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            keep_statistics(self)
        return self

    def _add_stem(self, in_channels: int, channels: int, *, deep: bool, norm: Norm) -> tuple[str, ...]:
        """Adds the layers before the pooling under their published names; returns these in order of use."""
        if deep:
            half = channels // 2
            self.stem = nn.Sequential(
                conv3x3(in_channels, half, stride=2), norm(half), nn.ReLU(inplace=True),
                conv3x3(half, half), norm(half), nn.ReLU(inplace=True),
                conv3x3(half, channels), norm(channels), nn.ReLU(inplace=True),
            )  # fmt: skip
            return ("stem",)
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.add_module(f"{norm.name}1", norm(channels))
        self.relu = nn.ReLU(inplace=True)
        return ("conv1", f"{norm.name}1", "relu")

    def _initialise(self, *, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                initialise_conv(module)
            elif zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                nn.init.zeros_(getattr(module, module.norm_names[-1]).weight)

    def _freeze(self) -> None:
        if self.frozen_stages >= 0:
            freeze(getattr(self, name) for name in (*self.stem_names, *self.layer_names[: self.frozen_stages]))


def ResNetV1c(  # noqa: N802 (a name that configs use)
    depth: int,
    *,
    in_channels: int = 3,
    stem_channels: int = 64,
    base_channels: int = 64,
    num_stages: int = 4,
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
    out_indices: Sequence[int] = (0, 1, 2, 3),
    style: Style = "pytorch",
    multi_grid: Sequence[int] | None = None,
    contract_dilation: bool = False,
    frozen_stages: int = -1,
    norm: Norm = BN,
    norm_eval: bool = False,
    checkpoint_activations: bool = False,
    zero_init_residual: bool = True,
) -> ResNet:
    """A ResNet with a deep stem; the backbone of most published segmentation models. Arguments as in `ResNet`."""
    return ResNet(
        depth, in_channels=in_channels, stem_channels=stem_channels, base_channels=base_channels,
        num_stages=num_stages, strides=strides, dilations=dilations, out_indices=out_indices, style=style,
        deep_stem=True, multi_grid=multi_grid, contract_dilation=contract_dilation, frozen_stages=frozen_stages,
        norm=norm, norm_eval=norm_eval, checkpoint_activations=checkpoint_activations,
        zero_init_residual=zero_init_residual,
    )  # fmt: skip


def ResNetV1d(  # noqa: N802 (a name that configs use)
    depth: int,
    *,
    in_channels: int = 3,
    stem_channels: int = 64,
    base_channels: int = 64,
    num_stages: int = 4,
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
    out_indices: Sequence[int] = (0, 1, 2, 3),
    style: Style = "pytorch",
    multi_grid: Sequence[int] | None = None,
    contract_dilation: bool = False,
    frozen_stages: int = -1,
    norm: Norm = BN,
    norm_eval: bool = False,
    checkpoint_activations: bool = False,
    zero_init_residual: bool = True,
) -> ResNet:
    """A ResNet with a deep stem and averaging shortcuts. Arguments as in `ResNet`."""
    return ResNet(
        depth, in_channels=in_channels, stem_channels=stem_channels, base_channels=base_channels,
        num_stages=num_stages, strides=strides, dilations=dilations, out_indices=out_indices, style=style,
        deep_stem=True, avg_down=True, multi_grid=multi_grid, contract_dilation=contract_dilation,
        frozen_stages=frozen_stages, norm=norm, norm_eval=norm_eval, checkpoint_activations=checkpoint_activations,
        zero_init_residual=zero_init_residual,
    )  # fmt: skip


def ResNeXt(  # noqa: N802 (a name that configs use)
    depth: int,
    *,
    groups: int = 32,
    base_width: int = 4,
    in_channels: int = 3,
    stem_channels: int = 64,
    base_channels: int = 64,
    num_stages: int = 4,
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
    out_indices: Sequence[int] = (0, 1, 2, 3),
    style: Style = "pytorch",
    deep_stem: bool = False,
    avg_down: bool = False,
    multi_grid: Sequence[int] | None = None,
    contract_dilation: bool = False,
    frozen_stages: int = -1,
    norm: Norm = BN,
    norm_eval: bool = False,
    checkpoint_activations: bool = False,
    zero_init_residual: bool = True,
) -> ResNet:
    """A ResNet of grouped bottlenecks, 50 layers or more; 32 x 4d unless said otherwise. Arguments as in `ResNet`."""
    return ResNet(
        depth, in_channels=in_channels, stem_channels=stem_channels, base_channels=base_channels,
        num_stages=num_stages, strides=strides, dilations=dilations, out_indices=out_indices, style=style,
        deep_stem=deep_stem, avg_down=avg_down, groups=groups, base_width=base_width, multi_grid=multi_grid,
        contract_dilation=contract_dilation, frozen_stages=frozen_stages, norm=norm, norm_eval=norm_eval,
        checkpoint_activations=checkpoint_activations, zero_init_residual=zero_init_residual,
    )  # fmt: skip


def projection(in_channels: int, out_channels: int, *, stride: int, avg_down: bool, norm: Norm) -> nn.Sequential | None:
    """The shortcut of a block that changes size or channels; None where the input itself will do."""
    if stride == 1 and in_channels == out_channels:
        return None
    if avg_down:
        # At odd sizes the last window hangs over the edge; it averages the pixels that exist.
        pool = nn.AvgPool2d(stride, stride=stride, ceil_mode=True, count_include_pad=False)
        return nn.Sequential(pool, conv1x1(in_channels, out_channels), norm(out_channels))
    return nn.Sequential(conv1x1(in_channels, out_channels, stride=stride), norm(out_channels))


def _block_dilations(blocks: int, dilation: int, *, multi_grid: Sequence[int] | None, contract: bool) -> list[int]:
    """The dilation of each block of a stage."""
    if multi_grid is not None:
        return list(multi_grid)
    return [dilation // 2 if contract and dilation > 1 else dilation] + [dilation] * (blocks - 1)


def _check(
    depth: int,
    num_stages: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    frozen_stages: int,
    multi_grid: Sequence[int] | None,
    groups: int,
) -> None:
    if depth not in BLOCKS_PER_STAGE:
        known = ", ".join(map(str, BLOCKS_PER_STAGE))
        raise ValueError(f"ResNet has no published layout of depth {depth}; depths are {known}")
    if not 1 <= num_stages <= 4 or len(strides) != num_stages or len(dilations) != num_stages:
        raise ValueError(
            f"a ResNet has 1 to 4 stages with one stride and one dilation each; "
            f"got num_stages={num_stages}, strides={tuple(strides)}, dilations={tuple(dilations)}"
        )
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(f"frozen_stages must lie between -1 (none) and {num_stages}; got {frozen_stages}")
    last = BLOCKS_PER_STAGE[depth][num_stages - 1]
    if multi_grid is not None and len(multi_grid) != last:
        given = tuple(multi_grid)
        raise ValueError(f"multi_grid needs one dilation for each of the last stage's {last} blocks; got {given}")
    if groups != 1 and depth < 50:
        raise ValueError(f"grouped convolutions belong to bottlenecks, that is depth 50 or more; got depth {depth}")
