"""MobileNetV3 and its LR-ASPP head: blocks found by search, and a head that reads almost nothing.

Paper: Howard et al., Searching for MobileNetV3, arXiv:1905.02244 (tables 1 and 2; LR-ASPP in section 6.4, figure 10).
Original code: https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet

Deviations, shared with OpenMMLab's published weights: the network keeps stride 8, its last stages being dilated by 2
and 4 instead of striding; the head joins a third level, at stride 2, before it classifies. And one of ours: the head
averages over windows of 49 x 49 pixels, for which maps of images below 392 pixels are too small; there it averages
over what there is.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 320k steps    large 69.54 (70.89)    small 64.11 (66.42)
    the same, from nothing             large 67.87 (69.78)    small 62.74 (65.01)

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.inverted_residual import InvertedResidualV3
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.stages import checked_out_indices, freeze, keep_statistics

HARD_SWISH = Activation("HSwish")
SIGMOID = Activation("Sigmoid")
STEM_CHANNELS = 16


class Block(NamedTuple):
    """A line of tables 1 and 2: kernel, hidden and outgoing channels, squeeze and excitation, nonlinearity, stride."""

    kernel_size: int
    hidden: int
    channels: int
    squeeze_excite: bool
    activation: Activation
    stride: int


class Arch(NamedTuple):
    """blocks: of the table. last_channels: of the 1 x 1 convolution behind them.

    dilated, widely_dilated: the first layer, the stem being 0, that has dilation 2, and 4, and strides no more.
    reduced: the first block of the last stage, whose channels may be divided (section 6.4).
    """

    blocks: tuple[Block, ...]
    last_channels: int
    dilated: int
    widely_dilated: int
    reduced: int


ARCHES = {
    "large": Arch(
        (
            Block(3, 16, 16, False, RELU, 1),
            Block(3, 64, 24, False, RELU, 2),
            Block(3, 72, 24, False, RELU, 1),
            Block(5, 72, 40, True, RELU, 2),
            Block(5, 120, 40, True, RELU, 1),
            Block(5, 120, 40, True, RELU, 1),
            Block(3, 240, 80, False, HARD_SWISH, 2),
            Block(3, 200, 80, False, HARD_SWISH, 1),
            Block(3, 184, 80, False, HARD_SWISH, 1),
            Block(3, 184, 80, False, HARD_SWISH, 1),
            Block(3, 480, 112, True, HARD_SWISH, 1),
            Block(3, 672, 112, True, HARD_SWISH, 1),
            Block(5, 672, 160, True, HARD_SWISH, 2),
            Block(5, 960, 160, True, HARD_SWISH, 1),
            Block(5, 960, 160, True, HARD_SWISH, 1),
        ),
        last_channels=960, dilated=7, widely_dilated=13, reduced=12,
    ),
    "small": Arch(
        (
            Block(3, 16, 16, True, RELU, 2),
            Block(3, 72, 24, False, RELU, 2),
            Block(3, 88, 24, False, RELU, 1),
            Block(5, 96, 40, True, HARD_SWISH, 2),
            Block(5, 240, 40, True, HARD_SWISH, 1),
            Block(5, 240, 40, True, HARD_SWISH, 1),
            Block(5, 120, 48, True, HARD_SWISH, 1),
            Block(5, 144, 48, True, HARD_SWISH, 1),
            Block(5, 288, 96, True, HARD_SWISH, 2),
            Block(5, 576, 96, True, HARD_SWISH, 1),
            Block(5, 576, 96, True, HARD_SWISH, 1),
        ),
        last_channels=576, dilated=4, widely_dilated=9, reduced=8,
    ),
}  # fmt: skip


class MobileNetV3(nn.Module):
    """A strided convolution, the blocks of a table, and a 1 x 1 convolution: layers 0 to 16, or to 12 if small.

    Args:
        arch: the table.
        in_channels: bands of the image.
        out_indices: layers whose outputs are returned.
        frozen_stages: the layers up to this one keep weights and statistics as loaded; -1 freezes nothing.
        reduction_factor: divides the channels of the last stage; 2 in the paper's segmentation, 1 in published weights.
        norm: behind each convolution.
        norm_eval: batch norms always use their running statistics.
        checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.

    Convolutions start Kaiming-normal by fan_out, norms as identity.

    Raises ValueError for a table or a layer that does not exist.
    """

    def __init__(
        self,
        *,
        arch: Literal["small", "large"] = "small",
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 12),
        frozen_stages: int = -1,
        reduction_factor: int = 1,
        norm: Norm = BN,
        norm_eval: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if arch not in ARCHES:
            raise ValueError(f"arch of MobileNetV3 must be one of {', '.join(ARCHES)}; got {arch!r}")
        blocks, last_channels, dilated, widely_dilated, reduced = ARCHES[arch]
        last = len(blocks) + 1
        self.out_indices = checked_out_indices(out_indices, last + 1, "layers")
        if not -1 <= frozen_stages <= last:
            raise ValueError(f"frozen_stages must lie between -1 (none) and {last}; got {frozen_stages}")
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.checkpoint_activations = checkpoint_activations
        self.layer_names = tuple(f"layer{layer}" for layer in range(last + 1))
        self.layer0 = ConvNormAct(in_channels, STEM_CHANNELS, 3, stride=2, norm=norm, activation=HARD_SWISH, same=True)
        levels = [FeatureSpec(STEM_CHANNELS, 2)]
        for layer, block in enumerate(blocks, start=1):
            dilation = 1 if layer < dilated else 2 if layer < widely_dilated else 4
            stride = block.stride if dilation == 1 else 1
            divisor = reduction_factor if layer > reduced else 1
            channels = block.channels // divisor
            module = InvertedResidualV3(
                levels[-1].channels, channels, block.hidden // divisor, kernel_size=block.kernel_size, stride=stride,
                dilation=dilation, squeeze_excite=block.squeeze_excite, norm=norm, activation=block.activation,
            )  # fmt: skip
            self.add_module(self.layer_names[layer], module)
            levels.append(FeatureSpec(channels, levels[-1].stride * stride))
        self.add_module(
            self.layer_names[last],
            ConvNormAct(levels[-1].channels, last_channels, 1, norm=norm, activation=HARD_SWISH),
        )
        levels.append(FeatureSpec(last_channels, levels[-1].stride))
        self.features = tuple(levels[layer] for layer in self.out_indices)
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        x = images
        outputs: list[Tensor] = []
        for layer, name in enumerate(self.layer_names):
            x = run_block(getattr(self, name), x, checkpoint=self.checkpoint_activations)
            if layer in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> MobileNetV3:
        """Training mode, except for what is frozen and, under `norm_eval`, every batch norm."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            keep_statistics(self)
        return self

    def _freeze(self) -> None:
        freeze(getattr(self, name) for name in self.layer_names[: self.frozen_stages + 1])


class WindowPooling(nn.Module):
    """Averages over large windows that overlap; over the whole of a map that is smaller than one."""

    def __init__(self, window: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.window = window
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, windows below each other, windows side by side)."""
        height, width = x.shape[2:]
        below, beside = (_positive(self.window - size) for size in (height, width))
        pooled = F.avg_pool2d(F.pad(x, (0, beside, 0, below)), self.window, self.stride)  # zeros count as pixels
        return pooled * (self.window**2 / ((self.window - below) * (self.window - beside)))


def _positive(value: int) -> int:
    """`max(value, 0)`, also while the network is exported and no size is known."""
    return cast("int", torch.sym_max(value, 0))


class LRASPPHead(nn.Module):
    """The coarsest level, gated by its averages over large windows, then enlarged and joined with finer levels.

    Args:
        in_channels: channels of each level.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the levels read, finest first.
        branch_channels: that each level but the last is projected to.
        dropout_ratio: of channels, before the classifier.
        norm: behind the convolutions but those that project finer levels.
        activation: behind each norm.
        align_corners: how levels are resized here, and logits by those who consume them.

    Raises ValueError if `in_index`, `in_channels` and `branch_channels` do not fit together.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2),
        branch_channels: Sequence[int] = (32, 64),
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("LRASPPHead", in_index, in_channels)
        *finer, coarsest = self.in_channels
        if len(branch_channels) != len(finer):
            raise ValueError(
                f"LRASPPHead projects every level but the last, so branch_channels needs {len(finer)} entries; "
                f"got {tuple(branch_channels)}"
            )
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.convs, self.conv_ups = nn.ModuleDict(), nn.ModuleDict()
        for i, (width, branch) in enumerate(zip(finer, branch_channels, strict=True)):
            self.convs[f"conv{i}"] = nn.Conv2d(width, branch, 1, bias=False)
            self.conv_ups[f"conv_up{i}"] = ConvNormAct(channels + branch, channels, 1, norm=norm, activation=activation)
        self.conv_up_input = nn.Conv2d(channels, channels, 1)
        self.aspp_conv = ConvNormAct(coarsest, channels, 1, norm=norm, activation=activation)
        self.image_pool = nn.Sequential(
            WindowPooling(49, stride=(16, 20)), ConvNormAct(coarsest, channels, 1, bias=False, activation=SIGMOID)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the first level read."""
        *finer, coarsest = (features[i] for i in self.in_index)
        gate = resize(self.image_pool(coarsest), coarsest.shape[2:], align_corners=self.align_corners)
        x = self.conv_up_input(self.aspp_conv(coarsest) * gate)  # (N, channels, h, w) of the coarsest level
        branches = zip(finer, self.convs.values(), self.conv_ups.values(), strict=True)
        for level, conv, conv_up in reversed(list(branches)):
            x = resize(x, level.shape[2:], align_corners=self.align_corners)
            x = conv_up(torch.cat([x, conv(level)], dim=1))
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits
