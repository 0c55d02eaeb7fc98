"""Pyramid pooling (PSPNet, arXiv:1612.01105, section 3.2): the image's context at several grids."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.adaptive_pooling import AdaptiveAvgPool
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm


class PyramidPooling(nn.Module):
    """The map averaged over grids of `pool_scales` x `pool_scales` cells, each projected; `conv_of_resized` fuses them.

    norm_of_one_cell: whether a grid of one cell has a norm, too; a batch norm has only the batch to average over there.
    """

    def __init__(
        self,
        pool_scales: Sequence[int],
        in_channels: int,
        channels: int,
        *,
        norm: Norm | None = None,
        activation: Activation = RELU,
        norm_of_one_cell: bool = True,
    ) -> None:
        super().__init__()
        for i, cells in enumerate(pool_scales):
            own = norm if cells > 1 or norm_of_one_cell else None
            project = ConvNormAct(in_channels, channels, 1, norm=own, activation=activation)
            self.add_module(str(i), nn.Sequential(AdaptiveAvgPool(cells), project))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, h, w) -> one (N, channels, cells, cells) per scale."""
        return [branch(x) for branch in self.children()]
