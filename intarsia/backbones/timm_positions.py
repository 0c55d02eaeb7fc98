"""Positions of timm's networks in graphs: timm makes a Python number of the size of an image, which a graph then keeps.

A DINOv3 divides the places of its patches by how many there are. Where a graph is followed, that is a symbol, and
`float(symbol)` its value in the example: the graph would be right for images of that height and width alone.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn


class OfAnySize(RotaryEmbeddingDinoV3):
    """The same positions, to the bit, and in graphs those of the image's own size."""

    def _create_embed(self, feat_shape: list[int], no_aug: bool = False) -> Tensor:
        """The grid's (height, width) -> (height * width, 2 * D), sines and cosines."""
        moves = self.training and self.aug_active and not no_aug
        if not torch.compiler.is_exporting() or moves or self.normalize_coords != "separate":
            found: Tensor = super()._create_embed(feat_shape, no_aug)
            return found
        sides = feat_shape[::-1] if self.grid_indexing == "xy" else feat_shape
        places = [(torch.arange(side).float() + 0.5 + self.grid_offset) / side for side in sides]
        grid = torch.stack(torch.meshgrid(places, indexing=self.grid_indexing), dim=-1)  # (height, width, 2)
        return torch.cat(self._get_pos_embed_from_coords((2.0 * grid - 1.0).flatten(0, 1)), dim=-1)


def of_any_size(network: nn.Module) -> None:
    """Let a network that was just built have positions that a graph can follow. Its numbers stay."""
    for module in network.modules():
        if type(module) is RotaryEmbeddingDinoV3:
            other: Any = module
            other.__class__ = OfAnySize
