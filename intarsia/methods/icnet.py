"""ICNet: one network for three resolutions of the image, the deeper the coarser, fused from coarse to fine.

Paper: Zhao et al., ICNet for Real-Time Semantic Segmentation on High-Resolution Images, arXiv:1704.08545.
Original code: https://github.com/hszhao/ICNet (Caffe)

Deviations, shared with OpenMMLab's published weights: any dilated ResNet instead of a PSPNet with half of its kernels;
its pooling keeps the corner of maps of even sides (ceil_mode); what an auxiliary head classifies is the coarser map
behind the fusion's 3 x 3 convolution.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 832x832, 160k steps, batch 8           R-18 71.64 (74.18)    R-50 73.82 (75.67)    R-101 73.80 (76.10)
    the same, backbone trained on ImageNet first      R-18 74.43 (76.72)    R-50 76.29 (78.09)    R-101 76.15 (77.98)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Backbone, FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.pyramid_pooling import PyramidPooling
from intarsia.layers.resized_concat import conv_of_resized

STAGES = 4


class ResidualBackbone(Backbone, Protocol):
    """What ICNet needs to know of a ResNet, to run it in two parts: the names of its layers, in order."""

    stem_names: tuple[str, ...]
    layer_names: tuple[str, ...]
    maxpool: nn.Module
    checkpoint_activations: bool


class ICNet(nn.Module):
    """A light branch for the whole image, the first two stages of a ResNet for the image at half its size, and the last
    two, with pyramid pooling, for what these give at half the size again (figure 3).

    With a backbone of stride 8, the three levels have strides 8, 16 and 32. The two coarser ones may be a pixel larger
    or smaller: the pooling keeps the corner of a map, and halving leaves out the last pixel of an odd side.

    Args:
        backbone: a ResNet of four stages, the last two dilated, so that its own stride is 8.
        in_channels: bands of the image.
        layer_channels: of the backbone's second and fourth stage.
        light_branch_middle_channels: of the first two convolutions of the light branch.
        psp_out_channels: of each pooled map and of their fusion.
        out_channels: of the three levels, finest first.
        pool_scales: cells of each grid along one side.
        norm: behind each convolution. A pooled map of one cell leaves a batch norm nothing but the batch to average
            over, so that training needs two images or more.
        activation: behind each norm.
        align_corners: how maps are resized.
        checkpoint_activations: recompute the light branch and the pooling in the backward pass instead of keeping their
            activations; the backbone has an argument of its own.

    Raises ValueError if the backbone is no ResNet of such stages.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        in_channels: int = 3,
        layer_channels: tuple[int, int] = (512, 2048),
        light_branch_middle_channels: int = 32,
        psp_out_channels: int = 512,
        out_channels: tuple[int, int, int] = (64, 256, 256),
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check(backbone, layer_channels)
        self.align_corners = align_corners
        self.checkpoint_activations = checkpoint_activations

        def conv(before: int, width: int, kernel_size: int, stride: int = 1) -> ConvNormAct:
            return ConvNormAct(
                before, width, kernel_size, stride=stride, padding=kernel_size // 2, norm=norm, activation=activation
            )

        self.backbone = cast("ResidualBackbone", backbone)
        self.backbone.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1, ceil_mode=True)
        second, fourth = layer_channels
        self.psp_modules = PyramidPooling(pool_scales, fourth, psp_out_channels, norm=norm, activation=activation)
        self.psp_bottleneck = conv(fourth + len(pool_scales) * psp_out_channels, psp_out_channels, 3)
        middle = light_branch_middle_channels
        self.conv_sub1 = nn.Sequential(
            conv(in_channels, middle, 3, 2), conv(middle, middle, 3, 2), conv(middle, out_channels[0], 3, 2)
        )
        self.conv_sub2 = conv(second, out_channels[1], 1)
        self.conv_sub4 = conv(psp_out_channels, out_channels[2], 1)
        half, quarter = (backbone.features[stage].stride for stage in (1, 3))
        self.features = tuple(map(FeatureSpec, out_channels, (8, 2 * half, 4 * quarter)))
        self.least_size = 2 * half - 2  # a second halving needs two pixels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> levels (N, out_channels[i], H / stride, W / stride) of strides 8, 16 and 32, about."""
        fine = run_block(self.conv_sub1, images, checkpoint=self.checkpoint_activations)
        x = self._halved(images)
        for name in self.backbone.stem_names:
            x = getattr(self.backbone, name)(x)
        x = self._stages(self.backbone.maxpool(x), 0, 2)
        middle = self.conv_sub2(x)
        x = self._stages(self._halved(x), 2, STAGES)
        pooled = run_block(self.psp_modules, x, checkpoint=self.checkpoint_activations)
        x = conv_of_resized(
            self.psp_bottleneck, [*pooled, x], small=range(len(pooled)), align_corners=self.align_corners
        )
        return fine, middle, self.conv_sub4(x)

    def _halved(self, x: Tensor) -> Tensor:
        """At half the size, rounded down. By factor and not by size: odd sides are sampled at every second pixel."""
        return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=self.align_corners)

    def _stages(self, x: Tensor, first: int, end: int) -> Tensor:
        for name in self.backbone.layer_names[first:end]:
            for block in getattr(self.backbone, name):
                x = run_block(block, x, checkpoint=self.backbone.checkpoint_activations)
        return x


def _check(backbone: Backbone, layer_channels: tuple[int, int]) -> None:
    kind = type(backbone).__name__
    stages = getattr(backbone, "layer_names", ())
    if len(stages) != STAGES or len(backbone.features) != STAGES:
        raise ValueError(
            f"ICNet expects a ResNet of {STAGES} stages that returns all of them (out_indices) as its backbone, but "
            f"{kind} has {len(stages)} and returns {len(backbone.features)}"
        )
    found = backbone.features[1].channels, backbone.features[3].channels
    if found != tuple(layer_channels):
        raise ValueError(
            f"ICNet expects layer_channels={tuple(layer_channels)} behind the second and fourth stage of its backbone, "
            f"but {kind} gives {found}"
        )


class CascadeFeatureFusion(nn.Module):
    """A coarse map, enlarged and convolved, plus a fine one (figure 4)."""

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        out_channels: int,
        *,
        norm: Norm | None,
        activation: Activation,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.conv_low = ConvNormAct(
            low_channels, out_channels, 3, padding=2, dilation=2, norm=norm, activation=activation
        )
        self.conv_high = ConvNormAct(high_channels, out_channels, 1, norm=norm, activation=activation)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, C, h', w') and (N, C', h, w) -> their fusion and the coarse one, both (N, out_channels, h, w)."""
        low = self.conv_low(resize(low, high.shape[2:], align_corners=self.align_corners))
        return F.relu(low + self.conv_high(high)), low


class ICNeck(nn.Module):
    """Fuses the three levels, two at a time, from coarse to fine (section 3.2).

    The levels that it makes are the coarse maps of both fusions, for auxiliary heads, and the last fusion.

    Args:
        in_channels: of the three levels, finest first.
        out_channels: of all that it makes.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how coarse maps are enlarged.

    Raises ValueError unless there are three levels.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (64, 256, 256),
        out_channels: int = 128,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if len(in_channels) != 3:
            raise ValueError(f"ICNeck fuses three levels, so in_channels has three entries; got {tuple(in_channels)}")
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels

        def fusion(low: int, high: int) -> CascadeFeatureFusion:
            return CascadeFeatureFusion(
                low, high, out_channels, norm=norm, activation=activation, align_corners=align_corners
            )

        fine, middle, coarse = self.in_channels
        self.cff_24 = fusion(coarse, middle)
        self.cff_12 = fusion(out_channels, fine)

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """Three levels -> one of the second level's stride and two of the first's."""
        fine, middle, _ = features
        return tuple(FeatureSpec(self.out_channels, level.stride) for level in (middle, fine, fine))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels (N, C_i, h_i, w_i), finest first -> (N, out_channels, h_1, w_1), (..., h_0, w_0), (..., h_0, w_0)."""
        fine, middle, coarse = features
        fused, coarse_seen = self.cff_24(coarse, middle)
        fused, middle_seen = self.cff_12(fused, fine)
        return coarse_seen, middle_seen, fused
