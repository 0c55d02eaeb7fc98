"""CGNet: blocks that see a pixel, its surroundings, and the whole image at once.

Paper: Wu et al., CGNet: A Light-weight Context Guided Network for Semantic Segmentation, arXiv:1811.08201.
Original code: https://github.com/wutianyiRosun/CGNet

The classifier is an FCN head without convolutions.

Deviations, shared with OpenMMLab's published weights: none in the computation; slopes of PReLU start at 0 instead of
0.25.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes, 60k steps    680x680 65.63 (68.04)    512x1024 68.27 (70.33)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import ConvNormAct, conv1x1, initialise_conv
from intarsia.layers.norm import BN, Norm
from intarsia.layers.stages import keep_statistics

PRELU = Activation("PReLU")


class GlobalContext(nn.Module):
    """Scales each channel by a gate made of the means of all channels (figure 3, F_glo)."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        gate: Tensor = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # (N, C)
        return x * gate[..., None, None]


class ContextGuidedBlock(nn.Module):
    """A pixel's feature beside that of its surroundings, jointly weighed by the whole image (figure 3).

    downsample: halves the map first, and has no shortcut (figure 4b).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilation: int,
        reduction: int,
        downsample: bool,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        channels = out_channels if downsample else out_channels // 2
        kernel_size, stride = (3, 2) if downsample else (1, 1)
        self.downsample = downsample
        self.conv1x1 = ConvNormAct(
            in_channels, channels, kernel_size, stride=stride, padding=kernel_size // 2, norm=norm,
            activation=activation.per_channel(channels),
        )  # fmt: skip
        self.f_loc = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.f_sur = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False)
        self.bn = norm(2 * channels)
        self.activate = activation.per_channel(2 * channels)()
        self.bottleneck = conv1x1(2 * channels, out_channels) if downsample else None
        self.f_glo = GlobalContext(out_channels, reduction=reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        out = self.conv1x1(x)
        out = torch.cat([self.f_loc(out), self.f_sur(out)], dim=1)
        out = self.activate(self.bn(out))
        if self.bottleneck is not None:
            out = self.bottleneck(out)
        out = self.f_glo(out)
        joined: Tensor = out if self.downsample else x + out
        return joined


class CGNet(nn.Module):
    """A stem and two stages of context guided blocks, the image itself being laid beside what they give (figure 4).

    Args:
        in_channels: bands of the image.
        num_channels: of the stem and the two stages.
        num_blocks: of the two stages.
        dilations: of the surroundings in each stage.
        reductions: channels for each hidden one of the gates, in each stage.
        norm: behind each convolution.
        activation: behind each norm; a PReLU learns a slope for each channel.
        norm_eval: batch norms always use their running statistics.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Convolutions and linear layers start Kaiming-normal by fan_out, norms as identity, slopes at 0.

    Raises ValueError if a sequence has another length.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_channels: Sequence[int] = (32, 64, 128),
        num_blocks: Sequence[int] = (3, 21),
        dilations: Sequence[int] = (2, 4),
        reductions: Sequence[int] = (8, 16),
        norm: Norm = BN,
        activation: Activation = PRELU,
        norm_eval: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if len(num_channels) != 3 or any(len(values) != 2 for values in (num_blocks, dilations, reductions)):
            raise ValueError(
                f"CGNet has a stem and two stages: 3 num_channels, 2 num_blocks, dilations and reductions; got "
                f"{', '.join(str(tuple(values)) for values in (num_channels, num_blocks, dilations, reductions))}"
            )
        self.norm_eval = norm_eval
        self.checkpoint_activations = checkpoint_activations
        stem, middle, last = num_channels

        def conv(before: int, stride: int) -> ConvNormAct:
            return ConvNormAct(
                before, stem, 3, stride=stride, padding=1, norm=norm, activation=activation.per_channel(stem)
            )

        def stage(before: int, index: int) -> nn.ModuleList:
            width = num_channels[index + 1]
            return nn.ModuleList(
                ContextGuidedBlock(
                    width if i else before, width, dilation=dilations[index], reduction=reductions[index],
                    downsample=i == 0, norm=norm, activation=activation,
                )
                for i in range(num_blocks[index])
            )  # fmt: skip

        def norm_act(channels: int) -> nn.Sequential:
            return nn.Sequential(norm(channels), nn.PReLU(channels))

        widths = stem + in_channels, 2 * middle + in_channels, 2 * last
        self.stem = nn.Sequential(conv(in_channels, 2), conv(stem, 1), conv(stem, 1))
        self.shrink = nn.AvgPool2d(3, stride=2, padding=1)
        self.norm_prelu_0 = norm_act(widths[0])
        self.level1 = stage(widths[0], 0)
        self.norm_prelu_1 = norm_act(widths[1])
        self.level2 = stage(widths[1], 1)
        self.norm_prelu_2 = norm_act(widths[2])
        self.features = tuple(map(FeatureSpec, widths, (2, 4, 8)))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> stem and stages, each joined with what went in: (N, channels, H / stride, W / stride),
        rounded up.
        """
        half = self.shrink(images)  # (N, C, H / 2, W / 2)
        quarter = self.shrink(half)
        x0 = self.norm_prelu_0(torch.cat([self.stem(images), half], dim=1))
        first, x = self._stage(self.level1, x0)
        x1 = self.norm_prelu_1(torch.cat([x, first, quarter], dim=1))
        first, x = self._stage(self.level2, x1)
        x2 = self.norm_prelu_2(torch.cat([first, x], dim=1))
        return x0, x1, x2

    def train(self, mode: bool = True) -> CGNet:
        """Training mode, except for batch norms under `norm_eval`."""
        super().train(mode)
        if mode and self.norm_eval:
            keep_statistics(self)
        return self

    def _stage(self, blocks: nn.ModuleList, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the first block of a stage gives, and what the last."""
        down, *rest = blocks
        first = x = run_block(down, x, checkpoint=self.checkpoint_activations)
        for block in rest:
            x = run_block(block, x, checkpoint=self.checkpoint_activations)
        return first, x


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        initialise_conv(module)
    elif isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.PReLU):
        nn.init.zeros_(module.weight)
