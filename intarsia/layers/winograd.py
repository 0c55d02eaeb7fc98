"""Convolutions of 3 x 3 for prediction in four ninths of their multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv 1509.09308, section 4.1. In their
F(2 x 2, 3 x 3) four outputs of a tile are computed from its 4 x 4 inputs d and the filter g by 16 products and not 36,

    A (G g G^t * B d B^t) A^t    B d = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)    A m = (m0 + m1 + m2, m1 - m2 - m3)

whose sums over channels are 16 products of matrices. All else is sums of numbers and halves of them, so that results
are as exact as those of a plain convolution: 512 channels to as many are within 1e-6 of the largest of float64's, where
oneDNN's own convolutions are within 3e-7 row by row and 2.4e-6 in channels last. A dilation d is d x d such
convolutions of the pixels that lie d apart.

Shape letters: C, K channels in and out; H, W the map; d dilation; r, c rows and columns of tiles (a tile is 2 d wide),
and T = r d c d their number. Maps are in channels last: numbers of a pixel lie side by side, and so do sums over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_WORK = 85
"""Multiply-adds for each number of a convolution of 1 x 1 between as many channels (256 to 128 has 85): with less, the
sums of tiles cost more than products that they save."""

LEAST_PIXELS = 2048
"""Of a map, for less of which preparing the filters costs more; how many maps there are would make an image's numbers
depend on its company."""

WASTE = 1.2
"""What tiles may cover of the map's size: they go beyond its edge where it is no multiple of their width."""

STRIP = 2**22
"""Numbers of tiles that are held at once: what fits into a processor's third cache is faster, and bounds memory."""

LEAST_ROWS = 128
"""Tiles of a strip for which a product of matrices is at full speed."""

_G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


class Scratch:
    """Memory for what convolutions of one call hold in between, taken once: from the system it comes slowly."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Float32 of a shape, not initialised; what had that name before is overwritten."""
        size = math.prod(shape)
        if name not in self._held or self._held[name].numel() < size:
            self._held[name] = torch.empty(size)
        return self._held[name][:size].view(shape)


def is_faster(
    x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> bool:
    """Whether `convolution` computes that, and was measured to be faster. x (N, C, H, W), weight (K, C, h, w)."""
    alike = weight.shape[2:] == (3, 3) and stride == (1, 1) and padding == dilation and groups == 1
    if not alike or dilation[0] != dilation[1] or not _is_available():
        return False
    (_, channels, height, width), out_channels = x.shape, weight.shape[0]
    tiles = _tiles(height, dilation[0]) * _tiles(width, dilation[0])
    return (
        channels * out_channels >= LEAST_WORK * (channels + out_channels)
        and height * width >= LEAST_PIXELS
        and 4 * dilation[0] ** 2 * tiles <= WASTE * height * width
    )


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, scratch: Scratch) -> Tensor:
    """What `F.conv2d` gives with a padding of `dilation`: (N, C, H, W), (K, C, 3, 3) -> (N, K, H, W) in channels last.

    Float32, on a processor, without gradients.
    """
    count, channels, height, width = x.shape
    tile, out_channels = 2 * dilation, weight.shape[0]
    rows, columns = _tiles(height, dilation), _tiles(width, dilation)
    tiles_in_row = dilation * columns * dilation
    strip = max(STRIP // (16 * channels * tiles_in_row), math.ceil(LEAST_ROWS / tiles_in_row))
    strip = math.ceil(rows / math.ceil(rows / strip))  # as many in each
    filters = _filters(weight, strip * tiles_in_row, scratch)
    out = x.new_empty((count, rows * tile, columns * tile, out_channels))
    for image, made in zip(x.permute(0, 2, 3, 1), out, strict=True):
        padded = _padded(image, rows * tile, columns * tile, dilation, scratch)  # (H + 2 d, W + 2 d, C)
        for top in range(0, rows, strip):
            bottom = min(top + strip, rows)
            tiles = _transformed(padded[top * tile : bottom * tile + tile], bottom - top, columns, dilation, scratch)
            _answer(tiles, filters, bias, made[top * tile : bottom * tile])
    return out[:, :height, :width].permute(0, 3, 1, 2)


def _is_available() -> bool:
    """Whether this torch has the products that Inductor takes for frozen weights.

    Those that `torch.mm` takes are MKL's, half as fast on a processor of AMD.
    """
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def _tiles(side: int, dilation: int) -> int:
    return math.ceil(side / (2 * dilation))


def _filters(weight: Tensor, tiles: int, scratch: Scratch) -> list[Tensor]:
    """G g G^t as 16 matrices (K, C), in oneDNN's order for products with so many tiles."""
    g, filters = weight.new_tensor(_G), weight.reshape(-1, 9).t()
    four = scratch.take("filters", 4, filters.shape[1])
    made: list[Tensor] = []
    for row in g:
        torch.mm(torch.kron(row, g), filters, out=four)
        made += [torch.ops.mkldnn._reorder_linear_weight(matrix, tiles) for matrix in four.view(4, *weight.shape[:2])]
    return made


def _padded(image: Tensor, height: int, width: int, edge: int, scratch: Scratch) -> Tensor:
    """An image (H, W, C) with zeros around: `edge` at the top and left, more where tiles go beyond it."""
    padded = scratch.take("padded", height + 2 * edge, width + 2 * edge, image.shape[2])
    bottom, right = edge + image.shape[0], edge + image.shape[1]
    for border in (padded[:edge], padded[bottom:], padded[edge:bottom, :edge], padded[edge:bottom, right:]):
        border.zero_()
    padded[edge:bottom, edge:right] = image
    return padded


def _transformed(padded: Tensor, rows: int, columns: int, dilation: int, scratch: Scratch) -> Tensor:
    """B d B^t of rows of tiles: (2 d r + 2 d, W + 2 d, C) -> (4, 4, r, d, c, d, C)."""
    width, channels = padded.shape[1:]
    halves = scratch.take("halves", 4, rows, dilation, width, channels)
    _differences(_apart(padded, 0, rows, dilation), halves)
    tiles = scratch.take("tiles", 4, 4, rows, dilation, columns, dilation, channels)
    for half, four in zip(halves, tiles, strict=True):
        _differences(_apart(half, 2, columns, dilation), four)
    return tiles


def _apart(x: Tensor, dim: int, tiles: int, dilation: int) -> list[Tensor]:
    """The first to fourth input of all tiles along a dimension, which becomes two: (tiles, d)."""
    step = x.stride(dim)
    size = (*x.shape[:dim], tiles, dilation, *x.shape[dim + 1 :])
    stride = (*x.stride()[:dim], 2 * dilation * step, step, *x.stride()[dim + 1 :])
    return [x.as_strided(size, stride, x.storage_offset() + k * dilation * step) for k in range(4)]


def _differences(d: Sequence[Tensor], out: Tensor) -> None:
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _answer(tiles: Tensor, filters: Sequence[Tensor], bias: Tensor | None, out: Tensor) -> None:
    """A (...) A^t of tiles (4, 4, r, d, c, d, C), written to (2 d r, 2 d c, K)."""
    _, _, rows, dilation, columns, _, channels = tiles.shape
    product = torch.ops.mkldnn._linear_pointwise
    first: list[Tensor] = []
    second: list[Tensor] = []
    for column in range(4):
        m0, m1, m2, m3 = (
            # The product in the middle counts once in each of the four outputs, and brings the bias.
            product(part.view(-1, channels), matrix, bias if row == column == 1 else None, "none", [], "")
            for row, (part, matrix) in enumerate(zip(tiles[:, column], filters[column::4], strict=True))
        )
        first.append(m0.add_(m1).add_(m2))
        second.append(m1.sub_(m2).sub_(m3))
    places = out.view(rows, 2, dilation, columns, 2, dilation, -1)
    for place, sums in ((places[:, 0], first), (places[:, 1], second)):  # (r, d, c, 2, d, K), four of (T, K)
        s0, s1, s2, s3 = (each.view(rows, dilation, columns, dilation, -1) for each in sums)
        torch.add(s0, s1, out=place[:, :, :, 0]).add_(s2)
        torch.sub(s1, s2, out=place[:, :, :, 1]).sub_(s3)
