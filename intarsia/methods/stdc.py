"""STDC: blocks whose layers get narrower and are concatenated, and a detail branch that only training looks at.

Paper: Fan et al., Rethinking BiSeNet For Real-time Semantic Segmentation, arXiv:2104.13188.
Original code: https://github.com/MichaelFan01/STDC-Seg

Deviations, shared with OpenMMLab's published weights: the detail head has two logits, for detail and for none, each a
yes or no of its own; what counts as detail is thresholded once more after the fusion of all scales.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps, batch 48          STDC1 71.82 (73.89)    STDC2 73.15 (76.13)
    the same, backbone trained on ImageNet first      STDC1 74.94 (76.97)    STDC2 76.67 (78.67)

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Backbone, FeatureSpec, HeadOutput, TargetInput
from intarsia.layers import fcn
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.attention_refinement import AttentionRefinement
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import one_or_several_levels, read_levels
from intarsia.layers.norm import BN, Norm

BLOCKS = {"STDCNet1": (2, 2, 2), "STDCNet2": (4, 5, 3)}
"""Blocks of stages 3 to 5, of which the first strides (table 2)."""
LEVELS = 3
"""Stages that are returned, the last ones."""


class ShortTermDenseConcat(nn.Module):
    """Convolutions one behind the other, each of half the channels, whose outputs are concatenated (figure 3).

    fusion: "cat" as in the paper, where a strided block averages what its first layer gives; "add" puts a shortcut
        around the block instead, and strides in the first layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        num_convs: int,
        fusion: Literal["cat", "add"],
        norm: Norm,
        activation: Activation,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        half = out_channels // 2
        self.fusion = fusion
        first = ConvNormAct(in_channels, half, 1, norm=norm, activation=activation)
        self.layers = nn.ModuleList()
        self.downsample: nn.Module | None = None
        self.skip: nn.Module | None = None
        if stride > 1:
            self.downsample = _depthwise(half, stride, norm)
        if self.downsample is not None and fusion == "add":
            self.layers.append(nn.Sequential(first, self.downsample))
            self.skip = nn.Sequential(
                _depthwise(in_channels, stride, norm),
                ConvNormAct(in_channels, out_channels, 1, norm=norm, activation=None),
            )
        else:
            self.layers.append(first)
            pool = nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=count_include_pad)
            self.skip = pool if stride > 1 else None
        for i in range(1, num_convs):
            last = i == num_convs - 1
            width = out_channels // 2 ** (i if last else i + 1)
            self.layers.append(ConvNormAct(out_channels // 2**i, width, 3, padding=1, norm=norm, activation=activation))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        first, *others = self.layers
        outputs = [first(x)]  # (N, out_channels / 2, h, w)
        finer = outputs[0]
        if self.fusion == "cat" and self.downsample is not None and self.skip is not None:
            outputs, finer = [self.skip(finer)], self.downsample(finer)  # both (N, out_channels / 2, h / 2, w / 2)
        for layer in others:
            finer = layer(finer)
            outputs.append(finer)
        out = torch.cat(outputs, dim=1)
        if self.fusion == "cat":
            return out
        shortcut: Tensor = x if self.skip is None else self.skip(x)
        return out + shortcut


def _depthwise(channels: int, stride: int, norm: Norm) -> ConvNormAct:
    return ConvNormAct(channels, channels, 3, stride=stride, padding=1, groups=channels, norm=norm, activation=None)


class STDCNet(nn.Module):
    """Two strided convolutions and three stages of blocks (table 2). The levels are those of the stages, 8, 16 and 32.

    Args:
        stdc_type: "STDCNet1" or "STDCNet2".
        in_channels: bands of the image.
        channels: behind each of the two convolutions and three stages.
        bottleneck_type: what a block does with the outputs of its layers, "cat" or "add".
        num_convs: layers of a block.
        with_final_conv: a 1 x 1 convolution to at least 1024 channels behind the last stage.
        count_include_pad: whether averages at the borders count what lies outside as zeros, as torch's pooling does by
            itself and Paddle's does not.
        norm: behind every convolution.
        activation: of every convolution that has one.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.

    Raises ValueError for an unknown type, for other than five `channels`, or for fewer than two `num_convs`.
    """

    def __init__(
        self,
        *,
        stdc_type: Literal["STDCNet1", "STDCNet2"],
        in_channels: int = 3,
        channels: Sequence[int] = (32, 64, 256, 512, 1024),
        bottleneck_type: Literal["cat", "add"] = "cat",
        num_convs: int = 4,
        with_final_conv: bool = False,
        count_include_pad: bool = True,
        norm: Norm = BN,
        activation: Activation = RELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check(stdc_type, channels, bottleneck_type, num_convs)
        self.checkpoint_activations = checkpoint_activations

        def block(before: int, width: int, stride: int) -> ShortTermDenseConcat:
            return ShortTermDenseConcat(
                before, width, stride=stride, num_convs=num_convs, fusion=bottleneck_type, norm=norm,
                activation=activation, count_include_pad=count_include_pad,
            )  # fmt: skip

        self.stages = nn.ModuleList(
            ConvNormAct(before, width, 3, stride=2, padding=1, norm=norm, activation=activation)
            for before, width in zip((in_channels, channels[0]), channels[:2], strict=True)
        )
        for before, width, blocks in zip(channels[1:-1], channels[2:], BLOCKS[stdc_type], strict=True):
            rest = (block(width, width, 1) for _ in range(blocks - 1))
            self.stages.append(nn.Sequential(block(before, width, 2), *rest))
        widths = list(channels[-LEVELS:])
        if with_final_conv:
            widths[-1] = max(1024, channels[-1])
            self.final_conv = ConvNormAct(channels[-1], widths[-1], 1, norm=norm, activation=activation)
        self.with_final_conv = with_final_conv
        self.features = tuple(map(FeatureSpec, widths, (8, 16, 32)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> (N, channels, H / stride, W / stride) for strides 8, 16 and 32, rounded up."""
        levels, x = [], images
        for stage in self.stages:
            x = run_block(stage, x, checkpoint=self.checkpoint_activations)
            levels.append(x)
        if self.with_final_conv:
            levels[-1] = self.final_conv(x)
        return tuple(levels[-LEVELS:])


def _check(stdc_type: str, channels: Sequence[int], bottleneck_type: str, num_convs: int) -> None:
    if stdc_type not in BLOCKS:
        raise ValueError(f"stdc_type must be one of {', '.join(BLOCKS)}; got {stdc_type!r}")
    if len(channels) != LEVELS + 2:
        raise ValueError(f"channels of STDCNet are those of two convolutions and three stages; got {tuple(channels)}")
    if bottleneck_type not in ("cat", "add"):
        raise ValueError(f"bottleneck_type must be 'cat' or 'add'; got {bottleneck_type!r}")
    if num_convs < 2:
        raise ValueError(f"a block of STDCNet has at least two layers (num_convs); got {num_convs}")


class FeatureFusion(nn.Module):
    """Two maps side by side, mixed, and their channels weighed by what the whole map looks like (figure 4, FFM)."""

    def __init__(self, in_channels: int, out_channels: int, *, scale_factor: int, norm: Norm) -> None:
        super().__init__()
        hidden = out_channels // scale_factor
        self.conv0 = ConvNormAct(in_channels, out_channels, 1, norm=norm)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            ConvNormAct(out_channels, hidden, 1, bias=False),
            ConvNormAct(hidden, out_channels, 1, bias=False, activation=None),
            nn.Sigmoid(),
        )

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Maps (N, C, h, w) and (N, C', h, w) -> (N, out_channels, h, w)."""
        x = self.conv0(torch.cat([spatial, context], dim=1))  # (N, out_channels, h, w)
        out: Tensor = x + x * self.attention(x)
        return out


class STDCContextPathNet(nn.Module):
    """An STDCNet whose two coarse levels are refined and brought up, and fused with the fine one (figure 4).

    The four levels are the backbone's own of stride 8, the context at strides 16 and 8, and the fusion (stride 8).

    Args:
        backbone: its last three levels have strides 8, 16 and 32.
        last_in_channels: of the backbone's levels at strides 32 and 16.
        out_channels: of the context.
        ffm_in_channels: of the two maps that are fused, together; None for what they have.
        ffm_out_channels: of the fusion.
        ffm_scale_factor: channels of the fusion for each of the hidden ones of its attention.
        upsample_mode: how the context is brought to the size of the next finer level.
        align_corners: the same, of mode "bilinear".
        norm: behind every convolution but those of the attention. The mean of the last level leaves a batch norm
            nothing but the batch to average over, so that training needs two images or more.
        checkpoint_activations: recompute the refinements and the fusion in the backward pass instead of keeping their
            activations; the backbone has an argument of its own.

    Raises ValueError if channels or strides contradict each other.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        last_in_channels: tuple[int, int] = (1024, 512),
        out_channels: int = 128,
        ffm_in_channels: int | None = None,
        ffm_out_channels: int = 256,
        ffm_scale_factor: int = 4,
        upsample_mode: Literal["nearest", "bilinear"] = "nearest",
        align_corners: bool | None = None,
        norm: Norm = BN,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        detail, *coarse = tuple(backbone.features)[-LEVELS:]
        expected = list(map(FeatureSpec, reversed(last_in_channels), (16, 32)))
        if coarse != expected or detail.stride != 8:
            raise ValueError(
                f"STDCContextPathNet reads levels of strides 8, 16 and 32, the last two of last_in_channels="
                f"{tuple(last_in_channels)} (coarsest first), but {type(backbone).__name__} gives "
                f"{[(level.channels, level.stride) for level in backbone.features]} (channels, stride)"
            )
        together = detail.channels + out_channels
        if ffm_in_channels not in (None, together):
            raise ValueError(
                f"the fusion of STDCContextPathNet reads {detail.channels} + {out_channels} channels (the level of "
                f"stride 8 and out_channels), so in_channels of ffm_cfg is {together}; got {ffm_in_channels}"
            )
        self.upsample_mode = upsample_mode
        self.align_corners = align_corners
        self.checkpoint_activations = checkpoint_activations
        self.backbone = cast("nn.Module", backbone)
        self.arms = nn.ModuleList(
            AttentionRefinement(width, out_channels, norm=norm, activation=RELU) for width in last_in_channels
        )
        self.convs = nn.ModuleList(
            ConvNormAct(out_channels, out_channels, 3, padding=1, norm=norm) for _ in last_in_channels
        )
        self.conv_avg = ConvNormAct(last_in_channels[0], out_channels, 1, norm=norm)
        self.ffm = FeatureFusion(together, ffm_out_channels, scale_factor=ffm_scale_factor, norm=norm)
        context = (FeatureSpec(out_channels, 16), FeatureSpec(out_channels, 8))
        self.features = (detail, *context, FeatureSpec(ffm_out_channels, 8))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> levels of strides 8, 16, 8 and 8, rounded up."""
        x8, x16, x32 = self.backbone(images)[-LEVELS:]
        coarser = self.conv_avg(x32.mean(dim=(2, 3), keepdim=True))  # (N, out_channels, 1, 1)
        context = []
        for arm, conv, level, finer in zip(self.arms, self.convs, (x32, x16), (x16, x8), strict=True):
            refined = run_block(arm, level, checkpoint=self.checkpoint_activations) + coarser
            coarser = conv(self._resized(refined, finer))
            context.append(coarser)
        fused = run_block(self.ffm, x8, context[-1], checkpoint=self.checkpoint_activations)
        return x8, *context, fused

    def _resized(self, x: Tensor, like: Tensor) -> Tensor:
        align_corners = None if self.upsample_mode == "nearest" else self.align_corners
        return F.interpolate(x, size=like.shape[2:], mode=self.upsample_mode, align_corners=align_corners)


class STDCHead(nn.Module):
    """The detail head: an FCN head that learns where details are, for training only (section 3.3).

    The kernels that make details of labels are in published weights, and so in the state of the head: `DetailMap` reads
    them from there.

    Args:
        in_channels: channels of the level read, or of each level under "resize_concat".
        channels: channels in the head.
        num_classes: number of logits, 2: no detail, and detail.
        in_index: the level read, or the levels under "resize_concat".
        input_transform: "resize_concat" brings several levels to the size of the first and concatenates them.
        num_convs: 0 classifies the level as it is, so that `channels` must be `in_channels`.
        kernel_size: of the convolutions.
        dilation: of the convolutions.
        concat_input: concatenate what the convolutions give with what they got, and fuse.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how levels are resized here, and logits by those who consume them.

    Raises ValueError for arguments that contradict each other.
    """

    laplacian_kernel: Tensor

    def __init__(
        self,
        *,
        in_channels: int | Sequence[int],
        channels: int,
        num_classes: int = 2,
        in_index: int | Sequence[int] = -1,
        input_transform: Literal["resize_concat"] | None = None,
        num_convs: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
        concat_input: bool = True,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels, width = one_or_several_levels(
            "STDCHead", in_index, in_channels, input_transform
        )
        if num_convs == 0 and channels != width:
            raise ValueError(f"STDCHead without convolutions cannot turn {width} channels into channels={channels}")
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.convs = fcn.convolutions(
            width, channels, num_convs=num_convs, kernel_size=kernel_size, dilation=dilation, norm=norm,
            activation=activation,
        )  # fmt: skip
        self.conv_cat = (
            fcn.fusion(width, channels, kernel_size=kernel_size, norm=norm, activation=activation)
            if concat_input
            else None
        )
        kernel = -torch.ones(1, 1, 3, 3)
        kernel[..., 1, 1] = 8
        self.register_buffer("laplacian_kernel", kernel)
        scales = torch.tensor([6 / 10, 3 / 10, 1 / 10]).view(1, 3, 1, 1)
        self.fusion_kernel = nn.Parameter(scales, requires_grad=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the (first) level read."""
        x = read_levels(features, self.in_index, align_corners=self.align_corners)  # (N, C, h, w)
        x = fcn.body(x, self.convs, self.conv_cat)  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def training_outputs(self, features: Sequence[Tensor]) -> dict[str, HeadOutput]:
        """The logits as "", and beside them the kernels for `DetailMap`."""
        return {
            "": self(features),
            "laplacian": TargetInput(self.laplacian_kernel),
            "fusion": TargetInput(self.fusion_kernel),
        }


class DetailMap:
    """Where the labels have details: the target of the detail head, made by the kernels of its state (figure 5).

    A Laplacian at strides 1, 2 and 4 finds them; the three maps, brought to one size, are weighed and summed.

    boundary_threshold: what a map must exceed for a detail, before and after the sum.
    """

    reads_logits = False

    def __init__(self, *, boundary_threshold: float = 0.1) -> None:
        self.boundary_threshold = boundary_threshold

    @torch.no_grad()
    def __call__(
        self, labels: Tensor, logits: Tensor, outputs: Mapping[str, Tensor], maps: Mapping[str, Tensor]
    ) -> Tensor:
        """Labels (N, H, W) -> 1 at details and 0 elsewhere, (N, H, W). Where ignored regions end are details too."""
        laplacian, fusion = outputs["laplacian"], outputs["fusion"]  # (1, 1, 3, 3), (1, 3, 1, 1)
        values = labels.unsqueeze(1).to(laplacian.dtype)  # (N, 1, H, W)
        pyramid = [
            self._detail(F.interpolate(F.conv2d(values, laplacian, stride=stride, padding=1), size=labels.shape[1:]))
            for stride in (1, 2, 4)
        ]
        fused = F.conv2d(torch.cat(pyramid, dim=1).to(fusion.dtype), fusion)  # (N, 1, H, W)
        return self._detail(fused)[:, 0].long()

    def _detail(self, x: Tensor) -> Tensor:
        return (x > self.boundary_threshold).to(x.dtype)
