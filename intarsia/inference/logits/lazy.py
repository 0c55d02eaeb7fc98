"""Pictures of logits that are never whole in memory: each gives some of its rows when asked, to the last bit.

A picture is a chain of these, from what the network gave to what the image needs:

    Grid      logits as a head gives them, a few dozen cells wide
    Resized   another picture, enlarged or reduced bilinearly
    Cut       a part of another picture, mirrored or not
    Mosaic    the mean of overlapping windows (`sliding.py`)

"To the last bit" means the values of torch.nn.functional.interpolate on the whole, contiguous picture. Torch cannot
interpolate a strip: the position of a row in its source is computed in floating point from its number, and another
origin gives another rounding. So `Resized` does what torch's kernel does, in two steps, along the width and then along
the height:

* along the width every row is by itself, and torch does it;
* along the height a row is `fma(upper, weight, lower * weight)` of two source rows, which is one `addcmul`; the weights
  are read off torch itself, by resizing a pattern (`_taps`).

This is also faster than the kernel by far: rows are stretched once and not once for each row made of them.

Torch has another kernel that interpolates vectors of channels, with other roundings. Outputs with H + W <= 128 go
there; they are small, and done at once by torch. Three kinds of input go there, too, and do not here: channels that lie
side by side in memory (here they give what contiguous ones give), three channels alone if torch has only one thread
(here they give what two threads give), and a single cell (here it is spread out as it is).

Shape letters: K channels of a picture, c of them asked for; h, w and H, W height and width.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import Size

SMALL_OUTPUT = 128
"""Up to this H + W, torch interpolates vectors of channels, and the last bit depends on a channel's place in them."""

SLACK = 0.01
"""How far, in rows, a position as torch rounds it may lie from the exact one; far more than it ever does."""

VECTOR = 16
"""Channels of one such vector at most (512 bits of float32): groups of this many keep every channel in its place."""


class Picture(Protocol):
    """Logits of one image by rows. They are asked for in one direction, up or down, and by overlapping strips."""

    @property
    def size(self) -> Size:
        """Height and width."""
        ...

    @property
    def like(self) -> Tensor:
        """(K, 0): of the picture's number of channels, type and device."""
        ...

    @property
    def area(self) -> int:
        """Pixels of the largest picture in the chain: what its strips cost, relative to its own size."""
        ...

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """(c, stop - start, W) of the given channels, or of all, in float32 or float64; not to be written into."""
        ...


class Grid:
    """Logits (K, h, w) as they are, of any floating type."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.size: Size = (values.shape[1], values.shape[2])
        self.area = self.size[0] * self.size[1]
        self.like = values.new_empty((values.shape[0], 0), dtype=precision(values))

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `Picture`."""
        part = self.values[:, start:stop] if channels is None else self.values[list(channels), start:stop]
        return part.to(self.like.dtype)


class Cut:
    """A part of a picture, by default at its top left. flips: then mirrored "horizontal"ly, "vertical"ly or both ways.

    origin: the row and column of the source that the part begins with.
    """

    def __init__(
        self, source: Picture, size: Size, flips: Sequence[str] = (), *, origin: tuple[int, int] = (0, 0)
    ) -> None:
        self.source, self.size, self.origin = source, size, origin
        self.area = source.area * size[0] // source.size[0]
        self._axes = [axis for axis, name in ((1, "vertical"), (2, "horizontal")) if flips.count(name) % 2]

    @property
    def like(self) -> Tensor:
        """See `Picture`."""
        return self.source.like

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """The rows of the source that these rows are made of."""
        top = self.origin[0]
        return (top + self.size[0] - stop, top + self.size[0] - start) if 1 in self._axes else (top + start, top + stop)

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `Picture`."""
        left = self.origin[1]
        part = self.source.rows(*self.needs(start, stop), channels)[:, :, left : left + self.size[1]]
        return part.flip(self._axes) if self._axes else part


class Resized:
    """A picture at another size, bilinearly; see the head of this file for what that means to the last bit."""

    def __init__(self, source: Picture, size: Size, *, align_corners: bool) -> None:
        self.source, self.size = source, size
        self.area = max(size[0] * size[1], source.area)
        self._align_corners = align_corners
        self._is_small = sum(size) <= SMALL_OUTPUT
        self._whole: Tensor | None = None
        self._stretched: tuple[int, Sequence[int] | None, Tensor] | None = None

    @property
    def like(self) -> Tensor:
        """See `Picture`."""
        return self.source.like

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """The rows of the source that these rows are made of."""
        height = self.source.size[0]
        if self._is_small:
            return 0, height
        if height == self.size[0]:
            return start, stop
        step, shift = _positions(height, self.size[0], self._align_corners)
        above, below = (max(row * step + shift, 0.0) for row in (start, stop - 1))
        return max(0, math.floor(above - SLACK)), min(math.floor(below + SLACK) + 2, height)

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `Picture`."""
        if self.source.size == self.size:
            return self.source.rows(start, stop, channels)
        if self.source.size == (1, 1) and not self._is_small:
            return self.source.rows(0, 1, channels).expand(-1, stop - start, self.size[1])
        if self._is_small:
            if self._whole is None:
                self._whole = torch.cat(list(self._groups()))
            part = self._whole if channels is None else self._whole[list(channels)]
            return part[:, start:stop]
        base, end = self.needs(start, stop)
        stretched = self._stretch(base, end, channels)  # (c, n, W)
        if self.source.size[0] == self.size[0]:
            return stretched
        taps = _taps(self.source.size[0], self.size[0], self._align_corners, stretched.dtype, stretched.device)
        return _mix(stretched, taps, start, stop, base)

    def _stretch(self, start: int, stop: int, channels: Sequence[int] | None) -> Tensor:
        """Rows of the source at the new width. The last are kept, since the next strip may begin with them."""
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
            rows = _widened(rows, self.size[1], self._align_corners)
        if kept is not None:
            rows = torch.cat((kept, rows), dim=1)
        tail = min(3, rows.shape[1])  # two that both strips are made of, one for `SLACK`
        self._stretched = (stop - tail, channels, rows[:, -tail:])
        return rows

    def _groups(self) -> Iterator[Tensor]:
        """All of a small picture, a vector of channels at a time; three of more are never alone."""
        height = self.source.size[0]
        start, count = 0, self.like.shape[0]
        while start < count:
            taken = min(VECTOR, count - start)
            taken = 2 if taken == 3 and count > 3 else taken
            values = self.source.rows(0, height, range(start, start + taken))[None].contiguous()
            yield F.interpolate(values, size=self.size, mode="bilinear", align_corners=self._align_corners)[0]
            start += taken


def _widened(rows: Tensor, width: int, align_corners: bool) -> Tensor:
    """(c, n, w) -> (c, n, width), each row by itself."""
    count, height, before = rows.shape
    if rows.device.type == "cpu":
        flat = rows.reshape(1, -1, before)
        return F.interpolate(flat, size=width, mode="linear", align_corners=align_corners).view(count, height, width)
    # CUDA's kernel for lines has no more threads than places of the width; that for pictures does all rows together.
    return F.interpolate(rows[None], size=(height, width), mode="bilinear", align_corners=align_corners)[0]


@dataclass(frozen=True, slots=True)
class _Taps:
    """Row i of the result is lower[i] * source[first[i]] + upper[i] * source[first[i] + 1], if there is such a row.

    first: (H,) integers. lower, upper: (H, 1). on_cpu: `first` once more; empty on an accelerator, which is not asked.
    """

    first: Tensor
    lower: Tensor
    upper: Tensor
    on_cpu: Sequence[int]


def _mix(rows: Tensor, taps: _Taps, start: int, stop: int, base: int) -> Tensor:
    """Source rows (c, n, W), of which the first is number `base` -> rows start to stop of the result."""
    first, last = taps.on_cpu[start:stop], rows.shape[1] - 1
    lower, upper = taps.lower[start:stop], taps.upper[start:stop]
    # Rows of the same source are made together, unless there are hardly any, or many small steps are what takes time.
    if not first or first[-1] - first[0] >= len(first):
        lows = taps.first[start:stop] - base
        result = rows.index_select(1, (lows + 1).clamp_max(last)).mul_(upper)
        return result.addcmul_(rows.index_select(1, lows), lower)
    result = rows.new_empty(rows.shape[0], stop - start, rows.shape[2])
    begin = 0
    while begin < len(first):
        end = begin + 1
        while end < len(first) and first[end] == first[begin]:
            end += 1
        low = first[begin] - base
        high = min(low + 1, last)
        part = result[:, begin:end]
        torch.mul(rows[:, high : high + 1], upper[begin:end], out=part)
        part.addcmul_(rows[:, low : low + 1], lower[begin:end])
        begin = end
    return result


@functools.lru_cache(maxsize=256)
def _taps(size: int, target: int, align_corners: bool, dtype: torch.dtype, device: torch.device) -> _Taps:
    """The weights that torch uses on this device, read off a pattern in which every fourth row is 1."""
    row = torch.arange(target, device=device)
    if size == 1 and align_corners:
        ones = torch.ones(target, 1, dtype=dtype, device=device)
        first, lower, upper = torch.zeros_like(row), ones, torch.zeros_like(ones)
    else:
        number = torch.arange(max(size, 2), device=device)
        pattern = (number[None, :, None] % 4 == torch.arange(4, device=device)[:, None, None]).to(dtype)[None]
        width = max(1, SMALL_OUTPUT + 1 - target)
        if size == 1:  # both weights fall on the one row; a second row, with the same step, parts them
            read = F.interpolate(pattern, scale_factor=(target, width), mode="bilinear", align_corners=False)
        else:
            read = F.interpolate(pattern, size=(target, width), mode="bilinear", align_corners=align_corners)
        read = read[0, :, :target, 0]  # (4, H)
        seen = read > 0
        phase = torch.where(seen[0] & seen[3], 3, seen.to(torch.uint8).argmax(dim=0))  # of the first row, modulo 4
        step, shift = _positions(size, target, align_corners)
        about = row * step + (shift - 0.5)
        first = (about.sub(phase).div(4).round().long() * 4).add(phase)
        lower, upper = (read[index % 4, row, None] for index in (first, first + 1))
    return _Taps(first, lower, upper, first.tolist() if device.type == "cpu" else ())


def _positions(size: int, target: int, align_corners: bool) -> tuple[float, float]:
    """(step, shift): row i of the result lies at i * step + shift among those of the source, up to rounding."""
    if align_corners:
        return ((size - 1) / (target - 1) if target > 1 else 0.0), 0.0
    return size / target, 0.5 * size / target - 0.5


def precision(values: Tensor) -> torch.dtype:
    """What logits are calculated in: float64 if they are given so, else float32."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32
