"""How a scene is divided: windows that overlap, the part of the scene for which each counts, and panels of columns.

Windows go over a scene row by row, every `window - overlap` pixels; the last ones are shifted back inside. What the
network says near the border of a window it says without having seen what lies behind, so that windows overlap, and

    crop       each pixel is taken from the window in whose middle it lies, half of the overlap away from its border:
               without blend if the network does not see further than that
    average    where windows overlap, the mean of their logits counts
    gaussian, linear   a mean with less weight towards the windows' borders

A panel is a range of columns that is worked through from top to bottom. One panel is the whole scene, unless that is
so wide, or so much is wanted of each pixel, that a strip of windows over its width would not fit the memory set aside.

Shape letters: K channels of the logits; n rows, W columns of a panel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from intarsia.contracts import Size
from intarsia.inference.logits.lazy import LogitMap
from intarsia.inference.logits.sliding import Blend, Window, ramp, starts

SeamBlend = Literal["crop", "average", "gaussian", "linear"]

BLOCK = 512
"""AxisWindows of the blocks of the files that are written, and what the width of a panel is a multiple of."""


@dataclass(frozen=True)
class AxisWindows:
    """The windows along one side of a scene.

    length: of the scene. window: of each of them. firsts: where they begin. counts: the range of the scene for which
    each of them counts; the ranges meet ("crop") or overlap.
    """

    length: int
    window: int
    firsts: tuple[int, ...]
    counts: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, length: int, window: int, overlap: int, *, crop: bool) -> AxisWindows:
        """Windows of a size, or of the scene's if it is smaller."""
        window = min(window, length)
        firsts = starts(length, window, max(window - overlap, 1))
        if not crop:
            return cls(length, window, tuple(firsts), tuple((first, first + window) for first in firsts))
        middles = [(after + before + window) // 2 for before, after in itertools.pairwise(firsts)]
        return cls(length, window, tuple(firsts), tuple(zip([0, *middles], [*middles, length], strict=True)))

    def final(self, index: int) -> tuple[int, int]:
        """The range about which nothing remains to be said once this window and those before it are known."""
        following = self.counts[index + 1 : index + 2]
        return self.counts[index][0], following[0][0] if following else self.length

    def meeting(self, start: int, stop: int) -> list[int]:
        """The windows that count somewhere in a range."""
        return [index for index, (begin, end) in enumerate(self.counts) if begin < stop and start < end]


@dataclass(frozen=True)
class Tiling:
    """The windows of a scene. Raises ValueError for an overlap that is not below the window, or unknown blend."""

    down: AxisWindows
    across: AxisWindows
    blend: SeamBlend

    @classmethod
    def of(cls, size: Size, window: Size, overlap: int, blend: str) -> Tiling:
        """The windows of a scene of this size."""
        if min(window) < 1 or not 0 <= overlap < min(window):
            raise ValueError(
                f"windows: expected an overlap from 0 to below the window's {window[0]} x {window[1]} pixels, "
                f"found {overlap}"
            )
        if blend == "crop" or blend in get_args(Blend):
            crop = blend == "crop"
            down, across = (
                AxisWindows.of(length, side, overlap, crop=crop) for length, side in zip(size, window, strict=True)
            )
            return cls(down, across, cast("SeamBlend", blend))
        raise ValueError(f"--blend: expected one of {', '.join(get_args(SeamBlend))}, found {blend!r}")

    def panels(self, width: int) -> list[ColumnPanel]:
        """Columns in panels of at most about this width, which is rounded to whole blocks."""
        step = max(width // BLOCK, 1) * BLOCK
        ends = [*range(step, self.across.length, step), self.across.length]
        return [
            ColumnPanel(start, stop, tuple(self.across.meeting(start, stop)))
            for start, stop in zip([0, *ends], ends, strict=False)
        ]


@dataclass(frozen=True, slots=True)
class ColumnPanel:
    """Columns left to right of a scene, and the windows across it that count there."""

    left: int
    right: int
    windows: tuple[int, ...]


class BlendedWindows:
    """The weighted mean of overlapping windows over some rows of a panel: a `LogitMap`.

    top, bottom: the rows. maps: of one view of each window, in order.
    """

    def __init__(
        self, tiling: Tiling, panel: ColumnPanel, top: int, bottom: int, maps: Sequence[tuple[Window, LogitMap]]
    ) -> None:
        self.size: Size = (bottom - top, panel.right - panel.left)
        self.area = self.size[0] * self.size[1]
        self.like = maps[0][1].like
        self._panel, self._top, self._maps = panel, top, maps
        assert tiling.blend != "crop"
        self._blend = tiling.blend
        self._down, self._across = (_Weights.of(side, tiling.blend, self.like) for side in (tiling.down, tiling.across))

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        top, bottom = self._top + start, self._top + stop
        left, right = self._panel.left, self._panel.right
        count = self.like.shape[0] if channels is None else len(channels)
        total = self.like.new_zeros((count, bottom - top, right - left))  # (K, n, W)
        for window, logit_map in self._maps:
            first, last = max(top, window.top), min(bottom, window.bottom)
            begin, end = max(left, window.left), min(right, window.left + window.width)
            if first >= last:
                continue
            inside = slice(begin - window.left, end - window.left)
            part = logit_map.rows(first - window.top, last - window.top, channels)[:, :, inside]
            if self._blend != "average":
                weights = self._down.window[first - window.top : last - window.top, None] * self._across.window[inside]
                part = part * weights
            total[:, first - top : last - top, begin - left : end - left] += part
        # Where windows without any data were left out the mean is wrong, but there no pixel has data either.
        return total.div_(self._down.total[top:bottom, None] * self._across.total[left:right])


@dataclass(frozen=True, slots=True)
class _Weights:
    """window: of its rows or columns. total: of all windows, over the side of the scene."""

    window: Tensor
    total: Tensor

    @classmethod
    def of(cls, side: AxisWindows, blend: Blend, like: Tensor) -> _Weights:
        weights = ramp(side.window, blend)
        total = torch.zeros(side.length, dtype=weights.dtype)
        for first in side.firsts:
            total[first : first + side.window] += weights
        return cls(weights.to(like), total.to(like))
