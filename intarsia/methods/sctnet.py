"""SCTNet: one branch of convolutions, whose last blocks attend to kernels that they learn, as a transformer would.

Paper: Xu et al., SCTNet: Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation,
    arXiv:2312.17071, AAAI 2024.
Original code: https://github.com/xzz777/SCTNet

What the paper trains with beside the labels, a SegFormer whose maps the blocks should resemble, is not here; from the
classes of a teacher a network learns with `--teacher`. The published scores are of networks that had that transformer,
and ImageNet.

Deviations: none in the computation. Names of tensors are the published ones but for the pooling, whose are DDRNet's;
files are read under either. The authors' initialisers are given tensors where they expect layers, and do nothing; what
they say is done here. `SCTHead` is their AU_SCTHead, too.

Published scores, single scale, mIoU:
    Cityscapes    S, test at 768x1536 76.33    B, test at 1024x2048 80.51
    ADE20K        S 37.91                      B 43.04

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers import precision
from intarsia.layers.activation import RELU
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import initialise_conv
from intarsia.layers.deep_pyramid_pooling import DeepPyramidPooling
from intarsia.layers.drop_path import DropPath
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN, Norm

KERNELS = 64
"""That a block attends to, in each of two directions (section 3.2)."""


def _conv(in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1) -> nn.Conv2d:
    """A convolution with a bias, also before a norm, since published weights have it."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
    initialise_conv(conv)
    return conv


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. activated: whether an activation follows the sum."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, activated: bool, norm: Norm) -> None:
        super().__init__()
        self.activated = activated
        self.conv1, self.bn1 = _conv(in_channels, out_channels, stride=stride), norm(out_channels)
        self.conv2, self.bn2 = _conv(out_channels, out_channels), norm(out_channels)
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(_conv(in_channels, out_channels, 1, stride=stride), norm(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out = out + (x if self.downsample is None else self.downsample(x))
        summed: Tensor = self.relu(out) if self.activated else out
        return summed


class ConvolutionalAttention(nn.Module):
    """How alike each pixel is to kernels of 7 x 1 and 1 x 7 pixels, and a sum of the kernels by that (equation 2).

    Of a group of kernels, each is compared between pixels by a softmax, and then the group's are scaled to a sum of 1.
    """

    def __init__(self, channels: int, *, num_heads: int, norm: Norm) -> None:
        super().__init__()
        if KERNELS % num_heads:
            raise ValueError(f"num_heads of SCTNet must divide the {KERNELS} kernels of its attention; got {num_heads}")
        self.num_heads = num_heads
        self.norm = norm(channels)
        self.kv = nn.Parameter(torch.empty(KERNELS, channels, 7, 1))
        self.kv3 = nn.Parameter(torch.empty(KERNELS, channels, 1, 7))
        for kernels in (self.kv, self.kv3):
            nn.init.trunc_normal_(kernels, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        x = self.norm(x)
        return self._along(x, self.kv, (3, 0)) + self._along(x, self.kv3, (0, 3))

    def _along(self, x: Tensor, kernels: Tensor, padding: tuple[int, int]) -> Tensor:
        likeness = F.conv2d(x, kernels, padding=padding)  # (N, KERNELS, h, w)
        grouped = precision.full_precision(likeness.flatten(2)).unflatten(1, (self.num_heads, -1))  # (N, heads, k, h w)
        attention = grouped.softmax(dim=3)
        attention = attention / (attention.sum(dim=2, keepdim=True) + 1e-6)
        shared = attention.flatten(1, 2).to(x.dtype).unflatten(2, x.shape[2:])  # (N, KERNELS, h, w)
        return F.conv2d(shared, kernels.transpose(0, 1), padding=padding)


class Perceptron(nn.Module):
    """Two 3 x 3 convolutions behind a norm, which stand for a transformer's linear layers."""

    def __init__(self, channels: int, *, drop_rate: float, norm: Norm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.conv1, self.conv2 = _conv(channels, channels), _conv(channels, channels)
        self.act = nn.GELU()
        self.hidden_drop, self.drop = nn.Dropout(drop_rate), nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = self.drop(self.conv2(self.hidden_drop(self.act(self.conv1(self.norm(x))))))
        return out


class ConvFormerBlock(nn.Module):
    """A transformer's block made of convolutions (figure 3, CFBlock)."""

    def __init__(self, channels: int, *, num_heads: int, drop_rate: float, drop_path_rate: float, norm: Norm) -> None:
        super().__init__()
        self.attn_l = ConvolutionalAttention(channels, num_heads=num_heads, norm=norm)
        self.mlp_l = Perceptron(channels, drop_rate=drop_rate, norm=replace(norm, eps=1e-6))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        x = x + self.drop_path(self.attn_l(x))
        out: Tensor = x + self.drop_path(self.mlp_l(x))
        return out


class SCTNet(nn.Module):
    """Residual stages to stride 16, blocks of attention at strides 16 and 32, and a pooling (figure 2).

    The two levels, both of stride 8, are the second stage beside the enlarged pooling (4 * base_channels), and the
    second stage alone (2 * base_channels), for the loss beside it.

    Args:
        in_channels: bands of the image.
        layer_nums: blocks of the three residual stages.
        base_channels: of the first stage; 32 is SCTNet-S, 64 SCTNet-B.
        spp_channels: of each scale of the pooling.
        num_heads: groups of the attention's kernels.
        drop_rate: of single values, behind the convolutions of a block's perceptron.
        drop_path_rate: of whole branches of the blocks of attention.
        norm: of every layer. Of a single image, the mean of the last map leaves a batch norm nothing to average over.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.

    Raises ValueError for other than three stages, or groups that the kernels cannot be divided into.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        layer_nums: Sequence[int] = (2, 2, 2),
        base_channels: int = 64,
        spp_channels: int = 128,
        num_heads: int = 8,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        norm: Norm = BN,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if len(layer_nums) not in (3, 4):  # the authors give a fourth, which nothing reads
            raise ValueError(f"layer_nums of SCTNet counts the blocks of its three stages; got {tuple(layer_nums)}")
        self.checkpoint_activations = checkpoint_activations
        first, second, third, last = (base_channels * factor for factor in (1, 2, 4, 8))
        self.features = (FeatureSpec(2 * second, 8), FeatureSpec(second, 8))

        def stage(before: int, behind: int, count: int, stride: int) -> nn.Sequential:
            """The sum of the last block is not activated, unless there is but one."""
            return nn.Sequential(
                *(
                    ResidualBlock(
                        behind if i else before, behind, stride=1 if i else stride,
                        activated=i == 0 or i < count - 1, norm=norm,
                    )
                    for i in range(count)
                )
            )  # fmt: skip

        def attention(width: int) -> ConvFormerBlock:
            return ConvFormerBlock(
                width, num_heads=num_heads, drop_rate=drop_rate, drop_path_rate=drop_path_rate, norm=norm
            )

        def down(before: int, behind: int) -> tuple[nn.Module, nn.Module, nn.Module]:
            return _conv(before, behind, stride=2), norm(behind), nn.ReLU()

        self.conv1 = nn.Sequential(*down(in_channels, first), *down(first, first))
        self.layer1 = stage(first, first, layer_nums[0], 1)
        self.layer2 = stage(first, second, layer_nums[1], 2)
        self.layer3 = stage(second, third, layer_nums[2], 2)
        self.layer3_2 = attention(third)
        self.convdown4 = nn.Sequential(*down(third, last))
        self.layer4, self.layer5 = attention(last), attention(last)
        self.spp = DeepPyramidPooling(last, spp_channels, second, parallel=False, bias=True, norm=norm, activation=RELU)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> (N, 4 * base_channels, H / 8, W / 8), (N, 2 * base_channels, H / 8, W / 8)."""
        x = self._run(self.layer1, self._run(self.conv1, images))
        fine = self._run(self.layer2, F.relu(x))  # (N, 2 * base_channels, H / 8, W / 8)
        x = self._run(self.layer3_2, F.relu(self._run(self.layer3, F.relu(fine))))
        x = self._run(self.layer4, self._run(self.convdown4, x))  # (N, 8 * base_channels, H / 32, W / 32)
        x = self._run(self.spp, self._run(self.layer5, F.relu(x)))  # (N, 2 * base_channels, H / 32, W / 32)
        return torch.cat([fine, resize(x, fine.shape[2:])], dim=1), fine

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = run_block(stage, x, checkpoint=self.checkpoint_activations)
        return out


class SCTHead(nn.Module):
    """A convolution between two norms, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: of the convolution.
        num_classes: number of logits.
        in_index: the level read.
        dropout_ratio: of channels, before the classifier.
        norm: before and behind the convolution.
        align_corners: how logits are resized by those who consume them.

    Convolutions start Kaiming-normal by fan_out, the classifier too.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = 0,
        dropout_ratio: float = 0.1,
        norm: Norm = BN,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.in_index = in_channels, in_index
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.bn1, self.conv1 = norm(in_channels), _conv(in_channels, channels)
        self.bn2, self.conv_seg = norm(channels), _conv(channels, num_classes, 1)
        self.dropout = channel_dropout(dropout_ratio)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the level read."""
        x = self.conv1(F.relu(self.bn1(features[self.in_index])))  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(F.relu(self.bn2(x))))  # (N, K, h, w)
        return logits
