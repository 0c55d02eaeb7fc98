"""ResNeSt: a ResNet whose 3 x 3 convolutions are split, and whose splits are weighed against each other.

Paper: Zhang et al., ResNeSt: Split-Attention Networks, arXiv:2004.08955 (block in figures 1 and 2).
Original code: https://github.com/zhanghang1989/ResNeSt

Everything around the block is a ResNet-D (`backbones/resnet.py`): deep stem, averaging shortcuts, dilated stages.

Deviations: none in the computation.

Published scores of ResNeSt-101 at stride 8, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    FCN 77.56 (78.98)    PSPNet 78.57 (79.19)    DeepLabV3 79.67 (80.51)
                                      DeepLabV3+ 79.62 (80.27)
    ADE20K 512x512, 160k steps        FCN 45.62 (46.16)    PSPNet 45.44 (46.28)    DeepLabV3 45.71 (46.59)
                                      DeepLabV3+ 46.47 (47.27)

Shape letters: N images, C channels, h, w height and width of the present level, R splits (the radix), G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from intarsia.backbones.resnet import ResNet, Style, projection
from intarsia.layers.conv import conv1x1
from intarsia.layers.norm import BN, Norm

LEAST_HIDDEN = 32
"""Channels between the two layers that weigh the splits, at least."""


class SplitAttentionConv(nn.Module):
    """A grouped 3 x 3 convolution to R times the channels; each channel is then a weighted sum of its R splits.

    The weights are made of the mean of all splits over the image, and sum up to 1 (equations 2 to 4).
    """

    def __init__(
        self, channels: int, *, stride: int, dilation: int, groups: int, radix: int, reduction_factor: int, norm: Norm
    ) -> None:
        super().__init__()
        hidden = max(channels * radix // reduction_factor, LEAST_HIDDEN)
        self.radix = radix
        self.groups = groups
        self.norm_names = (f"{norm.name}0", f"{norm.name}1")
        self.conv = nn.Conv2d(
            channels, channels * radix, 3, stride=stride, padding=dilation, dilation=dilation, groups=groups * radix,
            bias=False,
        )  # fmt: skip
        self.add_module(self.norm_names[0], norm(channels * radix))
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, hidden, 1, groups=groups)
        self.add_module(self.norm_names[1], norm(hidden))
        self.fc2 = nn.Conv2d(hidden, channels * radix, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h / stride, w / stride)."""
        norm0, norm1 = (getattr(self, name) for name in self.norm_names)
        x = self.relu(norm0(self.conv(x)))  # (N, R C, h / stride, w / stride)
        splits = x.unflatten(1, (self.radix, -1))  # (N, R, C, h / stride, w / stride)
        mean = splits.sum(dim=1).mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
        scores = self.fc2(self.relu(norm1(self.fc1(mean))))  # (N, R C, 1, 1), group by group
        weights = self._weights(scores)[..., None, None]  # (N, R, C, 1, 1)
        out: Tensor = (weights * splits).sum(dim=1)
        return out

    def _weights(self, scores: Tensor) -> Tensor:
        """(N, R C, 1, 1), group by group -> (N, R, C): a softmax over the splits; a sigmoid of a single one."""
        grouped = scores.flatten(1).unflatten(1, (self.groups, self.radix, -1))  # (N, G, R, C / G)
        weights: Tensor = grouped.softmax(dim=2) if self.radix > 1 else grouped.sigmoid()
        return weights.transpose(1, 2).flatten(2)


class SplitAttentionBottleneck(nn.Module):
    """A ResNet's bottleneck around a split-attention convolution.

    avg_down_stride: an average over 3 x 3 behind the convolution strides, in place of the convolution.
    """

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
        radix: int,
        reduction_factor: int,
        avg_down_stride: bool,
    ) -> None:
        super().__init__()
        stride1, stride2 = (1, stride) if style == "pytorch" else (stride, 1)
        averages = avg_down_stride and stride2 > 1
        self.norm_names = (f"{norm.name}1", f"{norm.name}3")
        self.conv1 = conv1x1(in_channels, width, stride=stride1)
        self.add_module(self.norm_names[0], norm(width))
        self.conv2 = SplitAttentionConv(
            width, stride=1 if averages else stride2, dilation=dilation, groups=groups, radix=radix,
            reduction_factor=reduction_factor, norm=norm,
        )  # fmt: skip
        self.avd_layer = nn.AvgPool2d(3, stride=stride2, padding=1) if averages else None
        self.conv3 = conv1x1(width, out_channels)
        self.add_module(self.norm_names[1], norm(out_channels))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride=stride, avg_down=avg_down, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / stride, w / stride)."""
        norm1, norm3 = (getattr(self, name) for name in self.norm_names)
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv2(self.relu(norm1(self.conv1(x))))  # (N, width, h / stride, w / stride)
        if self.avd_layer is not None:
            x = self.avd_layer(x)
        x = norm3(self.conv3(x))  # (N, out_channels, h / stride, w / stride)
        x += shortcut
        out: Tensor = self.relu(x)
        return out


def ResNeSt(  # noqa: N802 (a name that configs use)
    depth: int,
    *,
    groups: int = 1,
    base_width: int = 4,
    radix: int = 2,
    reduction_factor: int = 4,
    avg_down_stride: bool = True,
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
) -> ResNet:
    """A ResNet-D of split-attention bottlenecks, 50 layers or more. Arguments as in `ResNet`, and:

    groups: of the 3 x 3 convolutions; the paper's cardinality.
    base_width: channels of each group in the first stage, where there are several.
    radix: splits of each group.
    reduction_factor: channels of the splits for each hidden one of their attention.
    avg_down_stride: an average strides in place of the 3 x 3 convolution.

    Convolutions start Kaiming-normal by fan_out, norms as identity; no block starts as its shortcut.

    Raises ValueError for arguments that contradict each other, or fewer than 50 layers.
    """
    if depth < 50:
        raise ValueError(f"ResNeSt is made of bottlenecks, that is 50 layers or more; got depth {depth}")
    block = partial(
        SplitAttentionBottleneck, radix=radix, reduction_factor=reduction_factor, avg_down_stride=avg_down_stride
    )
    return ResNet(
        depth, in_channels=in_channels, stem_channels=stem_channels, base_channels=base_channels,
        num_stages=num_stages, strides=strides, dilations=dilations, out_indices=out_indices, style=style,
        deep_stem=True, avg_down=True, groups=groups, base_width=None if groups == 1 else base_width,
        multi_grid=multi_grid, contract_dilation=contract_dilation, frozen_stages=frozen_stages, norm=norm,
        norm_eval=norm_eval, checkpoint_activations=checkpoint_activations, zero_init_residual=False, bottleneck=block,
    )  # fmt: skip
