"""DDRNet: two branches of one network, one keeping an eighth of the resolution, that exchange what they know.

Paper: Hong et al., Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes,
    arXiv:2101.06085.
Original code: https://github.com/ydhongHIT/DDRNet

Deviations, shared with OpenMMLab's published weights: none in the computation.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 1024x1024, 120k steps, batch 12    23-slim 77.84 (80.15)    23 79.99 (81.71)

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec, HeadOutput
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct, NormActConv, conv1x1, initialise_conv
from intarsia.layers.deep_pyramid_pooling import DeepPyramidPooling
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.residual import BasicBlock, Bottleneck, residual_stage, residual_stem


class DDRNet(nn.Module):
    """A stem of stride 8, then a branch of context that goes on to stride 64 and one of detail that stays (figure 4).

    Twice, each branch adds what the other found. The two levels, both of stride 8, are the detail after the first
    exchange (2 * channels), for the loss beside it, and the sum of both branches (4 * channels).

    Args:
        in_channels: bands of the image.
        channels: behind the first convolution; 32 is DDRNet-23-slim, 64 DDRNet-23.
        ppm_channels: of each scale of the pooling at the end of the context.
        align_corners: how maps are resized.
        norm: behind every convolution, and before those of the pooling. Of a single image, the mean of the last map
            leaves a batch norm nothing to average over.
        activation: of every convolution that has one.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: int = 32,
        ppm_channels: int = 128,
        align_corners: bool = False,
        norm: Norm = BN,
        activation: Activation = RELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.checkpoint_activations = checkpoint_activations
        detail, wide, wider, widest = (channels * factor for factor in (2, 4, 8, 16))
        self.features = (FeatureSpec(detail, 8), FeatureSpec(wide, 8))

        def project(before: int, behind: int, stride: int) -> nn.Module:
            conv = conv1x1(before, behind, stride=stride)
            initialise_conv(conv)
            return nn.Sequential(conv, norm(behind))

        def stage(
            block: type[BasicBlock | Bottleneck], before: int, width: int, blocks: int, stride: int = 1
        ) -> nn.Sequential:
            return residual_stage(
                block, before, width, blocks, stride=stride, project=project, norm=norm, activation=activation
            )

        def compress(before: int) -> ConvNormAct:
            return ConvNormAct(before, detail, 1, norm=norm, activation=None)

        def down(before: int, behind: int, activation: Activation | None) -> ConvNormAct:
            return ConvNormAct(before, behind, 3, stride=2, padding=1, norm=norm, activation=activation)

        self.stem = residual_stem(in_channels, channels, 2, project=project, norm=norm, activation=activation)
        self.context_branch_layers = nn.ModuleList(
            [
                stage(BasicBlock, detail, wide, 2, stride=2),
                stage(BasicBlock, wide, wider, 2, stride=2),
                stage(Bottleneck, wider, wider, 1, stride=2),
            ]
        )
        self.compression_1 = compress(wide)
        self.down_1 = down(detail, wide, None)
        self.compression_2 = compress(wider)
        self.down_2 = nn.Sequential(down(detail, wide, activation), down(wide, wider, None))
        self.spatial_branch_layers = nn.ModuleList(
            [
                stage(BasicBlock, detail, detail, 2),
                stage(BasicBlock, detail, detail, 2),
                stage(Bottleneck, detail, detail, 1),
            ]
        )
        self.spp = DeepPyramidPooling(widest, ppm_channels, wide, parallel=False, norm=norm, activation=activation)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> detail (N, 2 * channels, H / 8, W / 8), sum (N, 4 * channels, H / 8, W / 8)."""
        x = self._run(self.stem, images)
        first, detail = self._exchange(x, x, 0, self.compression_1, self.down_1)
        context, x = self._exchange(F.relu(first), F.relu(detail), 1, self.compression_2, self.down_2)
        x = self._run(self.spatial_branch_layers[2], F.relu(x))  # (N, 4 * channels, H / 8, W / 8)
        context = self._run(self.context_branch_layers[2], F.relu(context))  # (N, 16 * channels, H / 64, W / 64)
        context = self._run(self.spp, context)  # (N, 4 * channels, H / 64, W / 64)
        return detail, x + self._resized(context, x)

    def _exchange(
        self, context: Tensor, detail: Tensor, step: int, compress: nn.Module, down: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """A stage of each branch, and then to each what the other found, at its size and with its channels."""
        context = self._run(self.context_branch_layers[step], context)
        detail = self._run(self.spatial_branch_layers[step], detail)
        return context + down(F.relu(detail)), detail + self._resized(compress(F.relu(context)), detail)

    def _resized(self, x: Tensor, like: Tensor) -> Tensor:
        return resize(x, like.shape[2:], align_corners=self.align_corners)

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = run_block(stage, x, checkpoint=self.checkpoint_activations)
        return out


class DDRHead(nn.Module):
    """A convolution and the classifier; in training, another pair beside it for the detail branch (figure 4, right).

    Args:
        in_channels: channels of the fused level; the detail has half of them.
        channels: of either convolution.
        num_classes: number of logits.
        in_index: the levels of the detail and of the fusion.
        dropout_ratio: of channels, before the classifier of the fusion.
        norm: before and behind either convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError unless two levels are read.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1),
        dropout_ratio: float = 0.1,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("DDRHead", in_index, (in_channels // 2, in_channels))
        self.num_classes = num_classes
        self.align_corners = align_corners

        def classified(width: int) -> nn.Sequential:
            conv = NormActConv(width, channels, 3, padding=1, norm=norm, activation=activation)
            return nn.Sequential(conv, norm(channels), activation())

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.head = classified(in_channels)
        self.aux_head = classified(in_channels // 2)
        self.aux_cls_seg = nn.Conv2d(channels, num_classes, kernel_size=1)
        nn.init.kaiming_normal_(self.aux_cls_seg.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = self.head(features[self.in_index[1]])  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def training_outputs(self, features: Sequence[Tensor]) -> dict[str, HeadOutput]:
        """The logits of the fusion as "", and those of the detail as "spatial"."""
        detail = self.aux_head(features[self.in_index[0]])  # (N, channels, h, w)
        return {"": self(features), "spatial": self.aux_cls_seg(detail)}
