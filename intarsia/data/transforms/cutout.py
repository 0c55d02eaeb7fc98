"""Holes in images (Cutout, arXiv:1708.04552)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import band_values, check_chance, checked_range, in_type_of, label_and_fill
from intarsia.data.transforms.warp import check_image


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
        label_value = 0
        if label is not None and self.seg_fill_in is not None:
            label, label_value = label_and_fill(label, self.seg_fill_in)
            label = label.copy()
        for _ in range(int(rng.integers(self.n_holes[0], self.n_holes[1] + 1))):
            left, top = int(rng.integers(0, width)), int(rng.integers(0, height))
            across, down = self._hole(rng, width, height)
            place = (slice(top, top + down), slice(left, left + across))
            image[place] = value
            if label is not None and self.seg_fill_in is not None:
                label[place] = label_value
        return replace(sample, image=image, label=label)

    def _hole(self, rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
        """Width and height of a hole in pixels."""
        if self.cutout_shape is not None:
            across, down = self.cutout_shape[int(rng.integers(0, len(self.cutout_shape)))]
            return across, down
        assert self.cutout_ratio is not None
        across, down = self.cutout_ratio[int(rng.integers(0, len(self.cutout_ratio)))]
        return int(across * width), int(down * height)


@dataclass(frozen=True)
class CoarseDropout:
    """Hide rectangles of random sizes, wholly inside the image (arXiv:1708.04552, arXiv:1708.04896).

    Like `RandomCutOut`, whose rectangles have given sizes and may reach beyond the image.

    prob: chance of doing it. num_holes: (fewest, most), or one number. hole_size: height and width are drawn between
        these two shares of the image's, each by itself.
    fill: number in the holes, or one for each band; by default the mean of each band.
    fill_mask: label in the holes, such as that which is ignored; by default labels stay, so that what is hidden must be
        told from what is around it. Further maps stay as they are.
    """

    prob: float = 0.5
    num_holes: int | tuple[int, int] = (1, 8)
    hole_size: tuple[float, float] = (0.05, 0.2)
    fill: float | Sequence[float] | None = None
    fill_mask: int | None = None

    def __post_init__(self) -> None:
        check_chance("CoarseDropout", prob=self.prob)
        given = self.num_holes
        counts = (given, given) if isinstance(given, int) else tuple(given)
        if len(counts) != 2 or not all(isinstance(count, int) for count in counts) or not 1 <= counts[0] <= counts[1]:
            raise ValueError(f"CoarseDropout: num_holes must be a count or (fewest, most), got {given!r}")
        object.__setattr__(self, "num_holes", counts)
        size = checked_range("CoarseDropout", "hole_size", self.hole_size)
        if size[1] > 1:
            raise ValueError(f"CoarseDropout: hole_size must be shares of the image, at most 1, got {self.hole_size!r}")
        object.__setattr__(self, "hole_size", size)
        if self.fill_mask is not None and (not isinstance(self.fill_mask, int) or self.fill_mask < 0):
            raise ValueError(f"CoarseDropout: fill_mask must be a label, got {self.fill_mask!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, with holes or not. Raises ValueError for a volume."""
        assert isinstance(self.num_holes, tuple)
        sides = check_image("CoarseDropout", sample)
        if not rng.random() < self.prob:
            return sample
        image, label, label_value = sample.image.copy(), sample.label, 0
        if self.fill is None:
            value = in_type_of(np.asarray(image.mean(axis=(0, 1), dtype=np.float64)), image)
        else:
            value = band_values("CoarseDropout", "fill", self.fill, image)
        if label is not None and self.fill_mask is not None:
            label, label_value = label_and_fill(label, self.fill_mask)
            label = label.copy()
        for _ in range(int(rng.integers(*self.num_holes, endpoint=True))):
            lengths = [max(round(rng.uniform(*self.hole_size) * side), 1) for side in sides]
            starts = [int(rng.integers(side - length + 1)) for side, length in zip(sides, lengths, strict=True)]
            place = tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))
            image[place] = value
            if label is not None and self.fill_mask is not None:
                label[place] = label_value
        return replace(sample, image=image, label=label)


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
