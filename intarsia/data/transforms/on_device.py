"""Transforms that a device does with whole batches, by the random numbers that the workers draw for it.

A worker draws for a sample what it would have drawn anyhow, from the same stream at the same place, and leaves the work
undone: the numbers travel with the batch. So a training stays a function of seed and step, whatever device it runs on.
Labels come out the same, and so does what is blurred. Colours differ by a level in one of some thousand pixels, and by
a few in the last columns of an image whose width is no multiple of 32, which OpenCV rounds otherwise than all others.

Noise is the exception: a number for each pixel would have to be drawn and sent, which is all of its work. So the device
draws it, by a generator that a worker's numbers begin: as strong, as often, a function of seed and step still, but
other numbers. Since the worker then draws less, nothing that draws may come behind it.

Shape letters: N samples, P numbers drawn for each, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from intarsia.contracts import AnyTransform, Batch, Sample
from intarsia.data.transforms.blur import GaussianBlur
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.degrade import GaussianNoise
from intarsia.data.transforms.degraded_on_device import blurred, noisy
from intarsia.data.transforms.edges import GenerateEdge
from intarsia.data.transforms.geometry import RandomFlip
from intarsia.data.transforms.redraw import RedrawUnlabelled

Movable: TypeAlias = "RandomFlip | PhotoMetricDistortion | GaussianBlur | GaussianNoise"
MOVABLE = (RandomFlip, PhotoMetricDistortion, GaussianBlur, GaussianNoise)
_MOVES_NO_PIXEL = MOVABLE[1:]
_LABELS_ALONE = (GenerateEdge,)
"""Steps behind which colours can still be moved to the device, but not what moves pixels."""
_OF_EIGHT_BITS = (GaussianBlur, GaussianNoise)
"""Steps that are left to the device for images of 8 bits alone. Others have a range of values that must be looked for,
and OpenCV blurs them by other numbers."""


@dataclass(frozen=True)
class Deferred:
    """Draws the numbers of a step, which the device does."""

    step: Movable

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample as it was, with what is to be done to it. Raises ValueError where the step itself would.

        Some steps are done at once where the image has not 8 bits, and so before a flip that is left to the device.
        """
        if isinstance(self.step, _OF_EIGHT_BITS) and sample.image.dtype != np.uint8:
            return self.step(sample, rng)
        drawn = (self.step, self.step.draw(sample, rng))
        return replace(sample, meta=replace(sample.meta, deferred=(*sample.meta.deferred, drawn)))


def deferred(transforms: Sequence[AnyTransform]) -> tuple[AnyTransform, ...]:
    """The transforms with those at the end left to the device that it can do.

    Raises ValueError if there are none: something behind them needs their result.
    """
    steps = list(transforms)
    movable: tuple[type[Any], ...] = MOVABLE
    drawn_behind = False
    for place in reversed(range(len(steps))):
        step = steps[place]
        if isinstance(step, GaussianNoise) and drawn_behind:
            break
        if isinstance(step, movable):
            steps[place] = Deferred(step)
        elif isinstance(step, _LABELS_ALONE):
            movable = _MOVES_NO_PIXEL
        elif not isinstance(step, RedrawUnlabelled):
            break
        drawn_behind |= isinstance(step, (*MOVABLE, RedrawUnlabelled))
    if not any(isinstance(step, Deferred) for step in steps):
        names = ", ".join(type(step).__name__ for step in transforms) or "nothing"
        raise ValueError(
            f"--augment-on device does {', '.join(kind.__name__ for kind in MOVABLE)} at the end of the training's "
            f"pipeline, which holds {names}: leave it out, or move them to the end (noise behind all that is random)"
        )
    return tuple(steps)


def augmented(batch: Batch) -> Batch:
    """The batch with everything done that was left to the device where it is."""
    for step, drawn in batch.deferred:
        if isinstance(step, RandomFlip):
            batch = _flipped(batch, drawn, step)
        elif isinstance(step, GaussianBlur):
            batch = replace(batch, images=blurred(batch.images, drawn))
        elif isinstance(step, GaussianNoise):
            batch = replace(batch, images=noisy(batch.images, drawn, per_band=step.per_band))
        else:
            batch = _distorted(batch, drawn)
    return replace(batch, deferred=())


def division(transforms: Sequence[AnyTransform]) -> str:
    """Who does what of the transforms of a training, in a line for its log."""
    left = [type(step.step).__name__ for step in transforms if isinstance(step, Deferred)]
    kept = [type(step).__name__ for step in transforms if not isinstance(step, Deferred)]
    said = f"--augment-on device: {', '.join(left)} on the device"
    if "GaussianBlur" in left or "GaussianNoise" in left:
        said += " (of images of 8 bits)"
    return f"{said}, {', '.join(kept) or 'nothing'} with the workers"


# --- Flips --------------------------------------------------------------------------------------------------------


def _flipped(batch: Batch, drawn: Tensor, step: RandomFlip) -> Batch:
    """drawn: (N, 4) of `RandomFlip.draw`. What was padded stays behind the image."""
    across, down, height, width = (column.long()[:, None] for column in drawn.unbind(1))  # (N, 1)
    rows = _mirrored(batch.images.shape[-2], down, height)
    columns = _mirrored(batch.images.shape[-1], across, width)

    def moved(tensor: Tensor) -> Tensor:
        """(N, ..., H, W)"""
        middle = (1,) * (tensor.dim() - 3)
        tensor = tensor.gather(-1, columns.view(len(tensor), *middle, 1, -1).expand(tensor.shape))
        return tensor.gather(-2, rows.view(len(tensor), *middle, -1, 1).expand(tensor.shape))

    labels = batch.labels
    assert not isinstance(labels, tuple), "labels of a training move with their images"
    if labels is not None:
        labels = moved(labels)
        turned = ((across + down) > 0)[:, :, None]
        before = labels
        for first, second in step.swap_seg_labels or ():
            labels = torch.where(turned & (before == first), second, labels)
            labels = torch.where(turned & (before == second), first, labels)
        labels = labels.to(before.dtype)
    return replace(
        batch,
        images=moved(batch.images),
        labels=labels,
        maps={name: moved(value) for name, value in batch.maps.items()},
    )


def _mirrored(length: int, turned: Tensor, inside: Tensor) -> Tensor:
    """(N, length): where each row or column comes from. turned, inside: (N, 1), whether and within what it is so."""
    places = torch.arange(length, device=turned.device)[None]
    return torch.where((turned > 0) & (places < inside), inside - 1 - places, places)


# --- Colours ------------------------------------------------------------------------------------------------------


def _distorted(batch: Batch, drawn: Tensor) -> Batch:
    """drawn: (N, 7) of `PhotoMetricDistortion.draw`, whose order of steps this is."""
    numbers = drawn[:, :, None, None, None].unbind(1)  # 7 x (N, 1, 1, 1)
    offset, contrast_first, contrast, saturates, saturation, turns, hue = numbers
    image = _rounded_down(batch.images.float() + offset)
    image = _rounded_down(image * torch.where(contrast_first > 0, contrast, 1.0))
    h, s, v = _hsv(image)
    changed = _rgb(h, _rounded_down(s * saturation[:, 0]), v)
    image = torch.where(saturates > 0, changed, image)
    h, s, v = _hsv(image)
    image = torch.where(turns > 0, _rgb(torch.remainder(h + hue[:, 0], 180), s, v), image)
    image = _rounded_down(image * torch.where(contrast_first > 0, 1.0, contrast))
    return replace(batch, images=image.to(batch.images.dtype))


def _rounded_down(values: Tensor) -> Tensor:
    return values.clamp(0, 255).floor()


def _hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3, H, W) RGB, whole numbers from 0 to 255 -> (N, H, W) hue 0..179, saturation and value 0..255, whole too.

    As OpenCV has it for 8 bits: shares in 12 binary digits behind the point, rounded at every step.
    """
    red, green, blue = image.int().unbind(1)
    value = image.int().amax(1)
    difference = value - image.int().amin(1)
    divisors = torch.arange(256, device=image.device, dtype=torch.float64).clamp(min=1)
    by_value = ((255 << 12) / divisors).round().int()
    by_difference = ((180 << 12) / (6 * divisors)).round().int()
    saturation = (difference * by_value[value.long()] + (1 << 11)) >> 12
    sector = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * difference, red - green + 4 * difference),
    )
    hue = (sector * by_difference[difference.long()] + (1 << 11)) >> 12
    return torch.where(hue < 0, hue + 180, hue).float(), saturation.float(), value.float()


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The way back, (N, 3, H, W)."""
    sixths = hue * (6 / 180)
    sector = sixths.floor()
    part = sixths - sector
    share, value = saturation * (1 / 255), value * (1 / 255)
    falls = value * (1 - share * part)
    rises = value * (1 - share * (1 - part))
    least = value * (1 - share)
    sector = torch.remainder(sector.int(), 6)
    shades = torch.stack([value, least, falls, rises], dim=1)  # (N, 4, H, W)

    def channel(first: int) -> Tensor:
        # Going round the circle, a channel falls, is least twice, rises, and is the value twice.
        phase = torch.remainder(sector - first, 6)
        choice = torch.where(phase == 0, 2, torch.where(phase <= 2, 1, torch.where(phase == 3, 3, 0)))
        return shades.gather(1, choice[:, None].long())[:, 0]

    channels = [channel(first) for first in (1, 3, 5)]
    return _rounded_down(torch.stack(channels, dim=1) * 255)  # as OpenCV does here, and nowhere else
