"""Logit maps that are never whole in memory: each gives some of its rows when asked.

A map is a chain of these, from what the network gave to what the image needs:

    HeadLogits     logits as a head gives them, a few dozen cells wide
    Resized        another map, enlarged or reduced bilinearly
    CropFlip       a part of another map, mirrored or not
    Placed         another map as a part of a larger one
    Channels       some channels of another map
    SlidingLogits  the mean of overlapping windows (`sliding.py`)

The values are those of torch.nn.functional.interpolate on the whole map up to float rounding, and do not depend on
which rows are asked for together. Bilinear interpolation is separable: rows are stretched along the width once, and
each row of the result is then a mean of two of them, which is also faster than interpolating in both directions.

Shape letters: K channels of a map, c of them asked for; h, w and H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import Size

_SURE = 1e4
"""A logit that leaves others no probability, also in half precision."""


class LogitMap(Protocol):
    """Logits of one image by rows. They are asked for in one direction, up or down, and by overlapping strips."""

    @property
    def size(self) -> Size:
        """Height and width."""
        ...

    @property
    def like(self) -> Tensor:
        """(K, 0): of the map's number of channels, type and device."""
        ...

    @property
    def area(self) -> int:
        """Pixels of the largest map in the chain: what its strips cost, relative to its own size."""
        ...

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """(c, stop - start, W) of the given channels, or of all, in float32 or float64; not to be written into."""
        ...


class HeadLogits:
    """Logits (K, h, w) as they are, of any floating type."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.size: Size = (values.shape[1], values.shape[2])
        self.area = self.size[0] * self.size[1]
        self.like = values.new_empty((values.shape[0], 0), dtype=precision(values))

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        part = self.values[:, start:stop] if channels is None else self.values[list(channels), start:stop]
        return part.to(self.like.dtype)


class CropFlip:
    """A part of a map, by default at its top left. flips: then mirrored "horizontal"ly, "vertical"ly or both ways.

    origin: the row and column of the source that the part begins with. mirrored: whether its rows and its columns are.
    """

    def __init__(
        self, source: LogitMap, size: Size, flips: Sequence[str] = (), *, origin: tuple[int, int] = (0, 0)
    ) -> None:
        self.source, self.size, self.origin = source, size, origin
        self.area = source.area * size[0] // source.size[0]
        self.mirrored = (flips.count("vertical") % 2 == 1, flips.count("horizontal") % 2 == 1)

    @property
    def like(self) -> Tensor:
        """See `LogitMap`."""
        return self.source.like

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """The rows of the source that these rows are made of."""
        top = self.origin[0]
        if self.mirrored[0]:
            start, stop = self.size[0] - stop, self.size[0] - start
        return top + start, top + stop

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        left = self.origin[1]
        part = self.source.rows(*self.needs(start, stop), channels)[:, :, left : left + self.size[1]]
        axes = [axis + 1 for axis, mirrored in enumerate(self.mirrored) if mirrored]
        return part.flip(axes) if axes else part


class Placed:
    """A map as a part of a larger one, of which nothing else is known: there the first class is sure.

    box: (top, left, height, width), where the map lies; without rows it is not looked at. sets: each channel is a yes
    or no by itself, and outside all are no; so is that of a single one.
    """

    def __init__(self, source: LogitMap, size: Size, box: tuple[int, int, int, int], *, sets: bool) -> None:
        self.source, self.size, self.box = source, size, box
        self.area = max(size[0] * size[1], source.area)
        self._sure = not sets and source.like.shape[0] > 1

    @property
    def like(self) -> Tensor:
        """See `LogitMap`."""
        return self.source.like

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        like, (top, left, height, width) = self.like, self.box
        wanted = list(range(like.shape[0]) if channels is None else channels)
        found = like.new_full((len(wanted), stop - start, self.size[1]), -_SURE)
        if self._sure and 0 in wanted:
            found[wanted.index(0)] = 0
        first, last = max(start, top), min(stop, top + height)
        if first < last:
            found[:, first - start : last - start, left : left + width] = self.source.rows(
                first - top, last - top, channels
            )
        return found


class Channels:
    """Some channels of another map that follow each other, from `first` until before `end`."""

    def __init__(self, source: LogitMap, first: int, end: int) -> None:
        self.source, self.size, self.area = source, source.size, source.area
        self._channels = range(first, end)

    @property
    def like(self) -> Tensor:
        """See `LogitMap`."""
        return self.source.like[self._channels.start : self._channels.stop]

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        wanted = self._channels if channels is None else [self._channels[channel] for channel in channels]
        return self.source.rows(start, stop, wanted)


class Resized:
    """A map at another size, bilinearly."""

    def __init__(self, source: LogitMap, size: Size, *, align_corners: bool) -> None:
        self.source, self.size = source, size
        self.area = max(size[0] * size[1], source.area)
        self.align_corners = align_corners
        self._stretched: tuple[int, Sequence[int] | None, Tensor] | None = None
        self._mixing: tuple[Tensor, Tensor] | None = None
        self._step = _step(source.size[0], size[0], align_corners, precision(source.like))

    @property
    def like(self) -> Tensor:
        """See `LogitMap`."""
        return self.source.like

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """The rows of the source that these rows are made of."""
        if self.source.size[0] == self.size[0]:
            return start, stop
        return self._upper(start), min(self._upper(stop - 1) + 2, self.source.size[0])

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        if self.source.size == self.size:
            return self.source.rows(start, stop, channels)
        base, end = self.needs(start, stop)
        stretched = self._stretch(base, end, channels)  # (c, n, W)
        if self.source.size[0] == self.size[0]:
            return stretched
        if self._mixing is None:
            places = self.source.size[0], self.size[0], self.align_corners, self.like.dtype
            self._mixing = neighbours(*places, stretched.device)
        first, weights = self._mixing[0][start:stop] - base, self._mixing[1][start:stop].view(1, -1, 1)
        second = (first + 1).clamp_(max=stretched.shape[1] - 1)
        result = stretched.index_select(1, first).mul_(1 - weights)
        return result.addcmul_(stretched.index_select(1, second), weights)

    def _upper(self, row: int) -> int:
        """The upper of the two source rows that a row is made of."""
        place = row * self._step if self.align_corners else max((row + 0.5) * self._step - 0.5, 0.0)
        place = place if self.like.dtype == torch.float64 else float(np.float32(place))
        return min(int(place), self.source.size[0] - 1)

    def _stretch(self, start: int, stop: int, channels: Sequence[int] | None) -> Tensor:
        """Rows of the source at the new width. The last two are kept, since the next strip may begin with them."""
        kept, begin = None, start
        if self._stretched is not None:
            base, of, rows = self._stretched
            end = base + rows.shape[1]
            if of == channels and base <= start < end:
                if stop <= end:
                    return rows[:, start - base : stop - base]
                kept, begin = rows[:, start - base :], end
        rows = self.source.rows(begin, stop, channels)  # (c, n, w)
        if rows.shape[2] != self.size[1]:
            rows = _widened(rows, self.size[1], self.align_corners)
        if kept is not None:
            rows = torch.cat((kept, rows), dim=1)
        tail = min(2, rows.shape[1])
        self._stretched = (stop - tail, channels, rows[:, -tail:])
        return rows


def _widened(rows: Tensor, width: int, align_corners: bool) -> Tensor:
    """(c, n, w) -> (c, n, width), each row by itself."""
    count, height, before = rows.shape
    if rows.device.type == "cpu":
        flat = rows.reshape(1, -1, before)
        return F.interpolate(flat, size=width, mode="linear", align_corners=align_corners).view(count, height, width)
    # CUDA's kernel for lines has no more threads than places of the width; that for pictures does all rows together.
    return F.interpolate(rows[None], size=(height, width), mode="bilinear", align_corners=align_corners)[0]


def neighbours(
    size: int, target: int, align_corners: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The first of the two places of `size` that each of `target` is made of, and the weight of the other: (target,).

    Computed on the device, without a wait for it.
    """
    step = _step(size, target, align_corners, dtype)
    with_float64 = torch.device("cpu") if device.type == "mps" else device
    index = torch.arange(target, dtype=torch.float64, device=with_float64)
    places = index * step if align_corners else ((index + 0.5) * step - 0.5).clamp_(min=0)
    places = places.to(dtype)
    first = places.long().clamp_(max=size - 1)
    return first.to(device), (places - first).to(device)


def _step(size: int, target: int, align_corners: bool, dtype: torch.dtype) -> float:
    """Source rows from one row of the result to the next.

    As in torch, it has the precision of the logits: in a large map that decides the last digits. Places are rounded
    to it once more.
    """
    step = (size - 1) / max(target - 1, 1) if align_corners else size / target
    return step if dtype == torch.float64 else float(np.float32(step))


def precision(values: Tensor) -> torch.dtype:
    """What logits are calculated in: float64 if they are given so, else float32."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32
