"""What changes colours and leaves every pixel where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.fast_libraries import fast_library
from intarsia.data.transforms.distortion import Distortion

Table = npt.NDArray[np.uint8]
Image = npt.NDArray[Any]

_EVERY = np.arange(256, dtype=np.float32)
_NEAR = 1e-4
"""Numbers of up to 256 are exact to 1.5e-5 in float32, and two operations may differ by that each."""


@dataclass(frozen=True)
class PhotoMetricDistortion:
    """Random brightness, contrast, saturation and hue of an 8-bit RGB image, each with a chance of one half.

    The order is brightness, contrast, saturation, hue; or, as likely, contrast last. Every step rounds down to 8 bits.
    Since a step looks at one value at a time, it is a table of 256 entries (`scale_table`), or what gives the same.

    brightness_delta: a number drawn from [-delta, delta] is added.
    contrast_range, saturation_range: bounds of the factor drawn.
    hue_delta: a whole number of steps of two degrees is drawn from [-delta, delta).

    After Liu et al., "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325).
    """

    brightness_delta: int = 32
    contrast_range: tuple[float, float] = (0.5, 1.5)
    saturation_range: tuple[float, float] = (0.5, 1.5)
    hue_delta: int = 18

    def __post_init__(self) -> None:
        for name in ("contrast_range", "saturation_range"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"PhotoMetricDistortion: {name} must be 0 <= low <= high, got {(low, high)!r}")
            object.__setattr__(self, name, (low, high))
        if self.brightness_delta < 0 or self.hue_delta < 0:
            raise ValueError("PhotoMetricDistortion: brightness_delta and hue_delta must not be negative")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with other colours. Raises ValueError unless it is an RGB image of 8 bits."""
        drawn = self._drawn(sample, rng)
        return replace(sample, image=(_fast_distorted() or distorted)(sample.image, drawn))

    def prepare(self) -> None:
        """Load what is compiled, if it is to be used."""
        _fast_distorted()

    def draw(self, sample: Sample, rng: np.random.Generator) -> tuple[float, ...]:
        """What would be done, as numbers: brightness, whether contrast is first, contrast, whether saturation changes,
        saturation, whether hue does, hue. Raises ValueError as `__call__` does.
        """
        drawn = self._drawn(sample, rng)
        return (
            drawn.brightness or 0.0, drawn.contrast_first, 1.0 if drawn.contrast is None else drawn.contrast,
            drawn.saturation is not None, drawn.saturation or 0.0, drawn.hue is not None, drawn.hue or 0,
        )  # fmt: skip

    def _drawn(self, sample: Sample, rng: np.random.Generator) -> Distortion:
        image = sample.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            bands = image.shape[2] if image.ndim == 3 else 1
            raise ValueError(
                f"PhotoMetricDistortion works on RGB images of 8 bits, found {bands} bands of {image.dtype}; "
                "leave it out for this data, or read the images with bands='rgb'"
            )
        brightness = rng.uniform(-self.brightness_delta, self.brightness_delta) if rng.integers(2) else None
        contrast_first = bool(rng.integers(2))
        contrast = rng.uniform(*self.contrast_range) if rng.integers(2) else None
        saturation = rng.uniform(*self.saturation_range) if rng.integers(2) else None
        hue = None
        if rng.integers(2):
            hue = int(rng.integers(-self.hue_delta, self.hue_delta)) if self.hue_delta else 0
        return Distortion(brightness, contrast_first, contrast, saturation, hue)


def distorted(image: Image, drawn: Distortion) -> Image:
    """The RGB image (H, W, 3) of 8 bits with all that was drawn for it, step by step."""
    if drawn.brightness is not None:
        image = shifted(image, drawn.brightness)
    if drawn.contrast is not None and drawn.contrast_first:
        image = multiplied(image, drawn.contrast)
    if drawn.saturation is not None:
        image = saturated(image, drawn.saturation)
    if drawn.hue is not None:
        image = hue_turned(image, drawn.hue)
    if drawn.contrast is not None and not drawn.contrast_first:
        image = multiplied(image, drawn.contrast)
    return image


@cache
def _fast_distorted() -> Callable[[Image, Distortion], Image] | None:
    """`distorted` in one pass, if numba is there and gives the same."""
    if fast_library("numba") is None:
        return None
    from intarsia.data.transforms.colour_kernel import make_kernel

    return make_kernel(distorted)


def scale_table(factor: float, offset: float) -> Table:
    """The table value -> value * factor + offset: in float32, limited to 0..255 and rounded down."""
    values = _EVERY * np.float32(factor) + np.float32(offset)
    table: Table = np.clip(values, 0, 255).astype(np.uint8)
    return table


def shifted(image: Image, offset: float) -> Image:
    """`scale_table(1, offset)` of an image of 8 bits. Adding a whole number takes a fifth of looking up a table."""
    table = scale_table(1.0, offset)
    whole: Any = float(np.floor(offset))
    if not np.array_equal(table, np.clip(_EVERY + whole, 0, 255)):  # rounded to float32 it went to the next number
        return np.asarray(cv2.LUT(image, table))
    flat = _flat(image)
    found = cv2.add(flat, whole) if whole >= 0 else cv2.subtract(flat, -whole)
    return np.asarray(found).reshape(image.shape)


def multiplied(image: Image, factor: float) -> Image:
    """`scale_table(factor, 0)` of an image of 8 bits, factor >= 0. OpenCV multiplies in a third of the time of a table;
    it rounds to the nearest number, which is the one below where half is taken off, unless a product is too near.
    """
    factor = min(factor, 256.0)  # beyond which all but 0 is 255, and products of OpenCV leave their 32 bits
    products = _EVERY * np.float32(factor)
    if (products - np.floor(products) > 1 - 2 * _NEAR).any():
        return np.asarray(cv2.LUT(image, scale_table(factor, 0.0)))
    found = cv2.convertScaleAbs(_flat(image), None, float(np.float32(factor)), _NEAR - 0.5)
    return np.asarray(found).reshape(image.shape)


def _flat(image: Image) -> Image:
    """(H, W, C) as (H, W * C): the same numbers, and one rule for all of them."""
    return np.ascontiguousarray(image).reshape(len(image), -1)


def saturated(image: Image, factor: float) -> Image:
    """The RGB image (H, W, 3) with its saturation multiplied, through OpenCV's 8-bit HSV."""
    return _through_hsv(image, 1, lambda saturation: multiplied(saturation, factor))


def hue_turned(image: Image, steps: int) -> Image:
    """The RGB image (H, W, 3) with its hue turned by `steps` of two degrees, through OpenCV's 8-bit HSV."""
    table = ((np.arange(256) + steps) % 180).astype(np.uint8)
    return _through_hsv(image, 0, lambda hue: np.asarray(cv2.LUT(hue, table)))


def _through_hsv(image: Image, band: int, change: Callable[[Image], Image]) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    cv2.insertChannel(change(np.asarray(cv2.extractChannel(hsv, band))), hsv, band)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
