"""Holes in images (Cutout, arXiv:1708.04552)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import band_values, check_chance, with_label_value


@dataclass(frozen=True)
class RandomCutOut:
    """Fill rectangles at random places. Their upper left corner lies in the image; what reaches beyond it is cut off.

    prob: chance of cutting at all.
    n_holes: how many, or (fewest, most).
    cutout_shape: (width, height) of a hole in pixels, or several such pairs, of which one is drawn for each hole.
    cutout_ratio: instead of it, as shares of the image's width and height.
    fill_in: number in the holes, or one for each band. seg_fill_in: label in the holes; by default labels stay.
    Further maps stay as they are.

    Raises ValueError unless exactly one of `cutout_shape` and `cutout_ratio` is given.
    """

    prob: float
    n_holes: int | tuple[int, int]
    cutout_shape: Sequence[Any] | None = None
    cutout_ratio: Sequence[Any] | None = None
    fill_in: float | Sequence[float] = 0
    seg_fill_in: int | None = None

    def __post_init__(self) -> None:
        check_chance("RandomCutOut", prob=self.prob)
        holes = (self.n_holes, self.n_holes) if isinstance(self.n_holes, int) else tuple(self.n_holes)
        if len(holes) != 2 or not all(isinstance(count, int) for count in holes) or not 0 <= holes[0] <= holes[1]:
            raise ValueError(f"RandomCutOut: n_holes must be a count or (fewest, most), got {self.n_holes!r}")
        if (self.cutout_shape is None) == (self.cutout_ratio is None):
            raise ValueError("RandomCutOut needs either cutout_shape (pixels) or cutout_ratio (shares), and not both")
        for name in ("cutout_shape", "cutout_ratio"):
            object.__setattr__(self, name, _candidates(name, getattr(self, name)))
        if self.seg_fill_in is not None and (not isinstance(self.seg_fill_in, int) or self.seg_fill_in < 0):
            raise ValueError(f"RandomCutOut: seg_fill_in must be a label, got {self.seg_fill_in!r}")
        object.__setattr__(self, "n_holes", holes)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, with holes or not."""
        assert isinstance(self.n_holes, tuple)
        if not rng.random() < self.prob:
            return sample
        height, width = sample.image.shape[:2]
        image, label = sample.image.copy(), sample.label
        value = band_values("RandomCutOut", "fill_in", self.fill_in, image)
        if label is not None and self.seg_fill_in is not None:
            label = with_label_value(label, self.seg_fill_in).copy()
        for _ in range(int(rng.integers(self.n_holes[0], self.n_holes[1] + 1))):
            left, top = int(rng.integers(0, width)), int(rng.integers(0, height))
            across, down = self._hole(rng, width, height)
            place = (slice(top, top + down), slice(left, left + across))
            image[place] = value
            if label is not None and self.seg_fill_in is not None:
                label[place] = self.seg_fill_in
        return replace(sample, image=image, label=label)

    def _hole(self, rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
        """Width and height of a hole in pixels."""
        if self.cutout_shape is not None:
            across, down = self.cutout_shape[int(rng.integers(0, len(self.cutout_shape)))]
            return across, down
        assert self.cutout_ratio is not None
        across, down = self.cutout_ratio[int(rng.integers(0, len(self.cutout_ratio)))]
        return int(across * width), int(down * height)


def _candidates(name: str, value: Sequence[Any] | None) -> tuple[tuple[float, float], ...] | None:
    if value is None:
        return None
    pairs = (value,) if value and isinstance(value[0], int | float) else tuple(value)
    kinds = int if name == "cutout_shape" else (int, float)
    for pair in pairs:
        is_pair = isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(side, kinds) for side in pair)
        if not is_pair or min(pair) < 0 or (name == "cutout_ratio" and max(pair) > 1):
            what = "whole numbers (width, height)" if name == "cutout_shape" else "shares (width, height) from 0 to 1"
            raise ValueError(f"RandomCutOut: {name} must be {what}, or several such pairs, got {value!r}")
    if not pairs:
        raise ValueError(f"RandomCutOut: {name} must hold at least one pair, got {value!r}")
    return tuple((pair[0], pair[1]) for pair in pairs)
