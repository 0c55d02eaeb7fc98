"""The unit that DPT's decoders refine a map with."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm


class ResidualConvUnit(nn.Module):
    """Two 3 x 3 convolutions, each behind an activation and before a norm, and a shortcut (Lin et al., RefineNet,
    arXiv:1611.06612, figure 3b).
    """

    def __init__(self, channels: int, *, norm: Norm | None, activation: Activation) -> None:
        super().__init__()
        self.activate = replace(activation, inplace=False)()  # the shortcut needs what it reads
        self.conv1 = ConvNormAct(channels, channels, 3, padding=1, bias=False, norm=norm, activation=None)
        self.conv2 = ConvNormAct(channels, channels, 3, padding=1, bias=False, norm=norm, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = x + self.conv2(self.activate(self.conv1(self.activate(x))))
        return out
