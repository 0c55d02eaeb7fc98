"""Scale relative to each image's own size: random, as a data set of images of many sizes needs it; of labels alone."""

from __future__ import annotations

from collections.abc import Sequence
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

    For training at the stride of the logits: losses enlarge or reduce these to the labels. It is the last transform.
    """

    scale_factor: float = 1

    def __post_init__(self) -> None:
        if isinstance(self.scale_factor, bool) or not self.scale_factor > 0:
            raise ValueError(f"SegRescale: scale_factor must be positive, got {self.scale_factor!r}")

    @property
    def changes(self) -> bool:
        """Whether labels get another size."""
        return self.scale_factor != 1

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with labels of another size, if it has labels."""
        if sample.label is None or not self.changes:
            return sample
        return replace(sample, label=resize_array(sample.label, self.size_of(sample.label.shape), "nearest"))

    def size_of(self, shape: Sequence[int]) -> Size:
        """What labels of this height and width become."""
        height, width = (max(int(side * self.scale_factor + 0.5), 1) for side in shape)
        return height, width
