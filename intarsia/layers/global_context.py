"""The global context block: one vector of the whole image, added to every pixel or multiplied into it.

Paper: Cao et al., GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond, arXiv:1904.11492.
Original code: https://github.com/xvjiarui/GCNet

Shape letters: N images, C channels, h, w height and width, P = h * w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from intarsia.layers import precision

Pooling = Literal["att", "avg"]
Fusion = Literal["channel_add", "channel_mul"]


class GlobalContextBlock(nn.Module):
    """Context modelling, transform and fusion (figure 4d).

    ratio: of the channels inside the transform to those of the map.
    pooling_type: "att", a mean weighted by a softmax over all pixels, or "avg", the plain mean.
    fusion_types: "channel_mul" multiplies by a sigmoid, "channel_add" adds; with both, in this order.

    Each transform's last convolution starts at 0.

    Raises ValueError for unknown types, no fusion at all, or a ratio that leaves no channel.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        ratio: float,
        pooling_type: Pooling = "att",
        fusion_types: Sequence[Fusion] = ("channel_add",),
    ) -> None:
        super().__init__()
        if pooling_type not in ("att", "avg"):
            raise ValueError(f"pooling_type must be 'att' or 'avg', not {pooling_type!r}")
        if not fusion_types or set(fusion_types) - {"channel_add", "channel_mul"}:
            raise ValueError(f"fusion_types must name 'channel_add', 'channel_mul' or both; got {list(fusion_types)}")
        channels = int(in_channels * ratio)
        if channels < 1:
            raise ValueError(f"ratio={ratio} of {in_channels} channels leaves none; set it to 1/{in_channels} or more")
        self.conv_mask = None
        if pooling_type == "att":
            self.conv_mask = nn.Conv2d(in_channels, 1, kernel_size=1)
            nn.init.kaiming_normal_(self.conv_mask.weight, nonlinearity="relu")
            assert self.conv_mask.bias is not None
            nn.init.zeros_(self.conv_mask.bias)
        self.channel_add_conv = _transform(in_channels, channels) if "channel_add" in fusion_types else None
        self.channel_mul_conv = _transform(in_channels, channels) if "channel_mul" in fusion_types else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        context = self._pooled(x)  # (N, C, 1, 1)
        out = x
        if self.channel_mul_conv is not None:
            out = out * self.channel_mul_conv(context).sigmoid()
        if self.channel_add_conv is not None:
            out = out + self.channel_add_conv(context)
        return out

    def _pooled(self, x: Tensor) -> Tensor:
        if self.conv_mask is None:
            return x.mean(dim=(2, 3), keepdim=True)
        weights = precision.full_precision(self.conv_mask(x)).flatten(2).softmax(dim=2)  # (N, 1, P)
        return precision.sums_over_pixels(weights, x.flatten(2)).transpose(1, 2).unsqueeze(3).to(x.dtype)


def _transform(in_channels: int, channels: int) -> nn.Sequential:
    last = nn.Conv2d(channels, in_channels, kernel_size=1)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    norm = nn.LayerNorm([channels, 1, 1])
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size=1), norm, nn.ReLU(inplace=True), last)
