"""The way back: from logits at a head's stride to a label map at the image's own size, in bounded memory.

The sequence is that of published scores, and it has two resizes:

    logits (K, h, w)  ->  resize to the network's input, padding included
                      ->  cut the padding off, undo the flips
                      ->  resize to the original size  ->  argmax, or sigmoid > threshold for a single logit

Done at once, the last step holds K x H x W numbers: 7 GB for 150 classes at 3000 x 4000. Here it is done for a few
channels at a time with a running maximum, which needs a few H x W maps whatever K is and gives the same bits.

Two facts make "the same bits" true, and the tests hold both:

* A channel's interpolation does not depend on its neighbours, as long as torch picks the same kernel. It picks by
  shape: exactly three channels are a case of their own, and outputs with H + W <= 128 are vectorised across channels.
  `_groups` and `_plan` never change the choice.
* A class whose logits are everywhere below those of another class cannot win anywhere after interpolation, which only
  mixes neighbours. Such classes, most of 150 on an ordinary image, are never resized (`contenders`).

Shape letters: K channels of the logits; h, w at the head's stride; H, W of the original image.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import Size

BUDGET = 64 * 2**20
"""Bytes of resized logits held at a time, where one channel is not larger than that by itself."""

SMALL_OUTPUT = 128
"""Up to this H + W, torch interpolates vectors of channels, and the last bit depends on a channel's place in them."""

VECTOR = 16
"""Channels of one such vector at most (512 bits of float32): groups of this many keep every channel in its place."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What happened to an image on its way into the network, in order: resized, flipped, padded.

    network: size of the network's input, padding included. valid: the top left part of it that is image.
    flips: applied in this order, undone in reverse. original: size of the image as read.
    """

    network: Size
    valid: Size
    original: Size
    flips: tuple[Literal["horizontal", "vertical"], ...] = ()

    def __post_init__(self) -> None:
        for name, size in (("network", self.network), ("valid", self.valid), ("original", self.original)):
            if min(size) < 1:
                raise ValueError(f"{name} size: expected at least 1 x 1 pixels, found {size[0]} x {size[1]}")
        if self.valid[0] > self.network[0] or self.valid[1] > self.network[1]:
            raise ValueError(
                f"valid part: expected at most the network's input {self.network[0]} x {self.network[1]}, "
                f"found {self.valid[0]} x {self.valid[1]}"
            )


@dataclass(frozen=True, slots=True)
class Restored:
    """label: (H, W), uint8 up to 256 classes, int32 beyond. confidence: (H, W), the label's probability, or None."""

    label: Tensor
    confidence: Tensor | None = None


def restore(
    logits: Tensor,
    geometry: Geometry,
    *,
    align_corners: bool,
    threshold: float | None = None,
    confidence: bool = False,
    budget: int = BUDGET,
) -> Restored:
    """The label map of one image, identical to resizing everything and taking the argmax (ties: the lower index).

    logits: (K, h, w). threshold: exactly when K is 1; the label is then 1 where sigmoid(logit) exceeds it, else 0.
    Where logits are not finite the label is undefined. Raises ValueError if threshold and K do not fit together.
    """
    check_threshold(logits.shape[0], threshold)
    if threshold is not None:
        ((_, values),) = _resized(logits, geometry, [0], align_corners=align_corners, budget=budget)
        probability = values[0].sigmoid()
        foreground = probability > threshold
        certainty = torch.where(foreground, probability, 1 - probability) if confidence else None
        return Restored(foreground.to(torch.uint8), certainty)
    channels = list(range(logits.shape[0])) if confidence else _plan(logits, geometry, budget=budget)
    return _running_argmax(
        logits, geometry, channels, align_corners=align_corners, confidence=confidence, budget=budget
    )


def restore_probabilities(
    logits: Tensor, geometry: Geometry, *, align_corners: bool, threshold: float | None = None, budget: int = BUDGET
) -> Tensor:
    """Probabilities (K, H, W) at the original size: softmax, or (1 - p, p) for a single logit. Memory grows with K."""
    count = logits.shape[0]
    check_threshold(count, threshold)
    dtype = _precision(logits)
    result = torch.empty((count, *geometry.original), dtype=dtype, device=logits.device)
    for group, values in _resized(logits, geometry, range(count), align_corners=align_corners, budget=budget):
        result[group[0] : group[-1] + 1] = values
    if threshold is not None:
        foreground = result.sigmoid_()
        return torch.cat([1 - foreground, foreground])
    result -= result.amax(dim=0)
    result.exp_()
    result /= result.sum(dim=0)
    return result


def check_threshold(channels: int, threshold: float | None) -> None:
    """Raises ValueError unless one logit comes with a threshold and several come without."""
    if channels == 1 and threshold is None:
        raise ValueError(
            "the model has one logit: expected a threshold for its sigmoid, found None; set it in the config"
        )
    if channels > 1 and threshold is not None:
        raise ValueError(
            f"threshold {threshold} was given for a model with {channels} logits; expected one logit, "
            "since several are compared with each other: remove the threshold"
        )


def contenders(logits: Tensor, *, budget: int = BUDGET) -> list[int]:
    """Channels of (K, h, w) that may win somewhere after upsampling; never empty.

    Two bilinear resizes, the first of them enlarging, make a pixel out of cells that lie within 3 x 3 of each other.
    A channel is out if, in every such window, its maximum is below another's minimum by more than rounding.
    """
    count, height, width = logits.shape
    step = max(1, budget // (4 * height * width))
    parts = [logits[start : start + step] for start in range(0, count, step)]
    dtype = _precision(logits)
    floor = torch.full((), -torch.inf, dtype=dtype, device=logits.device)  # (h', w'): what the best is at least
    for part in parts:
        lowest = -_window_maximum(-part.to(dtype))
        floor = torch.maximum(floor, lowest.amax(dim=0))
    margin = 64 * torch.finfo(dtype).eps * logits.abs().amax().to(dtype)
    kept = []
    for part in parts:
        beaten = (
            (_window_maximum(part.to(dtype)) < floor - margin).flatten(1).all(dim=1)
        )  # a nan compares false, so its channel stays
        kept.append(~beaten)
    channels: list[int] = torch.cat(kept).nonzero().flatten().tolist()
    return channels


def _window_maximum(values: Tensor) -> Tensor:
    """Maxima over all 3 x 3 windows of (c, h, w), or over what there is of an axis shorter than that."""
    for axis in (1, 2):
        size = values.shape[axis]
        reach = min(3, size)
        shifted = [values.narrow(axis, start, size - reach + 1) for start in range(reach)]
        values = functools.reduce(torch.maximum, shifted)
    return values


def _plan(logits: Tensor, geometry: Geometry, *, budget: int) -> list[int]:
    """The channels to resize: all, where leaving some out would change the kernel or a downsampling skips cells."""
    count, height, width = logits.shape
    shrinks = geometry.network[0] < height or geometry.network[1] < width
    if count <= 3 or shrinks or sum(geometry.original) <= SMALL_OUTPUT:
        return list(range(count))
    return contenders(logits, budget=budget)


def _running_argmax(
    logits: Tensor, geometry: Geometry, channels: Sequence[int], *, align_corners: bool, confidence: bool, budget: int
) -> Restored:
    size, device = geometry.original, logits.device
    best = torch.full(size, -torch.inf, dtype=_precision(logits), device=device)
    label = torch.full(size, channels[0], dtype=torch.uint8 if logits.shape[0] <= 256 else torch.int32, device=device)
    total = torch.zeros_like(best) if confidence else None  # sum of exp(logit - best)
    better = torch.empty(size, dtype=torch.bool, device=device)
    for group, values in _resized(logits, geometry, channels, align_corners=align_corners, budget=budget):
        for channel, value in zip(group, values, strict=True):
            torch.gt(value, best, out=better)
            if total is not None:
                highest = torch.maximum(best, value)
                total.mul_((best - highest).exp_()).add_((value - highest).exp_())
                best = highest
            else:
                torch.maximum(best, value, out=best)
            label.masked_fill_(better, channel)
    return Restored(label, None if total is None else total.reciprocal_())


def _resized(
    logits: Tensor, geometry: Geometry, channels: Sequence[int], *, align_corners: bool, budget: int
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Groups of channels, each with its values (c, H, W) at the original size."""
    small = sum(geometry.original) <= SMALL_OUTPUT
    if sum(geometry.network) <= SMALL_OUTPUT:  # a few KB a channel: at once, so that every channel keeps its place
        logits = _resize(logits, geometry.network, align_corners=align_corners)
    bytes_each = logits.element_size() * max(_area(geometry.network), _area(geometry.original))
    for group in _groups(channels, VECTOR if small else max(1, budget // bytes_each), whole=logits.shape[0]):
        part = logits[group[0] : group[-1] + 1] if group[-1] - group[0] == len(group) - 1 else logits[list(group)]
        part = _resize(part, geometry.network, align_corners=align_corners)
        part = part[:, : geometry.valid[0], : geometry.valid[1]]
        for flip in reversed(geometry.flips):
            part = part.flip(2 if flip == "horizontal" else 1)
        yield group, _resize(part, geometry.original, align_corners=align_corners)


def _groups(channels: Sequence[int], width: int, *, whole: int) -> Iterator[Sequence[int]]:
    """Runs of at most `width` channels (3 of 3 stay together), never 3 of more: three are interpolated differently."""
    if whole == 3:
        yield channels
        return
    start = 0
    while start < len(channels):
        taken = min(width, len(channels) - start)
        taken = 2 if taken == 3 else taken
        yield channels[start : start + taken]
        start += taken


def _resize(values: Tensor, size: Size, *, align_corners: bool) -> Tensor:
    """(c, h, w) -> (c, *size) in at least float32; the same tensor where the size is right already."""
    values = values.to(_precision(values))
    if values.shape[1:] == size:
        return values
    return F.interpolate(values[None].contiguous(), size=size, mode="bilinear", align_corners=align_corners)[0]


def _precision(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _area(size: Size) -> int:
    return size[0] * size[1]
