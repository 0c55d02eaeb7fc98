"""Scale relative to each image's own size: random, as a data set of images of many sizes needs it; of labels alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from intarsia.contracts import Sample, Size
from intarsia.data.transforms.resize import Interpolation, Resizing, resize_array


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


@dataclass(frozen=True)
class SegRescale:
    """Resize the labels by a factor, by their nearest pixels, and leave image and maps as they are.

    Only for use by itself: pipelines, and configs before them, refuse every factor but 1, since losses are computed at
    the size of the image, whatever the stride of the logits is.
    """

    scale_factor: float = 1

    def __post_init__(self) -> None:
        if isinstance(self.scale_factor, bool) or not self.scale_factor > 0:
            raise ValueError(f"SegRescale: scale_factor must be positive, got {self.scale_factor!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with labels of another size, if it has labels."""
        if sample.label is None or self.scale_factor == 1:
            return sample
        height, width = (max(int(side * self.scale_factor + 0.5), 1) for side in sample.label.shape)
        return replace(sample, label=resize_array(sample.label, (height, width), "nearest"))
