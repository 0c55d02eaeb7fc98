"""Random maps that bend straight lines: the image on a sheet of rubber, and on a grid whose lines move.

What was moved cannot be undone from `SampleMeta`: these are for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample
from intarsia.data.transforms.arguments import band_values, check_chance
from intarsia.data.transforms.warp import check_image, remapped

Places = npt.NDArray[np.float32]

_FINEST = 4.0
"""Standard deviation of a Gaussian, in points of the grid that it smooths, below which the grid would show."""


@dataclass(frozen=True)
class ElasticTransform:
    """Shift every pixel by smooth noise (Simard et al., "Best practices for convolutional neural networks", 2003).

    Two fields of uniform noise from -1 to 1, one for each direction, are smoothed by a Gaussian and multiplied by
    `alpha`: pixels then move by about 0.16 alpha / sigma in each direction, most of them by less than twice that.

    prob: chance of doing it. alpha: see above, in pixels. sigma: standard deviation of the Gaussian in pixels: the
        larger, the wider are the bends.
    pad_val: of image pixels that come from outside: one number, or one for each band. seg_pad_val: of the label's.
        Further maps are padded with zeros.
    """

    prob: float = 0.5
    alpha: float = 120.0
    sigma: float = 8.0
    pad_val: float | Sequence[float] = 0
    seg_pad_val: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        check_chance("ElasticTransform", prob=self.prob)
        if not self.alpha >= 0 or not self.sigma > 0:
            raise ValueError(
                f"ElasticTransform: alpha must be at least 0 and sigma above 0, got {self.alpha!r} and {self.sigma!r}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, bent or not. Raises ValueError for a volume."""
        height, width = check_image("ElasticTransform", sample)
        if not rng.random() < self.prob:
            return sample
        x, y = (self._shift(rng, height, width) for _ in range(2))
        x += np.arange(width, dtype=np.float32)[None, :]
        y += np.arange(height, dtype=np.float32)[:, None]
        value = band_values("ElasticTransform", "pad_val", self.pad_val, sample.image)
        return remapped(sample, x, y, image_value=value, label_value=self.seg_pad_val)

    def _shift(self, rng: np.random.Generator, height: int, width: int) -> Places:
        # Smooth noise needs no more points than its Gaussian is wide: a coarser grid has the same field, and the
        # deviation of its smoothed noise is as much larger as the grid is coarser.
        step = max(int(self.sigma / _FINEST), 1)
        sides = (-(-height // step), -(-width // step))
        noise = rng.random(sides, np.float32) * np.float32(2) - np.float32(1)
        smooth: Any = cv2.GaussianBlur(noise, (0, 0), self.sigma / step)
        field: Any = smooth * np.float32(self.alpha / step)
        if step > 1:
            field = cv2.resize(field, (sides[1] * step, sides[0] * step), interpolation=cv2.INTER_LINEAR)
        return np.array(field[:height, :width], np.float32)


@dataclass(frozen=True)
class GridDistortion:
    """Stretch and squeeze the columns and the rows of a grid at random; nothing leaves the image, nothing is padded.

    prob: chance of doing it. num_steps: columns, and rows, of the grid.
    distort_limit: a column's width, or a row's height, is multiplied by 1 plus a number between -limit and limit
        before all are fitted into the image again; from 0 to below 1.
    """

    prob: float = 0.5
    num_steps: int = 5
    distort_limit: float = 0.3

    def __post_init__(self) -> None:
        check_chance("GridDistortion", prob=self.prob)
        if isinstance(self.num_steps, bool) or not isinstance(self.num_steps, int) or self.num_steps < 1:
            raise ValueError(f"GridDistortion: num_steps must be at least 1, got {self.num_steps!r}")
        if not 0 <= self.distort_limit < 1:
            raise ValueError(f"GridDistortion: distort_limit must be from 0 to below 1, got {self.distort_limit!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample on another grid, or as it is. Raises ValueError for a volume."""
        height, width = check_image("GridDistortion", sample)
        if not rng.random() < self.prob:
            return sample
        columns, rows = self._line(rng, width), self._line(rng, height)
        x, y = np.tile(columns, (height, 1)), np.tile(rows[:, None], (1, width))
        nothing = np.zeros(sample.image.shape[2])
        return remapped(sample, x, y, image_value=nothing, label_value=IGNORE_INDEX)

    def _line(self, rng: np.random.Generator, side: int) -> Places:
        """Where the pixels of one direction come from: from 0 to side - 1, and never back."""
        lengths = 1 + rng.uniform(-self.distort_limit, self.distort_limit, self.num_steps)
        ends = np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum() * (side - 1)
        even = np.linspace(0, side - 1, self.num_steps + 1)
        return np.interp(np.arange(side), ends, even).clip(0, side - 1).astype(np.float32)
