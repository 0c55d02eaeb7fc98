"""What sensors and files do to an image: noise and compression. Every pixel stays where it is.

Strengths are shares of the image's range of values (`arguments.value_range`), so that they mean the same for 8 bits, 16
bits and reflectances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import check_chance, checked_range, in_type_of, value_range

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GaussianNoise:
    """Add noise of a normal distribution, as a sensor's electronics do.

    prob: chance of adding it. std: its standard deviation is drawn between these two shares of the range of values.
    per_band: whether each band has noise of its own; otherwise all have the same, which changes brightness alone.
    """

    prob: float = 0.5
    std: tuple[float, float] = (0.01, 0.05)
    per_band: bool = True

    def __post_init__(self) -> None:
        check_chance("GaussianNoise", prob=self.prob)
        object.__setattr__(self, "std", checked_range("GaussianNoise", "std", self.std))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, with noise or not."""
        strength = self._drawn(sample, rng)
        if strength is None:
            return sample
        shape = sample.image.shape if self.per_band else (*sample.image.shape[:-1], 1)
        noise = rng.standard_normal(shape, np.float32) * strength
        return replace(sample, image=_within(sample.image + noise, sample.image))

    def draw(self, sample: Sample, rng: np.random.Generator) -> tuple[float, ...]:
        """What would be done, as numbers: height and width, the strength of the noise, and two whole numbers below
        2**24 in the place of the noise itself, which another generator begins with.
        """
        strength = self._drawn(sample, rng)
        first, second = rng.integers(1 << 24, size=2).tolist()
        return *sample.image.shape[:2], 0.0 if strength is None else float(strength), first, second

    def _drawn(self, sample: Sample, rng: np.random.Generator) -> np.float32 | None:
        if not rng.random() < self.prob:
            return None
        low, high = value_range(sample.image)
        return np.float32(rng.uniform(*self.std) * (high - low))


@dataclass(frozen=True)
class PoissonNoise:
    """Count light: each value becomes a random count whose mean it is, so that bright places have more noise.

    prob: chance of doing it. peak: how many are counted at the upper end of the range of values, drawn between these
        two as their logarithm is uniform; the fewer, the more noise.
    """

    prob: float = 0.5
    peak: tuple[float, float] = (50.0, 500.0)

    def __post_init__(self) -> None:
        check_chance("PoissonNoise", prob=self.prob)
        object.__setattr__(self, "peak", checked_range("PoissonNoise", "peak", self.peak))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, with noise or not. What is not a number stays what it is."""
        if not rng.random() < self.prob:
            return sample
        peak = math.exp(rng.uniform(math.log(self.peak[0]), math.log(self.peak[1])))
        low, high = value_range(sample.image)
        if high <= low:
            return sample
        real = sample.image.astype(np.float64)
        known = np.isfinite(real)
        counts = rng.poisson(np.where(known, (real - low) * (peak / (high - low)), 0))
        seen = np.where(known, counts * ((high - low) / peak) + low, real)
        return replace(sample, image=_within(seen, sample.image))


@dataclass(frozen=True)
class JpegCompression:
    """Write the image as JPEG and read it again: its blocks and its blurred colours.

    Images of three bands are RGB, whose colours JPEG keeps at half the size; of any other number, each band is
    compressed by itself, as a grey image.

    prob: chance of doing it. quality: from 1 to 100, drawn between these two, both included.
    """

    prob: float = 0.5
    quality: tuple[int, int] = (50, 95)

    def __post_init__(self) -> None:
        check_chance("JpegCompression", prob=self.prob)
        given = self.quality
        if len(given) != 2 or not all(isinstance(end, int) for end in given) or not 1 <= given[0] <= given[1] <= 100:
            raise ValueError(
                f"JpegCompression: quality must be (low, high), whole numbers from 1 to 100, got {given!r}"
            )
        object.__setattr__(self, "quality", (given[0], given[1]))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, compressed or not. Raises ValueError unless it is an image of 8 bits: JPEG holds no others."""
        image = sample.image
        if image.dtype != np.uint8 or image.ndim != 3:
            raise ValueError(
                f"JpegCompression: expected images of 8 bits, found {image.dtype} {image.shape}; leave it out for this "
                "data, or read the images with bands='rgb'"
            )
        if not rng.random() < self.prob:
            return sample
        quality = int(rng.integers(self.quality[0], self.quality[1], endpoint=True))
        if image.shape[2] == 3:
            return replace(sample, image=_compressed(image[..., ::-1], quality)[..., ::-1])
        bands = [_compressed(image[..., band], quality) for band in range(image.shape[2])]
        return replace(sample, image=np.stack(bands, axis=-1))


def _compressed(image: Array, quality: int) -> Array:
    """(H, W), or (H, W, 3) in the order B, G, R."""
    written = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    flag = cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(written, flag))


def _within(result: Array, image: Array) -> Array:
    """In the image's type. Whole numbers that were all 0 or more stay so."""
    if image.dtype.kind == "i" and image.size and image.min() >= 0:
        result = result.clip(0)
    return in_type_of(result, image)
