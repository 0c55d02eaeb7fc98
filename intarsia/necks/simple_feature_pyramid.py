"""The simple feature pyramid: every level of a plain transformer's last map, and of no other.

Paper: Li et al., Exploring Plain Vision Transformer Backbones for Object Detection (ViTDet), arXiv:2203.16527,
    section 3 "Simple feature pyramid", and appendix A.2 for its layers.
Original code: https://github.com/facebookresearch/detectron2/tree/main/projects/ViTDet

The last map has seen all blocks, and all levels are made of it, side by side: nothing is handed down from the coarse to
the fine as in an FPN. Names of the tensors are detectron2's: `simfp_2` makes the level of stride 2^2 of patches of 16.

Shape letters: N images, C channels of the map, D of the levels, h, w height and width of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.norm import Norm

RESCALES = (4, 2, 1, 0.5)
_LN = Norm("LN2d", eps=1e-6)
_PATCH = 4
"""The logarithm of the patches that the names of tensors are counted from."""


class SimpleFeaturePyramid(nn.Module):
    """One map in several sizes, each behind a 1 x 1 and a 3 x 3 convolution.

    Args:
        embed_dim: channels of the map; four times enlarged they are quartered, twice enlarged halved.
        out_channels: of every level that comes out.
        rescales: how many times as large each level comes out, of 4, 2, 1 and 0.5; sizes are rounded down.
        in_index: the level of the backbone that is read.
        norm: behind each convolution, and between the two transposed ones.

    Convolutions start as torch's, as in the original.

    Raises ValueError for other factors, or one that comes twice, and channels that cannot be divided.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        out_channels: int = 256,
        rescales: Sequence[float] = RESCALES,
        in_index: int = -1,
        norm: Norm = _LN,
    ) -> None:
        super().__init__()
        if not rescales or len(set(rescales)) < len(rescales) or not set(rescales) <= set(RESCALES):
            raise ValueError(
                f"rescales of SimpleFeaturePyramid must be different ones of {', '.join(map(str, RESCALES))}; "
                f"got {list(rescales)}"
            )
        if embed_dim % max(rescales):
            raise ValueError(f"embed_dim of SimpleFeaturePyramid is divided by {max(rescales)}; got {embed_dim}")
        self.in_channels = embed_dim
        self.in_index = in_index
        self.out_channels = out_channels
        self.rescales = tuple(rescales)
        self.least_cells = math.ceil(1 / min(rescales))
        for scale in self.rescales:
            resized, width = _resized(scale, embed_dim, norm)
            convs = (_NormedConv(width, out_channels, 1, norm), _NormedConv(out_channels, out_channels, 3, norm))
            self.add_module(_name(scale), nn.Sequential(*resized, *convs))

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """The backbone's levels -> a level of `out_channels` for each of `rescales`, the map's stride divided by it.

        Raises ValueError where that leaves a part of a pixel.
        """
        stride = features[self.in_index].stride
        strides = [stride / scale for scale in self.rescales]
        if any(found != int(found) for found in strides):
            raise ValueError(
                f"rescales={list(self.rescales)} of SimpleFeaturePyramid turn a level of stride {stride} into strides "
                f"{strides}, which must be whole numbers"
            )
        return tuple(FeatureSpec(self.out_channels, int(found)) for found in strides)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's levels, of which one (N, C, h, w) -> (N, D, scale * h, scale * w) for each of `rescales`."""
        x = features[self.in_index]
        return tuple(getattr(self, _name(scale))(x) for scale in self.rescales)


def _name(scale: float) -> str:
    return f"simfp_{_PATCH - int(math.log2(scale))}"


def _resized(scale: float, width: int, norm: Norm) -> tuple[list[nn.Module], int]:
    """The layers that bring a map to another size, and the channels that it then has."""
    half, quarter = width // 2, width // 4
    if scale == 4:
        finer = nn.ConvTranspose2d(width, half, 2, stride=2)
        return [finer, norm(half), nn.GELU(), nn.ConvTranspose2d(half, quarter, 2, stride=2)], quarter
    if scale == 2:
        return [nn.ConvTranspose2d(width, half, 2, stride=2)], half
    return ([] if scale == 1 else [nn.MaxPool2d(2)]), width


class _NormedConv(nn.Conv2d):
    """A convolution without a bias, with its norm inside it, as the names of the tensors have it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, norm: Norm) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, D, h, w)."""
        out: Tensor = self.norm(super().forward(x))
        return out
