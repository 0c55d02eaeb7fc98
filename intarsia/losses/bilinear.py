"""Bilinear interpolation piece by piece, with the numbers of `F.interpolate`, and its transpose.

F.interpolate cannot begin in the middle of an image. And it is slow on a processor unless the numbers that are treated
alike lie side by side: both directions here move whole rows, which is several times faster.

Shape letters: L length before, O after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

_Place = TypeVar("_Place", int, Tensor)


@dataclass(frozen=True)
class Direction:
    """One direction of a bilinear resize from `length`: an output is (1 - share) * first + share * second.

    first, second: (O,) places of the input. share: (O,) in the precision of the input. same: whether nothing changes.
    """

    length: int
    first: Tensor
    second: Tensor
    share: Tensor
    same: bool = False

    @staticmethod
    def of(length: int, outputs: int, like: Tensor, *, align_corners: bool) -> Direction:
        """That of F.interpolate for inputs such as `like`."""
        places = torch.arange(outputs, device=like.device)
        first = _first(places, length, outputs, align_corners).clamp(min=0, max=length - 1)
        second = (first + 1).clamp(max=length - 1)
        # The shares are F.interpolate's own, to the last bit: what an output gets of the even places and of the odd.
        odd = torch.arange(length, device=like.device) % 2  # (L,)
        probe = torch.stack([1 - odd, odd]).to(like.dtype)[None, :, :, None]  # (1, 2, L, 1)
        parts = F.interpolate(probe, size=(outputs, 1), mode="bilinear", align_corners=align_corners)[0, :, :, 0]
        return Direction(length, first, second, torch.where(second % 2 == 1, parts[1], parts[0]), length == outputs)

    def part(self, begin: int, end: int, align_corners: bool) -> tuple[int, Direction]:
        """The outputs from `begin` to before `end`: the first input that they need, and how they are made from there.

        Asks no tensor, so that nothing waits for a device.
        """
        outputs = len(self.first)
        if self.same:
            return begin, replace(self, length=end - begin)
        lowest = min(max(_first(begin, self.length, outputs, align_corners), 0), self.length - 1)
        highest = min(max(_first(end - 1, self.length, outputs, align_corners), 0) + 2, self.length)
        places = slice(begin, end)
        first, second = self.first[places] - lowest, self.second[places] - lowest
        return lowest, Direction(highest - lowest, first, second, self.share[places])

    def enlarge(self, x: Tensor, dim: int) -> Tensor:
        """(..., L, ...) -> (..., O, ...) along `dim`, without a gradient. Always new numbers."""
        if self.same:
            return x.clone(memory_format=torch.contiguous_format)
        return x.index_select(dim, self.first).lerp_(x.index_select(dim, self.second), self._share_along(x, dim))

    def transposed(self, x: Tensor, dim: int) -> Tensor:
        """(..., O, ...) -> (..., L, ...): the gradient of what `enlarge` took from that of what it gave. Spoils `x`."""
        if self.same:
            return x
        found = x.new_zeros([*x.shape[:dim], self.length, *x.shape[dim + 1 :]])
        to_second = x * self._share_along(x, dim)
        found.index_add_(dim, self.second, to_second)
        return found.index_add_(dim, self.first, x.sub_(to_second))

    def _share_along(self, x: Tensor, dim: int) -> Tensor:
        return self.share.view([-1] + [1] * (x.dim() - 1 - dim))


def _first(place: _Place, length: int, outputs: int, align_corners: bool) -> _Place:
    """The last input that does not lie behind an output, in whole numbers; it may be -1."""
    if align_corners:
        return place * (length - 1) // max(outputs - 1, 1)
    return ((2 * place + 1) * length - outputs) // (2 * outputs)
