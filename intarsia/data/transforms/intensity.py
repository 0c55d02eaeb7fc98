"""Brightness, contrast and resolution as nnU-Net changes them: band by band, of images that are normalised already.

Isensee et al., nnU-Net, Nature Methods 18, 2021, supplementary note 4; batchgeneratorsv2 (Apache-2.0) has the forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import around_one, check_chance, checked_range, in_type_of
from intarsia.data.transforms.warp import check_image

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MultiplicativeBrightness:
    """Multiply each band by a factor.

    prob: chance of doing it. factor: (least, greatest); below and above 1 are as likely.
    """

    prob: float = 0.15
    factor: tuple[float, float] = (0.75, 1.25)

    def __post_init__(self) -> None:
        check_chance("MultiplicativeBrightness", prob=self.prob)
        object.__setattr__(self, "factor", checked_range("MultiplicativeBrightness", "factor", self.factor))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, changed or not."""
        if not rng.random() < self.prob:
            return sample
        return _each_band(sample, lambda band: band * np.float32(around_one(rng, self.factor)))


@dataclass(frozen=True)
class LimitedContrast:
    """Multiply what each value of a band differs from its mean by a factor; the band's smallest and largest value stay
    the limits.

    prob: chance of doing it. factor: (least, greatest); below and above 1 are as likely.
    """

    prob: float = 0.15
    factor: tuple[float, float] = (0.75, 1.25)

    def __post_init__(self) -> None:
        check_chance("LimitedContrast", prob=self.prob)
        object.__setattr__(self, "factor", checked_range("LimitedContrast", "factor", self.factor))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, changed or not."""
        if not rng.random() < self.prob:
            return sample

        def changed(band: Array) -> Array:
            mean = band.mean(dtype=np.float64).astype(np.float32)
            contrasted = (band - mean) * np.float32(around_one(rng, self.factor)) + mean
            return np.asarray(contrasted.clip(band.min(), band.max()))

        return _each_band(sample, changed)


@dataclass(frozen=True)
class LowResolution:
    """Show bands as if they had been taken with fewer pixels: made smaller by nearest pixels, and larger bilinearly.

    prob: chance of doing it at all. prob_per_band: that of each band. scale: of its sides, drawn between these two.

    Raises ValueError for a scale above 1.
    """

    prob: float = 0.25
    prob_per_band: float = 0.5
    scale: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        check_chance("LowResolution", prob=self.prob, prob_per_band=self.prob_per_band)
        object.__setattr__(self, "scale", checked_range("LowResolution", "scale", self.scale))
        if self.scale[1] > 1:
            raise ValueError(f"LowResolution: scale must be at most 1, where nothing is lost, got {self.scale!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, changed or not. Raises ValueError for a volume."""
        height, width = check_image("LowResolution", sample)
        if not rng.random() < self.prob:
            return sample

        def changed(band: Array) -> Array:
            if not rng.random() < self.prob_per_band:
                return band
            scale = rng.uniform(*self.scale)
            rows, columns = (_middles(side, max(round(side * scale), 1)) for side in (height, width))
            return np.asarray(cv2.resize(band[rows][:, columns], (width, height), interpolation=cv2.INTER_LINEAR))

        return _each_band(sample, changed)


def _middles(side: int, count: int) -> npt.NDArray[np.int64]:
    """The pixels of a side in which the middles of so many pixels lie."""
    return np.minimum(((np.arange(count) + 0.5) * side / count).astype(np.int64), side - 1)


def _each_band(sample: Sample, change: Callable[[Array], Array]) -> Sample:
    """The sample with each band (H, W) changed, as float32, one after the other."""
    bands = np.moveaxis(sample.image, -1, 0).astype(np.float32)
    changed = np.stack([change(np.ascontiguousarray(band)) for band in bands], axis=-1)
    return replace(sample, image=in_type_of(changed, sample.image))
