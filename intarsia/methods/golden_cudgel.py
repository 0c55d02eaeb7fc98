"""GCNet, the Golden Cudgel Network: blocks of many paths while it learns, which become one convolution when it is used.

Paper: Yang et al., Golden Cudgel Network for Real-Time Semantic Segmentation, arXiv:2503.03325, CVPR 2025.
Original code: https://github.com/gyyang23/GCNet

Not the GCNet of global context, whose head is `methods/gcnet.py`. In configs its parts have their authors' names, GCNet
and GCNetHead, and in files their names of tensors; `contracted` makes the network of its authors' `deploy=True`.

Deviations: none in the computation. Sizes are those of maps, also where an image is no multiple of 8.

Published scores without ImageNet, single scale, mIoU, and millions of parameters when it is used:
    Cityscapes 1024x1024, 120k steps, batch 12    S 76.9, 9.2    M 78.9, 34.2    L 79.6, 45.2

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec, HeadOutput
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.deep_pyramid_pooling import DeepPyramidPooling
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm

Network = TypeVar("Network", bound=nn.Module)


class TwoConvolutions(nn.Module):
    """A convolution and one of one pixel behind it, each with its norm: a path of a block."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, norm=norm, activation=None
        )
        self.conv2 = ConvNormAct(out_channels, out_channels, 1, norm=norm, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


class GoldenCudgelBlock(nn.Module):
    """Two paths of 3 x 3 convolutions, one of 1 x 1, and the input itself, summed (figure 2, GCBlock).

    activated: whether an activation follows the sum.
    deploy: one 3 x 3 convolution in the place of all paths, as `contracted` makes it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        activated: bool = True,
        norm: Norm,
        activation: Activation,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        self.relu = activation() if activated else nn.Identity()
        self.reparam_3x3: nn.Conv2d | None = None
        if deploy:
            self.reparam_3x3 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
            return

        def path(kernel_size: int) -> TwoConvolutions:
            return TwoConvolutions(in_channels, out_channels, kernel_size, stride=stride, norm=norm)

        self.path_residual = norm(in_channels) if stride == 1 and in_channels == out_channels else None
        self.path_3x3_1, self.path_3x3_2, self.path_1x1 = path(3), path(3), path(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        out: Tensor = self.relu(self._summed(x) if self.reparam_3x3 is None else self.reparam_3x3(x))
        return out

    def _summed(self, x: Tensor) -> Tensor:
        summed: Tensor = self.path_3x3_1(x) + self.path_3x3_2(x) + self.path_1x1(x)
        return summed if self.path_residual is None else summed + self.path_residual(x)


class GoldenCudgelNet(nn.Module):
    """A stem of stride 8, then a branch of context that goes on to stride 64 and one of detail that stays (figure 3).

    Twice, each branch adds what the other found. The two levels, both of stride 8, are the detail after the first
    exchange (2 * channels), for the loss beside it, and the sum of both branches (4 * channels).

    Args:
        in_channels: bands of the image.
        channels: behind the first convolution; 32 is GCNet-S, 64 GCNet-M and L.
        ppm_channels: of each scale of the pooling at the end of the context.
        num_blocks_per_stage: blocks of the stem's two stages, and of the three stages of both branches, context first.
        align_corners: how maps are resized.
        norm: behind every convolution, and before those of the pooling. Of a single image, the mean of the last map
            leaves a batch norm nothing to average over.
        activation: behind every sum that has one.
        deploy: one convolution in the place of each block, for weights that were saved after `contracted`.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.

    Raises ValueError for blocks that are not counted so, or for a stage of the branches with fewer than two.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: int = 32,
        ppm_channels: int = 128,
        num_blocks_per_stage: Sequence[int | Sequence[int]] = (4, 4, (5, 4), (5, 4), (2, 2)),
        align_corners: bool = False,
        norm: Norm = BN,
        activation: Activation = RELU,
        deploy: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        first, second, *branches = _counted(num_blocks_per_stage)
        self.align_corners = align_corners
        self.checkpoint_activations = checkpoint_activations
        detail, wide, wider, widest = (channels * factor for factor in (2, 4, 8, 16))
        self.features = (FeatureSpec(detail, 8), FeatureSpec(wide, 8))

        def blocks(before: int, behind: int, count: int, stride: int, *, activated: bool = False) -> list[nn.Module]:
            """Of which the first strides, and the last has no activation unless it is said."""
            return [
                GoldenCudgelBlock(
                    behind if i else before, behind, stride=1 if i else stride,
                    activated=activated or i < count - 1, norm=norm, activation=activation, deploy=deploy,
                )
                for i in range(count)
            ]  # fmt: skip

        def conv(before: int, behind: int, kernel_size: int, act: Activation | None, stride: int = 1) -> ConvNormAct:
            return ConvNormAct(
                before, behind, kernel_size, stride=stride, padding=kernel_size // 2, norm=norm, activation=act
            )

        self.stem = nn.Sequential(
            conv(in_channels, channels, 3, activation, 2),
            conv(channels, channels, 3, activation, 2),
            *blocks(channels, channels, first[0], 1, activated=True),
            *blocks(channels, detail, second[0], 2, activated=True),
        )
        widths = ((detail, wide), (wide, wider), (wider, widest))
        self.semantic_branch_layers = nn.ModuleList(
            nn.Sequential(*blocks(before, behind, count, 2))
            for (before, behind), (count, _) in zip(widths, branches, strict=True)
        )
        self.compression_1 = conv(wide, detail, 1, None)
        self.down_1 = conv(detail, wide, 3, None, 2)
        self.compression_2 = conv(wider, detail, 1, None)
        self.down_2 = nn.Sequential(conv(detail, wide, 3, activation, 2), conv(wide, wider, 3, None, 2))
        self.detail_branch_layers = nn.ModuleList(
            nn.Sequential(*blocks(detail, behind, count, 1))
            for behind, (_, count) in zip((detail, detail, wide), branches, strict=True)
        )
        self.spp = DeepPyramidPooling(widest, ppm_channels, wide, parallel=False, norm=norm, activation=activation)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> detail (N, 2 * channels, H / 8, W / 8), sum (N, 4 * channels, H / 8, W / 8)."""
        x = self._run(self.stem, images)
        first, detail = self._exchange(x, x, 0, self.compression_1, self.down_1)
        context, x = self._exchange(F.relu(first), F.relu(detail), 1, self.compression_2, self.down_2)
        x = self._run(self.detail_branch_layers[2], F.relu(x))  # (N, 4 * channels, H / 8, W / 8)
        context = self._run(self.semantic_branch_layers[2], F.relu(context))  # (N, 16 * channels, H / 64, W / 64)
        context = self._run(self.spp, context)  # (N, 4 * channels, H / 64, W / 64)
        return detail, x + self._resized(context, x)

    def _exchange(
        self, context: Tensor, detail: Tensor, step: int, compress: nn.Module, down: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """A stage of each branch, and then to each what the other found, at its size and with its channels."""
        context = self._run(self.semantic_branch_layers[step], context)
        detail = self._run(self.detail_branch_layers[step], detail)
        return context + down(F.relu(detail)), detail + self._resized(compress(F.relu(context)), detail)

    def _resized(self, x: Tensor, like: Tensor) -> Tensor:
        return resize(x, like.shape[2:], align_corners=self.align_corners)

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = run_block(stage, x, checkpoint=self.checkpoint_activations)
        return out


def _counted(num_blocks_per_stage: Sequence[int | Sequence[int]]) -> list[tuple[int, ...]]:
    """For each stage its blocks: (stem), (stem), then (context, detail) three times."""
    counts = [(stage,) if isinstance(stage, int) else tuple(stage) for stage in num_blocks_per_stage]
    if [len(count) for count in counts] != [1, 1, 2, 2, 2] or any(min(count) < 2 for count in counts[2:]):
        raise ValueError(
            "num_blocks_per_stage of GCNet counts the blocks of two stages, and of three for each of both branches, "
            f"two or more there, such as [4, 4, [5, 4], [5, 4], [2, 2]]; got {list(num_blocks_per_stage)}"
        )
    return counts


# --- From many paths to one convolution ---------------------------------------------------------------------------


def contracted(network: Network) -> Network:
    """Replace each block by the one convolution that computes the same; the network itself, which is changed.

    For a network that has learnt: what a norm does in training no convolution does. Raises ValueError while the network
    is in training, or if it has no such block.
    """
    blocks = [module for module in network.modules() if isinstance(module, GoldenCudgelBlock)]
    if not blocks:
        raise ValueError(f"{type(network).__name__} has no GoldenCudgelBlock to be contracted")
    if any(block.training for block in blocks):
        raise ValueError("blocks become one convolution when they have learnt: call .eval() first")
    for block in blocks:
        if block.reparam_3x3 is None:
            block.reparam_3x3 = single_convolution(block)
            del block.path_residual, block.path_3x3_1, block.path_3x3_2, block.path_1x1
    return network


@torch.no_grad()
def single_convolution(block: GoldenCudgelBlock) -> nn.Conv2d:
    """The 3 x 3 convolution that gives the sum of a block's paths, with the statistics that their norms have now."""
    like = block.path_3x3_1.conv1.conv
    paths = [_of_path(path) for path in (block.path_3x3_1, block.path_3x3_2, block.path_1x1)]
    if block.path_residual is not None:
        identity = torch.eye(like.in_channels, dtype=like.weight.dtype, device=like.weight.device)[..., None, None]
        paths.append(_behind_norm(block.path_residual, identity))
    stride = (like.stride[0], like.stride[1])
    conv = nn.Conv2d(like.in_channels, like.out_channels, 3, stride=stride, padding=1).to(like.weight)
    assert conv.bias is not None
    conv.weight.copy_(torch.stack([_as_3x3(weight) for weight, _ in paths]).sum(dim=0))
    conv.bias.copy_(torch.stack([bias for _, bias in paths]).sum(dim=0))
    return conv.requires_grad_(like.weight.requires_grad)


def _of_path(path: TwoConvolutions) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does what two do, the second being of one pixel."""
    first, second = ((conv, getattr(conv, str(conv.norm_name))) for conv in (path.conv1, path.conv2))
    weight, bias = _behind_norm(first[1], first[0].conv.weight)
    mixing, shift = _behind_norm(second[1], second[0].conv.weight)
    mixing = mixing.flatten(1)  # (C, C)
    return torch.einsum("oi,ijhw->ojhw", mixing, weight), mixing @ bias + shift


def _behind_norm(norm: nn.Module, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight without bias, and the batch norm behind it -> weight and bias of both."""
    if not isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm):
        raise ValueError(f"a block is one convolution where its norms are batch norms; found {type(norm).__name__}")
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def _as_3x3(weight: Tensor) -> Tensor:
    around = (3 - weight.shape[3]) // 2
    return F.pad(weight, (around,) * 4)


# --- The head -----------------------------------------------------------------------------------------------------


class GoldenCudgelHead(nn.Module):
    """A convolution and the classifier; in training, another pair beside it for the detail branch (figure 3).

    Args:
        in_channels: channels of the sum of both branches; the detail has half of them.
        channels: of either convolution.
        num_classes: number of logits.
        in_index: the levels of the detail and of the sum.
        dropout_ratio: of channels, before the classifier of the sum.
        norm: before and behind either convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Convolutions start Kaiming-normal by fan_out, classifiers too.

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
        self.in_index, self.in_channels = paired_levels("GCNetHead", in_index, (in_channels // 2, in_channels))
        self.num_classes = num_classes
        self.align_corners = align_corners

        def convolved(width: int) -> nn.Sequential:
            conv = ConvNormAct(width, channels, 3, padding=1, norm=norm, activation=activation)
            return nn.Sequential(norm(width), activation(), conv)

        def classifier() -> nn.Conv2d:
            conv = nn.Conv2d(channels, num_classes, kernel_size=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            return conv

        self.conv_seg = classifier()
        self.dropout = channel_dropout(dropout_ratio)
        self.head = convolved(in_channels)
        self.aux_head_c4 = convolved(in_channels // 2)
        self.aux_cls_seg_c4 = classifier()

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = self.head(features[self.in_index[1]])  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def training_outputs(self, features: Sequence[Tensor]) -> dict[str, HeadOutput]:
        """The logits of the sum as "", and those of the detail as "c4"."""
        detail = self.aux_head_c4(features[self.in_index[0]])  # (N, channels, h, w)
        return {"": self(features), "c4": self.aux_cls_seg_c4(detail)}
