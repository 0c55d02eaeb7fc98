"""Noise, blur and gamma as scans have them. For volumes (D, H, W, C), and for images (H, W, C) just as well.

Images of whole numbers are computed with as real numbers, rounded, and stay within the limits of their type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import around_one, check_chance, checked_range, in_type_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class BioMedicalGaussianNoise:
    """Add noise of a normal distribution.

    prob: chance of adding it. mean: of the noise.
    std: its standard deviation is drawn between 0 and this, for each sample.
    """

    prob: float = 0.1
    mean: float = 0.0
    std: float = 0.1

    def __post_init__(self) -> None:
        check_chance("BioMedicalGaussianNoise", prob=self.prob)
        if self.std < 0:
            raise ValueError(f"BioMedicalGaussianNoise: std must not be negative, got {self.std!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, with noise or not."""
        if not rng.random() < self.prob:
            return sample
        noise = rng.normal(self.mean, rng.uniform(0, self.std), sample.image.shape)
        if sample.image.dtype.kind == "f":
            return replace(sample, image=sample.image + noise.astype(sample.image.dtype))
        return replace(sample, image=in_type_of(sample.image + noise, sample.image))


@dataclass(frozen=True)
class BioMedicalGaussianBlur:
    """Blur bands with a Gaussian.

    sigma_range: (least, greatest) standard deviation in pixels.
    prob: chance of blurring at all. prob_per_channel: that of each band.
    different_sigma_per_channel, different_sigma_per_axis: whether it is drawn anew for each band, for each axis.
    """

    sigma_range: tuple[float, float] = (0.5, 1.0)
    prob: float = 0.2
    prob_per_channel: float = 0.5
    different_sigma_per_channel: bool = True
    different_sigma_per_axis: bool = True

    def __post_init__(self) -> None:
        check_chance("BioMedicalGaussianBlur", prob=self.prob, prob_per_channel=self.prob_per_channel)
        object.__setattr__(
            self, "sigma_range", checked_range("BioMedicalGaussianBlur", "sigma_range", self.sigma_range)
        )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, blurred or not."""
        if not rng.random() < self.prob:
            return sample
        from scipy.ndimage import gaussian_filter

        image = sample.image.copy()
        sigma: tuple[float, ...] | None = None
        for band in range(image.shape[-1]):
            if not rng.random() < self.prob_per_channel:
                continue
            if sigma is None or self.different_sigma_per_channel:
                count = image.ndim - 1
                draws = count if self.different_sigma_per_axis else 1
                sigma = tuple(float(rng.uniform(*self.sigma_range)) for _ in range(draws)) * (count // draws)
            real = image[..., band] if image.dtype.kind == "f" else image[..., band].astype(np.float64)
            image[..., band] = in_type_of(gaussian_filter(real, sigma), image)
        return replace(sample, image=image)


@dataclass(frozen=True)
class BioMedicalRandomGamma:
    """Raise the numbers of an image, as shares of their own range, to a random power.

    prob: chance of doing it.
    gamma_range: (lowest, highest) power; powers below and above 1 are as likely, as far as the range has both.
    invert_image: turn the image upside down in its values before, and back after.
    per_channel: each band has its own range and power. retain_stats: mean and standard deviation stay what they were.
    """

    prob: float = 0.5
    gamma_range: tuple[float, float] = (0.5, 2)
    invert_image: bool = False
    per_channel: bool = False
    retain_stats: bool = False

    def __post_init__(self) -> None:
        check_chance("BioMedicalRandomGamma", prob=self.prob)
        object.__setattr__(self, "gamma_range", checked_range("BioMedicalRandomGamma", "gamma_range", self.gamma_range))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, changed or not."""
        if not rng.random() < self.prob:
            return sample
        image = sample.image
        real = image if image.dtype.kind == "f" else image.astype(np.float64)
        if self.per_channel:
            changed = np.stack([self._changed(real[..., band], rng) for band in range(real.shape[-1])], axis=-1)
        else:
            changed = self._changed(real, rng)
        return replace(sample, image=in_type_of(changed, image))

    def _changed(self, values: Array, rng: np.random.Generator) -> Array:
        power = around_one(rng, self.gamma_range)
        sign = -1 if self.invert_image else 1
        values = values * sign
        low = values.min()
        extent = values.max() - low
        result = ((values - low) / (extent + 1e-7)) ** power * extent + low
        if self.retain_stats:
            result = (result - result.mean()) / (result.std() + 1e-8) * values.std() + values.mean()
        return np.asarray(result * sign)
