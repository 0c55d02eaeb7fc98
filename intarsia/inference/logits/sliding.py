"""Sliding windows: where they lie, their logits in batches, and their mean as a logit map that is made strip by strip.

Windows go over the network's input row by row. The last ones of a row and of a column are shifted back so that they end
with the image, or all are spread evenly; an image smaller than a window is one window of its own size. The logits of
each window are resized to the window, and where windows overlap the mean counts. A window's logits are computed when a
strip first needs them and forgotten when the strips have passed, so that only the windows of one or two rows are ever
held, at the head's stride.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from intarsia.contracts import Size
from intarsia.inference.logits.lazy import CropFlip, HeadLogits, LogitMap, Resized

Blend = Literal["average", "gaussian", "linear"]
"""How overlapping windows are weighed: all alike, or less towards their borders, which hides seams."""

PIXELS_AT_ONCE = 512 * 512
"""Network input on a processor, where larger batches cost memory and win nothing."""

BYTES_PER_PIXEL = 4096
"""What a network may need on an accelerator for one pixel of its input: several times what most do."""

LARGEST_BATCH = 32


@dataclass(frozen=True, slots=True)
class Window:
    """A part of one network input. image: which of a batch. mirrored: shown to the network left to right. upturned:
    upside down.
    """

    image: int
    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False
    upturned: bool = False

    @property
    def flips(self) -> tuple[str, ...]:
        """The directions in which it is shown mirrored."""
        return ("horizontal",) * self.mirrored + ("vertical",) * self.upturned

    @property
    def bottom(self) -> int:
        """The row below the last one."""
        return self.top + self.height

    def cut(self, pixels: Tensor) -> Tensor:
        """The window of (..., H, W), as the network sees it: (..., height, width)."""
        return self.turned(pixels[..., self.top : self.bottom, self.left : self.left + self.width])

    def turned(self, part: Tensor) -> Tensor:
        """Its pixels (..., height, width) as the network sees them."""
        axes = [-1] * self.mirrored + [-2] * self.upturned
        return part.flip(axes) if axes else part


Forward = Callable[[Tensor, Sequence[Window]], Tensor]
"""Network input (n, C, height, width) and the windows it shows -> logits (n, K, h, w)."""


def starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows begin along one side: every `stride`, the last one shifted back inside."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride + crop, length) - crop, 0) for index in range(count)]


def even_starts(length: int, crop: int, stride: int | None = None) -> list[int]:
    """Where windows begin along one side: as few as cover it, the overlap shared out among them evenly.

    Kerssies et al., EoMT, arXiv:2503.19108, whose images are as large as a window along the other side. With a stride,
    as few as need no larger one, as Isensee et al., nnU-Net, Nature Methods 18, 2021, place them.
    """
    if stride is not None:
        steps = -(-max(length - crop, 0) // stride)
        return [round((length - crop) / steps * index) for index in range(steps + 1)] if steps else [0]
    count = -(-length // crop)
    return [index * (length - crop) // (count - 1) for index in range(count)] if count > 1 else [0]


def windows_of(
    size: Size,
    crop: Size,
    stride: Size | None,
    *,
    image: int = 0,
    both_ways: bool = False,
    four_ways: bool = False,
    even: bool = False,
) -> list[Window]:
    """The windows of an input of this size, row by row, evenly apart with `even` or where `stride` is None.

    both_ways: each is followed by its mirror image, with four_ways also by those upside down.
    """
    height, width = min(crop[0], size[0]), min(crop[1], size[1])
    if even or stride is None:
        steps: tuple[int | None, int | None] = stride or (None, None)
        tops, lefts = (even_starts(*side) for side in zip(size, crop, steps, strict=True))
    else:
        tops, lefts = starts(size[0], crop[0], stride[0]), starts(size[1], crop[1], stride[1])
    return [
        Window(image, top, left, height, width, mirrored, upturned)
        for top in tops
        for left in lefts
        for upturned in ((False, True) if four_ways else (False,))
        for mirrored in ((False, True) if both_ways or four_ways else (False,))
    ]


def check_windows(crop: Size | None, stride: Size | None, *, even: bool = False) -> None:
    """Raises ValueError unless windows of this size and stride exist and leave no pixel out. even: without one, too."""
    where = "set model.test_cfg.crop_size and model.test_cfg.stride, or use --slide 512 341"
    if even and stride is None:
        if crop is None or min(crop) < 1:
            raise ValueError(
                f"windows evenly apart (mode 'slide_even'): expected a crop_size of 1 pixel or more, found {crop}; set "
                "model.test_cfg.crop_size"
            )
        return
    if crop is None or stride is None:
        missing = " and ".join(name for name, value in (("crop_size", crop), ("stride", stride)) if value is None)
        raise ValueError(f"sliding windows: expected a crop_size and a stride, found no {missing}; {where}")
    if min(*crop, *stride) < 1 or stride[0] > crop[0] or stride[1] > crop[1]:
        raise ValueError(
            f"sliding windows: expected a stride between 1 and the window's {crop[0]} x {crop[1]} pixels, found "
            f"{stride[0]} x {stride[1]}; {where}"
        )


def default_batch(crop: Size, device: torch.device) -> int:
    """How many windows go through the network together: on a GPU as many as half of its free memory surely holds."""
    pixels = crop[0] * crop[1]
    if device.type == "cuda" and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, min(LARGEST_BATCH, free // 2 // (BYTES_PER_PIXEL * pixels)))
    return max(1, min(LARGEST_BATCH, PIXELS_AT_ONCE // pixels))


def cut_from(images: Sequence[Tensor]) -> Callable[[Window], Tensor]:
    """What windows show of network inputs (C, H, W), of any sizes."""
    return lambda window: window.cut(images[window.image])


class Feed:
    """The logits of windows, computed in batches in the order of the windows, each handed out once.

    cut: gives what a window shows of its image, (C, height, width). windows: in the order in which they will be taken,
    more or less: what is computed stays here until it is. Windows of one batch are of one size.
    """

    def __init__(
        self, cut: Callable[[Window], Tensor], windows: Sequence[Window], forward: Forward, *, batch: int
    ) -> None:
        self._cut, self._forward, self._batch = cut, forward, batch
        self._waiting = list(reversed(windows))
        self._ready: dict[Window, Tensor] = {}

    def take(self, window: Window) -> Tensor:
        """Logits (K, h, w) of a window."""
        while window not in self._ready:
            self._compute()
        return self._ready.pop(window)

    def look(self, window: Window) -> Tensor:
        """The same, without taking it."""
        logits = self.take(window)
        self._ready[window] = logits
        return logits

    def _compute(self) -> None:
        assert self._waiting, "each window is taken once"
        shape = self._waiting[-1].height, self._waiting[-1].width
        together: list[Window] = []
        while self._waiting and len(together) < self._batch:
            if (self._waiting[-1].height, self._waiting[-1].width) != shape:
                break
            together.append(self._waiting.pop())
        inputs = torch.stack([self._cut(window) for window in together])  # (n, C, height, width)
        for window, logits in zip(together, self._forward(inputs, together), strict=True):
            self._ready[window] = logits.clone() if len(together) > 1 else logits  # so that each is freed by itself


class SlidingLogits:
    """The mean of overlapping windows, as a logit map at the size of the network's input.

    windows: of this map only, in the order in which rows will be asked for; their logits come from `feed`.
    least_size: windows with a smaller side were padded to it, at the right and bottom of what the network saw.
    """

    def __init__(
        self,
        size: Size,
        windows: Sequence[Window],
        feed: Feed,
        *,
        align_corners: bool,
        blend: Blend = "average",
        least_size: int = 1,
    ) -> None:
        self.size, self.area = size, size[0] * size[1]
        self._feed, self._align_corners = feed, align_corners
        self._windows = sorted(windows, key=lambda window: (window.top, window.left, window.upturned, window.mirrored))
        self._first, self._blend, self._least_size = windows[0], blend, least_size
        self._open: dict[Window, LogitMap] = {}
        self._like: Tensor | None = None

    @property
    def is_single(self) -> bool:
        """Whether one window is all there is, so that the mean is what it says."""
        return len(self._windows) == 1

    @property
    def like(self) -> Tensor:
        """See `LogitMap`."""
        if self._like is None:
            self._like = HeadLogits(self._feed.look(self._first)).like
        return self._like

    @cached_property
    def _weights(self) -> tuple[Tensor, Tensor]:
        """Of the rows and columns of one window, where its logits are."""
        first, device = self._first, self.like.device
        return ramp(first.height, self._blend, device=device), ramp(first.width, self._blend, device=device)

    @cached_property
    def _total(self) -> tuple[Tensor, Tensor]:
        """The sums of all windows' weights at each row and column."""
        down, across = self._weights
        ways = len({window.flips for window in self._windows})
        return (
            _covered(self.size[0], {window.top for window in self._windows}, down).to(self.like),
            (_covered(self.size[1], {window.left for window in self._windows}, across) * ways).to(self.like),
        )

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        like = self.like
        inside = [window for window in self._windows if window.top < stop and start < window.bottom]
        self._open = {window: logit_map for window, logit_map in self._open.items() if window in inside}
        count = like.shape[0] if channels is None else len(channels)
        total = like.new_zeros((count, stop - start, self.size[1]))
        for window in inside:
            if window not in self._open:
                self._open[window] = self._logit_map(window)
            top, bottom = max(start, window.top), min(stop, window.bottom)
            part = self._open[window].rows(top - window.top, bottom - window.top, channels)
            if self._blend != "average":
                down, across = (weights.to(like) for weights in self._weights)
                part = part * (down[top - window.top : bottom - window.top, None] * across)
            total[:, top - start : bottom - start, window.left : window.left + window.width] += part
        down, across = self._total
        return total.div_(down[start:stop, None] * across)

    def _logit_map(self, window: Window) -> LogitMap:
        size = window.height, window.width
        shown = max(window.height, self._least_size), max(window.width, self._least_size)
        logit_map = Resized(HeadLogits(self._feed.take(window)), shown, align_corners=self._align_corners)
        return CropFlip(logit_map, size, window.flips) if window.flips or shown != size else logit_map


def ramp(length: int, blend: Blend, *, device: torch.device | None = None) -> Tensor:
    """Weights along one side of a window: 1, or less towards the ends but never 0."""
    exact = torch.float32 if device is not None and device.type == "mps" else torch.float64  # MPS has no float64
    places = torch.arange(length, dtype=exact, device=device)
    if blend == "gaussian":  # as nnU-Net has it: an eighth of the side as standard deviation, its middle on a pixel
        return torch.exp(-0.5 * ((places - length // 2) / (length / 8)) ** 2)
    position = (places + 0.5) / length * 2 - 1  # -1 .. 1
    return 1 - position.abs() if blend == "linear" else torch.ones_like(position)


def _covered(length: int, begins: set[int], weights: Tensor) -> Tensor:
    """The sum of all windows' weights at each place along one side."""
    total = weights.new_zeros(length)
    for begin in begins:
        total[begin : begin + len(weights)] += weights
    return total
