"""Deep pyramid pooling: context of several sizes, and a convolution that mixes it with what is finer.

    DAPPM   Hong et al., Deep Dual-resolution Networks, arXiv:2101.06085, section III.C: one scale after the other
    PAPPM   Xu et al., PIDNet, arXiv:2206.02066, figure 6: all scales at once, in one convolution of groups

Shape letters: N images, C channels, h, w height and width of the map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.conv import NormActConv
from intarsia.layers.levels import resize
from intarsia.layers.norm import Norm

WINDOWS = ((5, 2), (9, 4), (17, 8))
"""Side and stride of the windows that are averaged; beside them stand the map itself and its mean."""


class DeepPyramidPooling(nn.Module):
    """Five scales of a map, fused beside a shortcut.

    Args:
        in_channels: channels of the map.
        channels: of each scale.
        out_channels: of the result.
        parallel: PAPPM, where each scale is added to the map; DAPPM otherwise, where it is added to the finished scale
            before it.
        bias: of each convolution.
        norm: before each convolution. A mean over the map leaves a batch norm nothing but the batch to average over,
            so that training needs two images or more.
        activation: between norm and convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        parallel: bool,
        bias: bool = False,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.parallel = parallel
        pooled = len(WINDOWS) + 1

        def conv(before: int, behind: int) -> NormActConv:
            return NormActConv(before, behind, 1, bias=bias, norm=norm, activation=activation)

        def process(width: int, groups: int) -> NormActConv:
            return NormActConv(width, width, 3, padding=1, groups=groups, bias=bias, norm=norm, activation=activation)

        self.scales = nn.ModuleList([conv(in_channels, channels)])
        for side, stride in WINDOWS:
            pool = nn.AvgPool2d(side, stride=stride, padding=side // 2)
            self.scales.append(nn.Sequential(pool, conv(in_channels, channels)))
        self.scales.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(in_channels, channels)))
        self.processes: nn.Module = (
            process(pooled * channels, pooled)
            if parallel
            else nn.ModuleList(process(channels, 1) for _ in range(pooled))
        )
        self.compression = conv((pooled + 1) * channels, out_channels)
        self.shortcut = conv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h, w)."""
        first, *pools = self.scales
        finest = first(x)  # (N, channels, h, w)
        coarser = [resize(pool(x), x.shape[2:]) for pool in pools]  # each (N, channels, h, w)
        if self.parallel:
            scales = [finest, self.processes(torch.cat([scale + finest for scale in coarser], dim=1))]
        else:
            scales = [finest]
            for process, scale in zip(self.processes.children(), coarser, strict=True):
                scales.append(process(scale + scales[-1]))
        out: Tensor = self.compression(torch.cat(scales, dim=1)) + self.shortcut(x)
        return out
