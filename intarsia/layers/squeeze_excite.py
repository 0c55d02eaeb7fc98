"""Squeeze and excitation: the image as a whole says how much of each channel is wanted."""

from __future__ import annotations

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct

HARD_SIGMOID = Activation("HSigmoid")


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Channels rounded to a multiple of `divisor`, and up where that would take away more than a tenth of them."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class SELayer(nn.Module):
    """Scales each channel by a gate made of the means of all channels (Hu et al., arXiv:1709.01507, figure 2).

    ratio: channels for each of the hidden ones, whose number is then rounded to a multiple of 8.
    """

    def __init__(
        self, channels: int, *, ratio: int = 16, activation: Activation = RELU, gate: Activation = HARD_SIGMOID
    ) -> None:
        super().__init__()
        hidden = make_divisible(channels // ratio)
        self.global_avgpool = nn.AdaptiveAvgPool2d(1)
        self.conv1 = ConvNormAct(channels, hidden, 1, activation=activation)
        self.conv2 = ConvNormAct(hidden, channels, 1, activation=gate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        gate: Tensor = self.conv2(self.conv1(self.global_avgpool(x)))  # (N, C, 1, 1)
        return x * gate
