"""Blur and noise of whole batches of 8 bits, by the numbers that the workers draw; see `on_device`.

Shape letters: N samples, P numbers drawn for each, C bands, H, W height and width of the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - (1 << 32))
"""Of `_scrambled`, as whole numbers of 32 bits: C. Wellons, Hash Prospector (public domain), `lowbias32`."""


def blurred(images: Tensor, drawn: Tensor) -> Tensor:
    """Images (N, C, H, W), drawn (N, P) of `GaussianBlur.draw` -> the images as OpenCV blurs them, to the last bit.

    Neighbours beyond an image's own border are those on this side, as in a mirror in its outermost pixels.
    """
    height, width, *parts = drawn.int()[:, :, None, None, None].unbind(1)  # (N, 1, 1, 1) each
    sums = images.int()
    for dim, inside in ((-1, width), (-2, height)):
        sums = _neighbours(sums, parts, inside, dim)
    return torch.where(_inside(images, height, width), ((sums + (1 << 15)) >> 16).to(images.dtype), images)


def _neighbours(x: Tensor, parts: list[Tensor], inside: Tensor, dim: int) -> Tensor:
    """(N, C, H, W) -> the sum of what lies around each number along `dim`, by the `parts` (N, 1, 1, 1) of distances."""
    length = x.shape[dim]
    shape = [1, 1, 1, 1]
    shape[dim] = length
    places = torch.arange(length, device=x.device).view(shape)
    end = inside.long() - 1  # the place of the last pixel
    period = (2 * end).clamp(min=1)
    total = x * parts[0]
    for distance, part in enumerate(parts[1:], start=1):
        for moved in (places - distance, places + distance):
            mirrored = moved.abs() % period
            index = torch.minimum(mirrored, 2 * end - mirrored).clamp(0, length - 1)  # what is behind the end is unused
            total += x.gather(dim, index.expand(x.shape)) * part
    return total


def noisy(images: Tensor, drawn: Tensor, *, per_band: bool) -> Tensor:
    """Images (N, C, H, W), drawn (N, 5) of `GaussianNoise.draw` -> the images with noise.

    It is a function of the numbers drawn, the band and the place in the image: of no other sample, and of no padding.
    """
    height, width, strength, first, second = drawn[:, :, None, None, None].unbind(1)  # (N, 1, 1, 1) each
    rows, columns, bands = (
        torch.arange(length, device=images.device, dtype=torch.int32)
        for length in (*images.shape[2:], images.shape[1] if per_band else 1)
    )
    places = (rows[:, None] << 16) + columns  # (H, W)
    series = _scrambled(first.int() ^ (bands[:, None, None] << 24)) ^ second.int()  # (N, C, 1, 1)
    begun = _scrambled(_scrambled(places) ^ series)  # (N, C, H, W)
    # Box and Muller, A note on the generation of random normal deviates, 1958.
    radius = _share(_scrambled(begun ^ 0x2545F491)).log_().mul_(-2).sqrt_()
    noise = _share(_scrambled(begun + 0x3C6EF372)).mul_(2 * math.pi).cos_().mul_(radius).mul_(strength)
    result = (images + noise).round_().clamp_(0, 255).to(images.dtype)
    return torch.where(_inside(images, height, width), result, images)


def _inside(images: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """(N, 1, H, W): where images are none of the padding of their batch."""
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    return (rows[:, None] < height) & (columns < width)


def _scrambled(x: Tensor) -> Tensor:
    """Whole numbers of 32 bits -> others, each for one; near ones become as different as any."""
    for shift, factor in ((16, _MULTIPLIERS[0]), (15, _MULTIPLIERS[1])):
        x = (x ^ (x >> shift & (1 << 32 - shift) - 1)) * factor  # >> keeps the sign, which is a digit like others here
    return x ^ (x >> 16 & 0xFFFF)


def _share(x: Tensor) -> Tensor:
    """Whole numbers of 32 bits -> between 0 and 1, by their upper 24 digits, and never 0."""
    return ((x >> 8 & 0xFFFFFF).float() + 0.5) * 2.0**-24
