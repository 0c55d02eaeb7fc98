"""What changes colours and leaves every pixel where it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample

Table = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoMetricDistortion:
    """Random brightness, contrast, saturation and hue of an 8-bit RGB image, each with a chance of one half.

    The order is brightness, contrast, saturation, hue; or, as likely, contrast last. Every step rounds down to 8 bits.
    Since a step looks at one value at a time, it is a table of 256 entries; the arithmetic is done on the table.

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
        tables: list[Table] = []
        if drawn.brightness is not None:
            tables.append(scale_table(1.0, drawn.brightness))
        contrast = None if drawn.contrast is None else scale_table(drawn.contrast, 0.0)
        if contrast is not None and drawn.contrast_first:
            tables.append(contrast)
        image = _mapped(sample.image, tables)
        if drawn.saturation is not None:
            image = saturated(image, drawn.saturation)
        if drawn.hue is not None:
            image = hue_turned(image, drawn.hue)
        if contrast is not None and not drawn.contrast_first:
            image = _mapped(image, [contrast])
        return replace(sample, image=image)

    def draw(self, sample: Sample, rng: np.random.Generator) -> tuple[float, ...]:
        """What would be done, as numbers: brightness, whether contrast is first, contrast, whether saturation changes,
        saturation, whether hue does, hue. Raises ValueError as `__call__` does.
        """
        drawn = self._drawn(sample, rng)
        return (
            drawn.brightness or 0.0, drawn.contrast_first, 1.0 if drawn.contrast is None else drawn.contrast,
            drawn.saturation is not None, drawn.saturation or 0.0, drawn.hue is not None, drawn.hue or 0,
        )  # fmt: skip

    def _drawn(self, sample: Sample, rng: np.random.Generator) -> _Distortion:
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
        return _Distortion(brightness, contrast_first, contrast, saturation, hue)


@dataclass(frozen=True, slots=True)
class _Distortion:
    """What was drawn for a sample; None leaves it as it is."""

    brightness: float | None
    contrast_first: bool
    contrast: float | None
    saturation: float | None
    hue: int | None


def scale_table(factor: float, offset: float) -> Table:
    """The table value -> value * factor + offset: in float32, limited to 0..255 and rounded down."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    table: Table = np.clip(values, 0, 255).astype(np.uint8)
    return table


def saturated(image: npt.NDArray[Any], factor: float) -> npt.NDArray[Any]:
    """The RGB image (H, W, 3) with its saturation multiplied, through OpenCV's 8-bit HSV."""
    return _through_hsv(image, band=1, table=scale_table(factor, 0.0))


def hue_turned(image: npt.NDArray[Any], steps: int) -> npt.NDArray[Any]:
    """The RGB image (H, W, 3) with its hue turned by `steps` of two degrees, through OpenCV's 8-bit HSV."""
    return _through_hsv(image, band=0, table=((np.arange(256) + steps) % 180).astype(np.uint8))


def _through_hsv(image: npt.NDArray[Any], *, band: int, table: Table) -> npt.NDArray[Any]:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, band), table), hsv, band)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _mapped(image: npt.NDArray[Any], tables: list[Table]) -> npt.NDArray[Any]:
    if not tables:
        return image
    table = tables[0]
    for following in tables[1:]:
        table = following[table]
    return np.asarray(cv2.LUT(image, table))
