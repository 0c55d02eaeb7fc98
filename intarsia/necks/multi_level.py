"""A pyramid out of levels of one size, as heads for hierarchical backbones read it.

Source: MMSegmentation's neck between plain transformers and UPerNet; no paper describes it. That resized maps of a ViT
are pyramid enough is what ViTDet found later for detection (Li et al., arXiv:2203.16527).

Shape letters: N images, C channels, h_i, w_i height and width of level i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm


class MultiLevelNeck(nn.Module):
    """A 1 x 1 convolution, a resize and a 3 x 3 convolution for each level.

    Args:
        in_channels: channels of each level; of one level, every level that comes out is made.
        out_channels: channels of every level that comes out.
        scales: how many times as large each level comes out; sizes are rounded down.
        norm: behind each convolution.
        activation: behind each norm.

    Raises ValueError unless there is one level, or one for each of `scales`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        out_channels: int,
        scales: Sequence[float] = (0.5, 1, 2, 4),
        norm: Norm | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        if len(in_channels) not in (1, len(scales)):
            raise ValueError(
                f"MultiLevelNeck makes a level for each of scales={list(scales)}, of one level or as many; "
                f"got in_channels={list(in_channels)}"
            )
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.scales = tuple(scales)
        self.least_cells = math.ceil(1 / min(scales))

        def conv(width: int, kernel_size: int) -> ConvNormAct:
            layer = ConvNormAct(
                width, out_channels, kernel_size, padding=kernel_size // 2, norm=norm, activation=activation
            )
            nn.init.xavier_uniform_(layer.conv.weight)
            return layer

        self.lateral_convs = nn.ModuleList(conv(width, 1) for width in self.in_channels)
        self.convs = nn.ModuleList(conv(out_channels, 3) for _ in self.scales)

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """The backbone's levels -> as many as `scales`, their strides divided by these.

        Raises ValueError where that leaves a part of a pixel.
        """
        sources = features if len(features) == len(self.scales) else features * len(self.scales)
        strides = [level.stride / scale for level, scale in zip(sources, self.scales, strict=True)]
        if any(stride != int(stride) for stride in strides):
            raise ValueError(
                f"scales={list(self.scales)} of MultiLevelNeck turn levels of strides "
                f"{[level.stride for level in features]} into strides {strides}, which must be whole numbers"
            )
        return tuple(FeatureSpec(self.out_channels, int(stride)) for stride in strides)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's levels (N, C_i, h_i, w_i) -> (N, out_channels, scale * h_i, scale * w_i) for each scale."""
        levels = [conv(x) for conv, x in zip(self.lateral_convs, features, strict=True)]
        if len(levels) == 1:
            levels = levels * len(self.scales)
        return tuple(
            conv(F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False))
            for conv, x, scale in zip(self.convs, levels, self.scales, strict=True)
        )
