"""The inverted residual block of MobileNetV2, which many light networks are made of."""

from __future__ import annotations

from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm

RELU6 = Activation("ReLU6")


class InvertedResidual(nn.Module):
    """1 x 1 convolution to `expand_ratio` times the channels, 3 x 3 within each, 1 x 1 back without activation.

    The input is added where size and channels allow it. Sandler et al., arXiv:1801.04381, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        expand_ratio: int,
        dilation: int = 1,
        norm: Norm | None = None,
        activation: Activation = RELU6,
    ) -> None:
        super().__init__()
        hidden = in_channels * expand_ratio
        layers = [
            ConvNormAct(
                hidden,
                hidden,
                3,
                stride=stride,
                padding=dilation,
                dilation=dilation,
                groups=hidden,
                norm=norm,
                activation=activation,
            ),
            ConvNormAct(hidden, out_channels, 1, norm=norm, activation=None),
        ]
        if expand_ratio != 1:
            layers.insert(0, ConvNormAct(in_channels, hidden, 1, norm=norm, activation=activation))
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h / stride, w / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out
