"""Fast-SCNN: a network that shares its first layers between a shallow fine path and a deep coarse one.

Paper: Poudel, Liwicki, Cipolla, Fast-SCNN: Fast Semantic Segmentation Network, arXiv:1902.04502, table 1.
Original code: none published; https://github.com/Tramac/Fast-SCNN-pytorch is what most others started from.

Deviations, shared with OpenMMLab's published weights: a 3 x 3 convolution, not 1 x 1, closes the global feature
extractor; its bottlenecks have plain ReLU where MobileNetV2's clip at 6; two auxiliary heads look at the fine and at
the coarse path in training.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 160k steps, batch 32    70.96 (72.65)

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the level that is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct, DepthwiseSeparableConv
from intarsia.layers.inverted_residual import InvertedResidual
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.pyramid_pooling import PyramidPooling
from intarsia.layers.resized_concat import conv_of_resized

EXPAND_RATIO = 6
BLOCKS_PER_STAGE = 3
POOL_SCALES = (1, 2, 3, 6)
SHARED_STRIDE = 8


class LearningToDownsample(nn.Module):
    """The layers that both paths share: three convolutions of stride 2, the last two depthwise separable."""

    def __init__(
        self,
        in_channels: int,
        dw_channels: tuple[int, int],
        out_channels: int,
        *,
        norm: Norm,
        activation: Activation,
        dw_activation: Activation | None,
    ) -> None:
        super().__init__()
        first, second = dw_channels
        self.conv = ConvNormAct(in_channels, first, 3, stride=2, padding=1, norm=norm, activation=activation)
        self.dsconv1 = DepthwiseSeparableConv(
            first, second, 3, stride=2, padding=1, norm=norm, activation=activation, depthwise_activation=dw_activation
        )
        self.dsconv2 = DepthwiseSeparableConv(
            second,
            out_channels,
            3,
            stride=2,
            padding=1,
            norm=norm,
            activation=activation,
            depthwise_activation=dw_activation,
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / 8, W / 8)."""
        x = self.conv(images)
        x = self.dsconv1(x)
        out: Tensor = self.dsconv2(x)
        return out


class GlobalFeatureExtractor(nn.Module):
    """The coarse path: three stages of inverted residuals, then pyramid pooling."""

    def __init__(
        self,
        in_channels: int,
        block_channels: tuple[int, int, int],
        out_channels: int,
        *,
        strides: tuple[int, int, int],
        norm: Norm,
        activation: Activation,
        align_corners: bool,
    ) -> None:
        super().__init__()

        def stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                *(
                    InvertedResidual(
                        in_channels if i == 0 else out_channels,
                        out_channels,
                        stride=stride if i == 0 else 1,
                        expand_ratio=EXPAND_RATIO,
                        norm=norm,
                        activation=activation,
                    )
                    for i in range(BLOCKS_PER_STAGE)
                )
            )

        c1, c2, c3 = block_channels
        self.bottleneck1 = stage(in_channels, c1, strides[0])
        self.bottleneck2 = stage(c1, c2, strides[1])
        self.bottleneck3 = stage(c2, c3, strides[2])
        self.align_corners = align_corners
        self.ppm = PyramidPooling(POOL_SCALES, c3, c3 // 4, norm=norm, activation=activation)
        self.out = ConvNormAct(2 * c3, out_channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / 4, w / 4) for the paper's strides."""
        x = self.bottleneck1(x)
        x = self.bottleneck2(x)
        x = self.bottleneck3(x)  # (N, c3, h / 4, w / 4)
        return conv_of_resized(self.out, [x, *self.ppm(x)], align_corners=self.align_corners)


class FeatureFusion(nn.Module):
    """The coarse path brought to the size of the fine one, and both added."""

    def __init__(
        self,
        higher_channels: int,
        lower_channels: int,
        out_channels: int,
        *,
        norm: Norm,
        activation: Activation,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.dwconv = ConvNormAct(
            lower_channels, out_channels, 3, padding=1, groups=out_channels, norm=norm, activation=activation
        )
        self.conv_lower_res = ConvNormAct(out_channels, out_channels, 1, norm=norm, activation=None)
        self.conv_higher_res = ConvNormAct(higher_channels, out_channels, 1, norm=norm, activation=None)
        self.activate = activation()

    def forward(self, higher: Tensor, lower: Tensor) -> Tensor:
        """Fine map (N, C, h, w), coarse map (N, C', h / 4, w / 4) -> (N, out_channels, h, w)."""
        x = resize(lower, higher.shape[2:], align_corners=self.align_corners)  # (N, C', h, w)
        x = self.conv_lower_res(self.dwconv(x)) + self.conv_higher_res(higher)  # (N, out_channels, h, w)
        out: Tensor = self.activate(x)
        return out


class FastSCNN(nn.Module):
    """The whole backbone. Its three levels are the fine path, the coarse path, and both fused.

    Args:
        in_channels: bands of the image.
        downsample_dw_channels: channels behind the first two shared layers.
        global_in_channels: channels behind the third, hence of the fine path.
        global_block_channels: channels of the coarse path's three stages.
        global_block_strides: their strides.
        global_out_channels: channels at the end of the coarse path.
        higher_in_channels: what the fusion expects of the fine path; equal to `global_in_channels`.
        lower_in_channels: what the fusion expects of the coarse path; equal to `global_out_channels`.
        fusion_out_channels: channels behind the fusion.
        out_indices: which of the three levels are returned.
        norm: behind every convolution.
        activation: of every convolution that has one.
        dw_activation: between the two halves of the shared separable convolutions; the paper has none.
        align_corners: how maps are resized.
        checkpoint_activations: recompute each part in the backward pass instead of keeping its activations.

    Raises ValueError if the channel counts contradict each other.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        downsample_dw_channels: tuple[int, int] = (32, 48),
        global_in_channels: int = 64,
        global_block_channels: tuple[int, int, int] = (64, 96, 128),
        global_block_strides: tuple[int, int, int] = (2, 2, 1),
        global_out_channels: int = 128,
        higher_in_channels: int = 64,
        lower_in_channels: int = 128,
        fusion_out_channels: int = 128,
        out_indices: Sequence[int] = (0, 1, 2),
        norm: Norm = BN,
        activation: Activation = RELU,
        dw_activation: Activation | None = None,
        align_corners: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if (higher_in_channels, lower_in_channels) != (global_in_channels, global_out_channels):
            raise ValueError(
                f"FastSCNN fuses what its paths give: higher_in_channels={higher_in_channels} must equal "
                f"global_in_channels={global_in_channels}, and lower_in_channels={lower_in_channels} must equal "
                f"global_out_channels={global_out_channels}"
            )
        if not out_indices or any(level not in (0, 1, 2) for level in out_indices):
            raise ValueError(f"out_indices must name levels 0, 1, 2 of FastSCNN; got {tuple(out_indices)}")
        self.out_indices = tuple(out_indices)
        self.checkpoint_activations = checkpoint_activations
        self.learning_to_downsample = LearningToDownsample(
            in_channels,
            downsample_dw_channels,
            global_in_channels,
            norm=norm,
            activation=activation,
            dw_activation=dw_activation,
        )
        self.global_feature_extractor = GlobalFeatureExtractor(
            global_in_channels,
            global_block_channels,
            global_out_channels,
            strides=global_block_strides,
            norm=norm,
            activation=activation,
            align_corners=align_corners,
        )
        self.feature_fusion = FeatureFusion(
            global_in_channels,
            global_out_channels,
            fusion_out_channels,
            norm=norm,
            activation=activation,
            align_corners=align_corners,
        )
        levels = (
            FeatureSpec(global_in_channels, SHARED_STRIDE),
            FeatureSpec(global_out_channels, SHARED_STRIDE * math.prod(global_block_strides)),
            FeatureSpec(fusion_out_channels, SHARED_STRIDE),
        )
        self.features = tuple(levels[level] for level in self.out_indices)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        checkpoint = self.checkpoint_activations
        higher = run_block(self.learning_to_downsample, images, checkpoint=checkpoint)
        lower = run_block(self.global_feature_extractor, higher, checkpoint=checkpoint)
        fused = run_block(self.feature_fusion, higher, lower, checkpoint=checkpoint)
        levels = (higher, lower, fused)
        return tuple(levels[level] for level in self.out_indices)


class DepthwiseSeparableFCNHead(nn.Module):
    """Fast-SCNN's classifier: separable convolutions, then one logit map per class.

    Args:
        in_channels: channels of the level read.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the level read.
        num_convs: separable convolutions.
        kernel_size: of the convolutions.
        concat_input: concatenate what the convolutions give with what they got, and fuse.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each separable convolution.
        dw_activation: between its two halves; the paper has none.
        align_corners: how logits are resized by those who consume them.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        num_convs: int = 2,
        kernel_size: int = 3,
        concat_input: bool = True,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        dw_activation: Activation | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if num_convs < 1:
            raise ValueError(f"DepthwiseSeparableFCNHead needs at least one convolution; got num_convs={num_convs}")
        self.in_index = in_index
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners

        def conv(in_channels: int) -> DepthwiseSeparableConv:
            return DepthwiseSeparableConv(
                in_channels,
                channels,
                kernel_size,
                padding=kernel_size // 2,
                norm=norm,
                activation=activation,
                depthwise_activation=dw_activation,
            )

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.convs = nn.Sequential(*(conv(in_channels if i == 0 else channels) for i in range(num_convs)))
        self.conv_cat = conv(in_channels + channels) if concat_input else None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = features[self.in_index]  # (N, C, h, w)
        out = self.convs(x)  # (N, channels, h, w)
        if self.conv_cat is not None:
            out = self.conv_cat(torch.cat([x, out], dim=1))  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(out))  # (N, K, h, w)
        return logits
