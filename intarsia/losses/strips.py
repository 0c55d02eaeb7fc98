"""Enlarged logits strip by strip: some rows of one image at a time, while the numbers are in the cache.

Shape letters: N images, K logits, H, W height and width of the labels, h, w of the logits, P pixels of a strip, s rows
of the logits that it is made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from intarsia.losses.bilinear import Direction
from intarsia.losses.resized_logits import ResizedLogits
from intarsia.losses.targets import is_on_cpu

_STRIP = 1 << 19
_STRIP_ON_DEVICES = 1 << 24
"""Numbers of a strip: what stays in the cache of a processor; what keeps a GPU busy."""


Directions = tuple[Direction, Direction]
"""How rows become more, and how columns do."""


@dataclass(frozen=True)
class Strip:
    """Some rows of one enlarged image.

    place: index of their pixels in (N, H, W). x: their logits (K, P), without a gradient, which may be spoilt.
    largest: of each pixel's logits, (P,); None where nobody has asked.
    """

    place: tuple[int, slice]
    x: Tensor
    largest: Tensor | None
    _top: int
    _rows: Direction
    _columns: Direction

    def of(self, maps: Tensor) -> Tensor:
        """The pixels of the strip among those of maps (N, H, W) -> (P,)."""
        return maps[self.place].flatten()

    def add_gradient(self, of_x: Tensor, gradient: Tensor) -> None:
        """Add what the gradient `of_x` (K, P) of the strip gives for the logits to `gradient` (N, K, h, w)."""
        width = len(self._columns.first)
        turned = self._rows.transposed(of_x.view(len(of_x), -1, width), 1).flatten(0, 1).t().contiguous()  # (W, K * s)
        found = self._columns.transposed(turned, 0)  # (w, K * s)
        slab = gradient[self.place[0], :, self._top : self._top + self._rows.length]  # (K, s, w)
        slab += found.t().view(slab.shape)


def directions_of(logits: ResizedLogits) -> Directions:
    """What becomes of the logits by their enlargement."""
    down, along = (
        Direction.of(before, after, logits.low, align_corners=logits.align_corners)
        for before, after in zip(logits.low.shape[2:], logits.size, strict=True)
    )
    return down, along


def strips(logits: ResizedLogits, directions: Directions, *, largest: bool = False) -> Iterator[Strip]:
    """All of them, image by image from top to bottom. If somebody wants to know, `logits.right` is told at the end.

    largest: whether each strip comes with its largest logits.
    """
    images, classes, height, width = logits.shape
    low = logits.low.detach()
    down, along = directions
    watched = logits.labels if logits.right is None and classes > 1 else None
    right = None if watched is None else torch.empty_like(watched, dtype=torch.bool)
    for image in range(images):
        for begin, end in _rows_of_strips(height, width * classes, low):
            top, rows = down.part(begin, end, logits.align_corners)
            slab = low[image, :, top : top + rows.length]  # (K, s, w)
            turned = along.enlarge(slab.flatten(0, 1).t().contiguous(), 0)  # (W, K * s)
            x = rows.enlarge(turned.t().reshape(classes, -1, width), 1).view(classes, -1)  # (K, P)
            place = (image, slice(begin, end))
            best = None
            if right is not None and watched is not None:
                of_strip, best = _right_and_largest(x, watched[place].flatten())
                right[place] = of_strip.view(-1, width)
            elif largest:
                best = x.amax(dim=0)
            yield Strip(place, x, best, top, rows, along)
    if right is not None:
        logits.right = right


def exp_(x: Tensor) -> Tensor:
    """The exponential, in place; in float32 as a power of two, which is several times faster on processors."""
    return x.exp_() if x.dtype == torch.float64 else x.mul_(1 / math.log(2)).exp2_()


def _rows_of_strips(height: int, row: int, like: Tensor) -> Iterator[tuple[int, int]]:
    """Rows from, to; of so many that all numbers of a strip, `row` in each, are about as many as they should be."""
    step = max((_STRIP if is_on_cpu(like) else _STRIP_ON_DEVICES) // row, 1)
    for begin in range(0, height, step):
        yield begin, min(begin + step, height)


def _right_and_largest(x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (K, P) and labels (P,) -> whether the first of the largest is the label's; the largest; (P,) each."""
    inside = (label >= 0) & (label < len(x))
    label = label.long().clamp(0, len(x) - 1)
    if not is_on_cpu(x):
        largest = x.max(dim=0)
        return (largest.indices == label) & inside, largest.values
    # On a processor max() is dear with its indices: compare with the largest of the others instead.
    index = label[None]
    own = x.gather(0, index)
    others = x.scatter_(0, index, -torch.inf).amax(dim=0)
    x.scatter_(0, index, own)
    right = own[0] > others
    equal = own[0] == others
    if equal.any():
        right[equal] = x[:, equal].max(dim=0).indices == label[equal]
    return right & inside, torch.maximum(own[0], others)
