"""Blur: of a lens that is out of focus, and of a camera that moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import check_chance, checked_range, in_type_of
from intarsia.data.transforms.warp import check_image

Array = npt.NDArray[Any]
_CV2_TYPES = (np.uint8, np.uint16, np.int16, np.float32, np.float64)
_LONGEST = 500


@dataclass(frozen=True)
class GaussianBlur:
    """Blur all bands with a Gaussian.

    prob: chance of blurring. sigma: its standard deviation is drawn between these two, in pixels.
    """

    prob: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        check_chance("GaussianBlur", prob=self.prob)
        object.__setattr__(self, "sigma", checked_range("GaussianBlur", "sigma", self.sigma))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, blurred or not. Raises ValueError for a volume."""
        sigma = self._drawn(sample, rng)
        if sigma is None:
            return sample
        return replace(sample, image=_filtered(sample.image, lambda band: cv2.GaussianBlur(band, (0, 0), sigma)))

    def draw(self, sample: Sample, rng: np.random.Generator) -> tuple[float, ...]:
        """What would be done to an image of 8 bits, as numbers: its height and width, and how much in 256 counts each
        pixel itself, each at a distance of one, of two ..., as far as the widest Gaussian reaches.
        """
        sigma = self._drawn(sample, rng)
        parts = [256] if sigma is None else eight_bit_gaussian(sigma)
        reach = len(eight_bit_gaussian(self.sigma[1]))
        return *sample.image.shape[:2], *parts, *([0] * (reach - len(parts)))

    def _drawn(self, sample: Sample, rng: np.random.Generator) -> float | None:
        check_image("GaussianBlur", sample)
        return float(rng.uniform(*self.sigma)) if rng.random() < self.prob else None


def eight_bit_gaussian(sigma: float) -> list[int]:
    """How much in 256 counts a pixel at a distance of 0, 1, 2 ... where OpenCV blurs images of 8 bits.

    It rounds from the far end on, hands what it has rounded to the next, and gives the pixel itself what is left.
    """
    reach = (round(6 * sigma + 1) | 1) // 2
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights *= 256 / (2 * weights[1:].sum() + weights[0])
    parts, rest = [0] * (reach + 1), 0.0
    for distance in range(reach, 0, -1):
        wanted = float(weights[distance]) + rest
        parts[distance] = round(wanted)
        rest = wanted - parts[distance]
    parts[0] = 256 - 2 * sum(parts)
    return parts


@dataclass(frozen=True)
class MotionBlur:
    """Blur all bands along a line of a random direction, as a camera does that moves while it looks.

    prob: chance of blurring. length: of the line, drawn between these two, in pixels.
    """

    prob: float = 0.5
    length: tuple[float, float] = (3.0, 9.0)

    def __post_init__(self) -> None:
        check_chance("MotionBlur", prob=self.prob)
        object.__setattr__(self, "length", checked_range("MotionBlur", "length", self.length))
        if self.length[1] > _LONGEST:
            raise ValueError(f"MotionBlur: length must be at most {_LONGEST} pixels, got {self.length!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, blurred or not. Raises ValueError for a volume."""
        check_image("MotionBlur", sample)
        if not rng.random() < self.prob:
            return sample
        kernel = line_kernel(float(rng.uniform(*self.length)), float(rng.uniform(0, math.pi)))
        return replace(sample, image=_filtered(sample.image, lambda band: cv2.filter2D(band, -1, kernel)))


def line_kernel(length: float, angle: float) -> npt.NDArray[np.float64]:
    """How much of each neighbour is seen by a camera that moves along a line: (k, k) with odd k, which add up to 1.

    length: in pixels. angle: in radians, from right to down.
    """
    reach = math.ceil(length / 2)
    count = 8 * (2 * reach + 1)
    along = (np.arange(count) + 0.5) / count * length - length / 2
    x, y = along * math.cos(angle) + reach, along * math.sin(angle) + reach
    places = np.arange(2 * reach + 1)
    # Each point of the line is shared by the pixels around it, as bilinear interpolation does.
    across, down = ((1 - np.abs(places - axis[:, None])).clip(0) for axis in (x, y))
    return np.asarray(down.T @ across / count)


def _filtered(image: Array, blur: Callable[[Array], Any]) -> Array:
    """The image (H, W, C), blurred band by band, in its own type."""
    known = image if image.dtype.type in _CV2_TYPES else image.astype(np.float64)
    bands = [blur(np.ascontiguousarray(known[..., band])) for band in range(image.shape[-1])]
    return in_type_of(np.stack(bands, axis=-1), image) if known is not image else np.stack(bands, axis=-1)
