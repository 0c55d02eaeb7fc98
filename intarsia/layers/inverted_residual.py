"""The inverted residual blocks of MobileNetV2 and V3, which many light networks are made of."""

from __future__ import annotations

from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm
from intarsia.layers.squeeze_excite import SELayer

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


class InvertedResidualV3(nn.Module):
    """The same with `hidden` channels within, a kernel of any size, and squeeze and excitation before the last step.

    Howard et al., arXiv:1905.02244, figure 4. A strided convolution is padded as TensorFlow does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: int,
        *,
        kernel_size: int,
        stride: int,
        dilation: int = 1,
        squeeze_excite: bool,
        norm: Norm | None = None,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.expand_conv = (
            ConvNormAct(in_channels, hidden, 1, norm=norm, activation=activation) if hidden != in_channels else None
        )
        self.depthwise_conv = ConvNormAct(
            hidden, hidden, kernel_size, stride=stride, padding=kernel_size // 2 * dilation, dilation=dilation,
            groups=hidden, norm=norm, activation=activation, same=stride != 1,
        )  # fmt: skip
        self.se = SELayer(hidden, ratio=4) if squeeze_excite else None
        self.linear_conv = ConvNormAct(hidden, out_channels, 1, norm=norm, activation=None)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h / stride, w / stride)."""
        out = x if self.expand_conv is None else self.expand_conv(x)  # (N, hidden, h, w)
        out = self.depthwise_conv(out)  # (N, hidden, h / stride, w / stride)
        if self.se is not None:
            out = self.se(out)
        narrow: Tensor = self.linear_conv(out)  # (N, C', h / stride, w / stride)
        return x + narrow if self.has_shortcut else narrow
