"""What changes the numbers of an image by a fixed rule: gamma, contrast, range, grey. Nothing here is random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import in_type_of, value_range

Array = npt.NDArray[Any]
_SIXTEEN_BITS = 65535


@dataclass(frozen=True)
class AdjustGamma:
    """Gamma correction: of 8 bits, value v becomes 255 (v / 255) ** (1 / gamma), rounded down.

    Of other types, v is a share of what the image holds, from its least number to its greatest, which stay.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.gamma, bool) or not isinstance(self.gamma, int | float) or not 0 < self.gamma < np.inf:
            raise ValueError(f"AdjustGamma: gamma must be a positive number, got {self.gamma!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The corrected sample."""
        image = sample.image
        if image.dtype != np.uint8:  # the original takes any other number modulo 256
            low, high = value_range(image)
            extent = (high - low) or 1.0
            share = ((image.astype(np.float64) - low) / extent).clip(0, 1)
            return replace(sample, image=in_type_of(share ** (1 / self.gamma) * extent + low, image))
        table = np.array([(value / 255) ** (1 / self.gamma) * 255 for value in range(256)]).astype(np.uint8)
        return replace(sample, image=table[image])


@dataclass(frozen=True)
class CLAHE:
    """Contrast limited adaptive histogram equalisation, band by band (Zuiderveld, Graphics Gems IV, 1994).

    Of 8 and 16 bits without a sign, the values are equalised as they are. Any other band is first stretched to 16 bits,
    from its least number to its greatest, and afterwards back; a band with anything else than numbers is refused.

    clip_limit: how often a grey value may occur in a tile, as a multiple of the even distribution; what is more is
        spread over all values.
    tile_grid_size: tiles in a row and in a column.
    """

    clip_limit: float = 40.0
    tile_grid_size: tuple[int, int] = (8, 8)

    def __post_init__(self) -> None:
        if isinstance(self.clip_limit, bool) or not isinstance(self.clip_limit, int | float):
            raise ValueError(f"CLAHE: clip_limit must be a number, got {self.clip_limit!r}")
        grid = self.tile_grid_size
        if len(grid) != 2 or not all(isinstance(count, int) and count > 0 for count in grid):
            raise ValueError(f"CLAHE: tile_grid_size must be two positive whole numbers, got {grid!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The equalised sample. Raises ValueError for real numbers that are not finite."""
        image = sample.image
        equaliser = cv2.createCLAHE(clipLimit=self.clip_limit, tileGridSize=self.tile_grid_size)

        def equalised(band: Array) -> Array:
            if band.dtype in (np.uint8, np.uint16):
                return np.asarray(equaliser.apply(np.ascontiguousarray(band)))
            if not np.isfinite(band).all():
                raise ValueError("CLAHE: expected finite numbers, found others; leave it out for this data")
            low, high = value_range(band)
            extent = (high - low) or 1.0
            stretched = np.rint((band.astype(np.float64) - low) * (_SIXTEEN_BITS / extent)).astype(np.uint16)
            found = np.asarray(equaliser.apply(stretched), np.float64)
            return in_type_of(found * (extent / _SIXTEEN_BITS) + low, band)

        bands = [equalised(image[..., band]) for band in range(image.shape[-1])]
        return replace(sample, image=np.stack(bands, axis=-1))


@dataclass(frozen=True)
class Rerange:
    """Stretch an image linearly so that its least number becomes `min_value` and its greatest `max_value`.

    Whole numbers become float64. An image of one number only becomes `min_value` everywhere, where the original stops.
    """

    min_value: float = 0
    max_value: float = 255

    def __post_init__(self) -> None:
        if not self.min_value < self.max_value:
            raise ValueError(
                f"Rerange: min_value must be less than max_value, got {self.min_value!r} and {self.max_value!r}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The stretched sample."""
        image = sample.image if sample.image.dtype.kind == "f" else sample.image.astype(np.float64)
        low = image.min()
        extent = image.max() - low
        unit = (image - low) / (extent if extent > 0 else 1)
        return replace(sample, image=unit * (self.max_value - self.min_value) + self.min_value)


@dataclass(frozen=True)
class RGB2Gray:
    """The weighted sum of the bands, repeated. Whole numbers become float64.

    out_channels: how often it is repeated; by default as often as there were bands.
    weights: one for each band. In a config of OpenMMLab they, and their default too, are for B, G, R: for blue 0.299
        and for red 0.114, which is hardly what was meant, but what its models were trained on.
    """

    out_channels: int | None = None
    weights: Sequence[float] = (0.299, 0.587, 0.114)

    def __post_init__(self) -> None:
        if self.out_channels is not None and self.out_channels < 1:
            raise ValueError(f"RGB2Gray: out_channels must be at least 1, got {self.out_channels!r}")
        if not self.weights or not all(isinstance(weight, int | float) for weight in self.weights):
            raise ValueError(f"RGB2Gray: weights must be numbers, one for each band, got {self.weights!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The grey sample. Raises ValueError unless there is a weight for each band."""
        image = sample.image
        if image.shape[-1] != len(self.weights):
            raise ValueError(
                f"RGB2Gray: expected images of {len(self.weights)} bands, one for each weight, "
                f"found {image.shape[-1]} bands"
            )
        real = image if image.dtype.kind == "f" else image.astype(np.float64)
        grey = np.zeros(image.shape[:-1], np.result_type(real, np.float64))
        for band in reversed(range(len(self.weights))):  # blue first: the last bits depend on the order of the sum
            grey += real[..., band] * self.weights[band]
        count = len(self.weights) if self.out_channels is None else self.out_channels
        return replace(sample, image=np.repeat(grey[..., None], count, axis=-1))
