"""Brightness and contrast of images of any number of bands and any type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import check_chance, checked_extent, in_type_of, value_range

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RandomBrightnessContrast:
    """Make an image brighter or darker, and its differences greater or smaller.

    The difference of each value to the image's mean is multiplied by 1 plus a number drawn from `contrast`, and a
    number drawn from `brightness`, as a share of the range of values (`arguments.value_range`), is added; both are the
    same for all bands. For 8-bit RGB, `PhotoMetricDistortion` changes colours, too.

    prob: chance of doing it. brightness, contrast: (lowest, highest), or one number for (-number, number).
    per_band: whether each band draws its own numbers, and has its own mean: for bands of different sensors.
    """

    prob: float = 0.5
    brightness: float | Sequence[float] = 0.2
    contrast: float | Sequence[float] = 0.2
    per_band: bool = False

    def __post_init__(self) -> None:
        check_chance("RandomBrightnessContrast", prob=self.prob)
        brightness, contrast = (
            checked_extent("RandomBrightnessContrast", name, getattr(self, name)) for name in ("brightness", "contrast")
        )
        object.__setattr__(self, "brightness", brightness)
        object.__setattr__(self, "contrast", contrast)
        if contrast[0] < -1:
            raise ValueError(
                f"RandomBrightnessContrast: contrast must be at least -1, where none is left, got {self.contrast!r}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, changed or not."""
        assert isinstance(self.brightness, tuple)
        assert isinstance(self.contrast, tuple)
        if not rng.random() < self.prob:
            return sample
        image = sample.image
        if not self.per_band:
            numbers = rng.uniform(*self.brightness), 1 + rng.uniform(*self.contrast)
            return replace(sample, image=_changed(image, *numbers))
        bands = [
            _changed(image[..., [band]], rng.uniform(*self.brightness), 1 + rng.uniform(*self.contrast))
            for band in range(image.shape[-1])
        ]
        return replace(sample, image=np.concatenate(bands, axis=-1))


def _changed(image: Array, brightness: float, factor: float) -> Array:
    low, high = value_range(image)
    if image.dtype.kind == "f":
        finite = image[np.isfinite(image)]
        mean = float(finite.mean()) if finite.size else 0.0
    else:
        mean = float(image.mean())
    offset = mean * (1 - factor) + brightness * (high - low)
    if image.dtype != np.uint8:
        result = image.astype(np.float64) * factor + offset
        if low >= 0 and image.dtype.kind == "i":
            result = result.clip(0)
        return in_type_of(result, image)
    table = in_type_of(np.arange(256) * factor + offset, image)
    return np.asarray(cv2.LUT(np.ascontiguousarray(image), table)).reshape(image.shape)
