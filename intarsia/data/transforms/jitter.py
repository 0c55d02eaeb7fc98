"""Colours changed as torchvision changes them: blended with grey, where `PhotoMetricDistortion` multiplies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample

Array = npt.NDArray[Any]

_GREY = np.array([0.2989, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class RandomColorJitter:
    """Random brightness, contrast, saturation and hue of an 8-bit RGB image, each with a chance of one half.

    The order is brightness, contrast, saturation, hue; or, as likely, contrast last.

    brightness: the image is multiplied by a factor drawn from 1 +- this. contrast, saturation: how far it is taken
    away from its mean grey, or from its own grey, is multiplied by such a factor. hue: it is turned by a share of the
    whole circle drawn from +- this.

    By default as EoMT (arXiv:2503.19108) is trained; what is done to an image is torchvision's.

    Raises ValueError for ranges that reach below 0, or a hue of more than half a circle.
    """

    brightness: float = 32 / 255
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 18 / 360

    def __post_init__(self) -> None:
        for name, most in (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"RandomColorJitter: {name} must be in 0..{most:g}, got {getattr(self, name)!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with other colours. Raises ValueError unless it is an RGB image of 8 bits."""
        image = sample.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            bands = image.shape[2] if image.ndim == 3 else 1
            raise ValueError(
                f"RandomColorJitter works on RGB images of 8 bits, found {bands} bands of {image.dtype}; leave it out "
                "for this data, or read the images with bands='rgb'"
            )

        def perhaps(image: Array, change: Callable[[Array, float], Array], most: float, centre: float) -> Array:
            return change(image, rng.uniform(centre - most, centre + most)) if rng.integers(2) else image

        image = perhaps(image, brightened, self.brightness, 1.0)
        contrast_first = bool(rng.integers(2))
        if contrast_first:
            image = perhaps(image, contrasted, self.contrast, 1.0)
        image = perhaps(image, saturated, self.saturation, 1.0)
        image = perhaps(image, turned, self.hue, 0.0)
        if not contrast_first:
            image = perhaps(image, contrasted, self.contrast, 1.0)
        return replace(sample, image=image)


def brightened(image: Array, factor: float) -> Array:
    """(H, W, 3) times a factor; rounded down, as all that follows."""
    return _eight_bits(image * np.float32(factor))


def contrasted(image: Array, factor: float) -> Array:
    """Its distance from its mean grey times a factor."""
    return _blended(image, np.floor(image @ _GREY).mean(dtype=np.float32), factor)


def saturated(image: Array, factor: float) -> Array:
    """Its distance from its own grey times a factor."""
    return _blended(image, np.floor(image @ _GREY)[:, :, None], factor)


def turned(image: Array, share: float) -> Array:
    """Its hue turned by a share of the circle."""
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[:, :, 0] = (hsv[:, :, 0] + np.float32(share * 360)) % 360
    return _eight_bits(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255.999))


def _blended(image: Array, other: Array | np.float32, factor: float) -> Array:
    return _eight_bits(image * np.float32(factor) + other * np.float32(1 - factor))


def _eight_bits(values: Array) -> Array:
    clipped: Array = np.clip(values, 0, 255).astype(np.uint8)
    return clipped
