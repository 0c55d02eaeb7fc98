"""A pyramid out of levels of one size: transposed convolutions for the finer ones, pooling for the coarser ones.

Source: the semantic segmentation of BEiT (Bao et al., arXiv:2106.08254, appendix), after XCiT (El-Nouby et al.,
    arXiv:2106.09681), appendix.
Original code: https://github.com/microsoft/unilm/tree/master/beit

Shape letters: N images, C channels, h_i, w_i height and width of level i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.norm import BN, Norm

NAMES = {4: "upsample_4x", 2: "upsample_2x", 1: "identity", 0.5: "downsample_2x", 0.25: "downsample_4x"}
"""How many times as large a level comes out -> the name of what makes it so."""


class Feature2Pyramid(nn.Module):
    """Each level of a plain transformer in a size of its own; their channels stay.

    Args:
        embed_dim: channels of every level.
        rescales: how many times as large each level comes out, of 4, 2, 1, 0.5 and 0.25; sizes are rounded down.
        norm: between the two transposed convolutions that enlarge four times.

    Convolutions start as torch's, as in the original.

    Raises ValueError for other factors, or one that comes twice.
    """

    def __init__(self, *, embed_dim: int, rescales: Sequence[float] = (4, 2, 1, 0.5), norm: Norm = BN) -> None:
        super().__init__()
        if not rescales or len(set(rescales)) < len(rescales) or not set(rescales) <= set(NAMES):
            raise ValueError(
                f"rescales of Feature2Pyramid must be different ones of {', '.join(map(str, NAMES))}; "
                f"got {list(rescales)}"
            )
        self.in_channels = (embed_dim,) * len(rescales)
        self.rescales = tuple(rescales)
        self.least_cells = math.ceil(1 / min(rescales))
        layers: dict[float, nn.Module] = {
            4: nn.Sequential(_doubled(embed_dim), norm(embed_dim), nn.GELU(), _doubled(embed_dim)),
            2: nn.Sequential(_doubled(embed_dim)),
            1: nn.Identity(),
            0.5: nn.MaxPool2d(2),
            0.25: nn.MaxPool2d(4),
        }
        for scale in self.rescales:
            self.add_module(NAMES[scale], layers[scale])

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """The backbone's levels -> as many, their strides divided by `rescales`.

        Raises ValueError where that leaves a part of a pixel.
        """
        strides = [level.stride / scale for level, scale in zip(features, self.rescales, strict=True)]
        if any(stride != int(stride) for stride in strides):
            raise ValueError(
                f"rescales={list(self.rescales)} of Feature2Pyramid turn levels of strides "
                f"{[level.stride for level in features]} into strides {strides}, which must be whole numbers"
            )
        return tuple(
            FeatureSpec(channels, int(stride)) for channels, stride in zip(self.in_channels, strides, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's levels (N, C, h_i, w_i) -> (N, C, scale * h_i, scale * w_i) for each of `rescales`."""
        return tuple(getattr(self, NAMES[scale])(x) for scale, x in zip(self.rescales, features, strict=True))


def _doubled(channels: int) -> nn.ConvTranspose2d:
    """Twice as high and as wide."""
    return nn.ConvTranspose2d(channels, channels, 2, stride=2)
