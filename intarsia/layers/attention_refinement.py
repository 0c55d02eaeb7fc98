"""Attention refinement (BiSeNet, arXiv:1808.00897, figure 2b): the last layers of a context path."""

from __future__ import annotations

from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm


class AttentionRefinement(nn.Module):
    """A convolution whose channels are weighed by what the whole map looks like."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv_layer = ConvNormAct(in_channels, out_channels, 3, padding=1, norm=norm, activation=activation)
        self.atten_conv_layer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            ConvNormAct(out_channels, out_channels, 1, norm=norm, activation=None),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h, w)."""
        x = self.conv_layer(x)
        out: Tensor = x * self.atten_conv_layer(x)
        return out
