"""PIDNet: a branch for detail, one for context and one for edges, like the P, I and D of a controller.

Paper: Xu, Xiong, Bhattacharyya, PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers,
    arXiv:2206.02066.
Original code: https://github.com/XuJiacong/PIDNet

Deviations, shared with OpenMMLab's published weights: none in the computation. The fourth loss, of pixels where the
edge branch is sure, looks at the final logits of exactly these pixels.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 1024x1024, 120k steps, batch 12    S 78.74 (80.87)    M 80.22 (82.05)    L 80.89 (82.37)

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import IGNORE_INDEX, FeatureSpec, HeadOutput
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct, NormActConv
from intarsia.layers.deep_pyramid_pooling import DeepPyramidPooling
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.residual import BasicBlock, Bottleneck, residual_stage, residual_stem

SURE_OF_AN_EDGE = 0.8
"""Probability of an edge above which the fused logits learn the pixel once more (section 3.5)."""


class PixelAttention(nn.Module):
    """Pag: takes from the context what agrees with the detail at a pixel, and the detail elsewhere (figure 4)."""

    def __init__(self, in_channels: int, channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.f_i = ConvNormAct(in_channels, channels, 1, norm=norm, activation=None)
        self.f_p = ConvNormAct(in_channels, channels, 1, norm=norm, activation=None)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Maps (N, C, h, w) and (N, C, h', w'), which is resized -> (N, C, h, w)."""
        size = detail.shape[2:]
        agreement = resize(self.f_i(context), size) * self.f_p(detail)  # (N, channels, h, w)
        gate: Tensor = agreement.sum(dim=1, keepdim=True).sigmoid()  # (N, 1, h, w)
        return gate * resize(context, size) + (1 - gate) * detail


class BoundaryFusion(nn.Module):
    """Bag: detail where there is an edge, context elsewhere, through a 3 x 3 convolution (figure 6a)."""

    def __init__(self, channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv = NormActConv(channels, channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, detail: Tensor, context: Tensor, edges: Tensor) -> Tensor:
        """Three maps (N, C, h, w) -> (N, C, h, w)."""
        gate = edges.sigmoid()
        out: Tensor = self.conv(gate * detail + (1 - gate) * context)
        return out


class LightBoundaryFusion(nn.Module):
    """Light-Bag: what is missing is added to either map, and both go through a 1 x 1 convolution (figure 6b)."""

    def __init__(self, channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.f_p = ConvNormAct(channels, channels, 1, norm=norm, activation=None)
        self.f_i = ConvNormAct(channels, channels, 1, norm=norm, activation=None)

    def forward(self, detail: Tensor, context: Tensor, edges: Tensor) -> Tensor:
        """Three maps (N, C, h, w) -> (N, C, h, w)."""
        gate = edges.sigmoid()
        out: Tensor = self.f_p((1 - gate) * context + detail) + self.f_i(context + gate * detail)
        return out


class PIDNet(nn.Module):
    """A stem of stride 8, then the branches P (detail) and D (edges), which stay, and I (context), on to 64 (figure 3).

    The three levels, all of stride 8, are the detail (2 * channels) and the edges (2 * channels) as their losses see
    them, and the fusion of all branches (4 * channels).

    Args:
        in_channels: bands of the image.
        channels: behind the first convolution; 32 in PIDNet-S, 64 in M and L.
        ppm_channels: of each scale of the pooling at the end of the context.
        num_stem_blocks: blocks of each stage of the stem and of P. With 2, the network is of the light kind: D has half
            the channels at first, the pooling is PAPPM instead of DAPPM, and the fusion Light-Bag instead of Bag.
        num_branch_blocks: blocks of each of the first two stages of I.
        align_corners: how maps are resized at the ends of the branches.
        norm: behind every convolution, and before those of the pooling. Of a single image, the mean of the last map
            leaves a batch norm nothing to average over.
        activation: of every convolution that has one.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: int = 64,
        ppm_channels: int = 96,
        num_stem_blocks: int = 2,
        num_branch_blocks: int = 3,
        align_corners: bool = False,
        norm: Norm = BN,
        activation: Activation = RELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.checkpoint_activations = checkpoint_activations
        detail, wide, wider, widest = (channels * factor for factor in (2, 4, 8, 16))
        self.features = (FeatureSpec(detail, 8), FeatureSpec(detail, 8), FeatureSpec(wide, 8))
        light = num_stem_blocks == 2

        def project(before: int, behind: int, stride: int) -> nn.Module:
            return ConvNormAct(before, behind, 1, stride=stride, norm=norm, activation=None)

        def stage(
            block: type[BasicBlock | Bottleneck], before: int, width: int, blocks: int, stride: int = 1
        ) -> nn.Sequential:
            return residual_stage(
                block, before, width, blocks, stride=stride, project=project, norm=norm, activation=activation
            )

        def single(width: int) -> BasicBlock:
            return BasicBlock(
                detail, width, stride=1, project=project, activated=False, norm=norm, activation=activation
            )

        def linear(before: int, behind: int, kernel_size: int) -> ConvNormAct:
            return ConvNormAct(before, behind, kernel_size, padding=kernel_size // 2, norm=norm, activation=None)

        self.stem = residual_stem(
            in_channels, channels, num_stem_blocks, project=project, norm=norm, activation=activation
        )
        self.i_branch_layers = nn.ModuleList(
            [
                stage(BasicBlock, detail, wide, num_branch_blocks, stride=2),
                stage(BasicBlock, wide, wider, num_branch_blocks, stride=2),
                stage(Bottleneck, wider, wider, 2, stride=2),
            ]
        )
        self.p_branch_layers = nn.ModuleList(
            [
                stage(BasicBlock, detail, detail, num_stem_blocks),
                stage(BasicBlock, detail, detail, num_stem_blocks),
                stage(Bottleneck, detail, detail, 1),
            ]
        )
        self.compression_1 = linear(wide, detail, 1)
        self.compression_2 = linear(wider, detail, 1)
        self.pag_1 = PixelAttention(detail, channels, norm=norm)
        self.pag_2 = PixelAttention(detail, channels, norm=norm)
        self.d_branch_layers = nn.ModuleList(
            [single(channels), stage(Bottleneck, channels, channels, 1)] if light else [single(detail), single(detail)]
        )
        self.d_branch_layers.append(stage(Bottleneck, detail, detail, 1))
        self.diff_1 = linear(wide, channels if light else detail, 3)
        self.diff_2 = linear(wider, detail, 3)
        self.spp = DeepPyramidPooling(widest, ppm_channels, wide, parallel=light, norm=norm, activation=activation)
        self.dfm = (
            LightBoundaryFusion(wide, norm=norm) if light else BoundaryFusion(wide, norm=norm, activation=activation)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> detail, edges, fusion, each (N, channels, H / 8, W / 8), rounded up."""
        x = self._run(self.stem, images)  # (N, 2 * channels, H / 8, W / 8)
        context = F.relu(self._run(self.i_branch_layers[0], x))  # (N, 4 * channels, H / 16, W / 16)
        detail = self.pag_1(self._run(self.p_branch_layers[0], x), self.compression_1(context))
        edges = self._with_difference(self._run(self.d_branch_layers[0], x), self.diff_1(context))
        detail_seen = detail  # (N, 2 * channels, H / 8, W / 8)
        context = F.relu(self._run(self.i_branch_layers[1], context))  # (N, 8 * channels, H / 32, W / 32)
        detail = self.pag_2(self._run(self.p_branch_layers[1], F.relu(detail)), self.compression_2(context))
        edges = self._with_difference(self._run(self.d_branch_layers[1], F.relu(edges)), self.diff_2(context))
        edges_seen = edges  # (N, 2 * channels, H / 8, W / 8)
        context = self._run(self.spp, self._run(self.i_branch_layers[2], context))  # (N, 4 * channels, H / 64, W / 64)
        detail = self._run(self.p_branch_layers[2], F.relu(detail))  # (N, 4 * channels, H / 8, W / 8)
        edges = self._run(self.d_branch_layers[2], F.relu(edges))  # (N, 4 * channels, H / 8, W / 8)
        context = resize(context, detail.shape[2:], align_corners=self.align_corners)
        return detail_seen, edges_seen, self.dfm(detail, context, edges)

    def _with_difference(self, edges: Tensor, difference: Tensor) -> Tensor:
        return edges + resize(difference, edges.shape[2:], align_corners=self.align_corners)

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = run_block(stage, x, checkpoint=self.checkpoint_activations)
        return out


class BranchHead(nn.Module):
    """A convolution between two norms, each with its activation."""

    def __init__(self, in_channels: int, channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv = NormActConv(in_channels, channels, 3, padding=1, norm=norm, activation=activation)
        self.norm = norm(channels)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class PIDHead(nn.Module):
    """The classifier of the fusion; in training, one of the detail and one of the edges beside it (figure 3, right).

    Args:
        in_channels: channels of the fused level; detail and edges have half of them.
        channels: of the convolutions before the classifiers; a quarter of in_channels before that of the edges.
        num_classes: number of logits; the edges have a single one.
        in_index: the levels of the detail, the edges, and the fusion.
        dropout_ratio: of channels, before the classifier of the fusion.
        norm: before and behind each convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    All weights start Kaiming-normal by fan_out, also those of the classifiers.

    Raises ValueError unless three levels are read.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2),
        dropout_ratio: float = 0.1,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        half = in_channels // 2
        self.in_index, self.in_channels = paired_levels("PIDHead", in_index, (half, half, in_channels))
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = nn.Conv2d(channels, num_classes, kernel_size=1)
        self.dropout = channel_dropout(dropout_ratio)
        self.i_head = BranchHead(in_channels, channels, norm=norm, activation=activation)
        self.p_head = BranchHead(half, channels, norm=norm, activation=activation)
        self.d_head = BranchHead(half, in_channels // 4, norm=norm, activation=activation)
        self.p_cls_seg = nn.Conv2d(channels, num_classes, kernel_size=1)
        self.d_cls_seg = nn.Conv2d(in_channels // 4, 1, kernel_size=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = self.i_head(features[self.in_index[2]])  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def training_outputs(self, features: Sequence[Tensor]) -> dict[str, HeadOutput]:
        """The logits of the fusion as "", of the detail as "p" (N, K, h, w), of the edges as "d" (N, 1, h, w)."""
        detail, edges = (features[index] for index in self.in_index[:2])
        return {
            "": self(features),
            "p": self.p_cls_seg(self.p_head(detail)),
            "d": self.d_cls_seg(self.d_head(edges)),
        }


# --- Targets ------------------------------------------------------------------------------------------------------


class EdgeMap:
    """The map "edge" of the batch, as the transform GenerateEdge makes it: the target of PIDNet's "d" output."""

    reads_logits = False

    def __call__(
        self, labels: Tensor, logits: Tensor, outputs: Mapping[str, Tensor], maps: Mapping[str, Tensor]
    ) -> Tensor:
        """Maps (N, H, W) -> 1 where there is an edge, 0 where there is none, (N, H, W), or the value of padding.

        Raises ValueError if the batch has no such map.
        """
        if "edge" not in maps:
            found = ", ".join(maps) or "none"
            raise ValueError(
                f"PIDNet learns edges, so a batch needs the map 'edge'; this one has {found}. "
                "Put dict(type='GenerateEdge', edge_width=4) behind the last transform that moves pixels"
            )
        return maps["edge"].long()


class LabelsAtEdges:
    """The labels of pixels at which PIDNet's "d" output is sure of an edge; others are ignored (section 3.5).

    ignore_index: what ignored pixels get.
    """

    reads_logits = False

    def __init__(self, *, ignore_index: int = IGNORE_INDEX) -> None:
        self.ignore_index = ignore_index

    def __call__(
        self, labels: Tensor, logits: Tensor, outputs: Mapping[str, Tensor], maps: Mapping[str, Tensor]
    ) -> Tensor:
        """Labels (N, H, W) and outputs["d"] (N, 1, H, W) -> labels (N, H, W)."""
        sure = torch.sigmoid(outputs["d"][:, 0].detach()) > SURE_OF_AN_EDGE  # (N, H, W)
        return labels.where(sure, self.ignore_index)
