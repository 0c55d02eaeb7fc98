"""Random scale relative to each image's own size: what a data set of images of many sizes needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intarsia.contracts import Size
from intarsia.data.transforms.resize import Interpolation, Resizing


@dataclass(frozen=True)
class RandomScale(Resizing):
    """Resize by a factor drawn uniformly from `ratio_range`, the aspect kept.

    Unlike `RandomResize`, whose factor is applied to one size for all images, so that things keep the scale that they
    will have in evaluation at the images' own sizes.

    Raises ValueError unless 0 < low <= high.
    """

    ratio_range: tuple[float, float] = (0.5, 2.0)
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        low, high = self.ratio_range
        if not 0 < low <= high:
            raise ValueError(f"RandomScale: ratio_range must be 0 < low <= high, got {self.ratio_range!r}")

    def target(self, size: Size, rng: np.random.Generator) -> Size:
        """`size` times the drawn factor, each side at least one pixel."""
        factor = rng.uniform(*self.ratio_range)
        height, width = (max(round(side * factor), 1) for side in size)
        return height, width
