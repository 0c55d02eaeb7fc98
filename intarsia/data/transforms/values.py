"""What changes the numbers of an image by a fixed rule: gamma, contrast, range, grey. Nothing here is random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from intarsia.contracts import Sample

_EIGHT_BITS = "read the images with bands='rgb', or leave the transform out"


@dataclass(frozen=True)
class AdjustGamma:
    """Gamma correction of an image of 8 bits: value v becomes 255 (v / 255) ** (1 / gamma), rounded down."""

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.gamma, bool) or not isinstance(self.gamma, int | float) or not 0 < self.gamma < np.inf:
            raise ValueError(f"AdjustGamma: gamma must be a positive number, got {self.gamma!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The corrected sample. Raises ValueError unless the image has 8 bits."""
        image = sample.image
        if image.dtype != np.uint8:
            # The original takes any other number modulo 256.
            raise ValueError(f"AdjustGamma: expected images of 8 bits, found {image.dtype}; {_EIGHT_BITS}")
        table = np.array([(value / 255) ** (1 / self.gamma) * 255 for value in range(256)]).astype(np.uint8)
        return replace(sample, image=table[image])


@dataclass(frozen=True)
class CLAHE:
    """Contrast limited adaptive histogram equalisation, band by band (Zuiderveld, Graphics Gems IV, 1994).

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
        """The equalised sample. Raises ValueError unless the image has 8 or 16 bits, without sign."""
        image = sample.image
        if image.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"CLAHE: expected images of 8 or 16 bits, found {image.dtype}; {_EIGHT_BITS}")
        equaliser = cv2.createCLAHE(clipLimit=self.clip_limit, tileGridSize=self.tile_grid_size)
        bands = [equaliser.apply(np.ascontiguousarray(image[..., band])) for band in range(image.shape[-1])]
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
