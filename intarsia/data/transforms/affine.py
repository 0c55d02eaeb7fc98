"""Random maps that keep straight lines straight: affine ones, and those of a camera that looks from elsewhere.

What was moved cannot be undone from `SampleMeta`: these are for training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample, Size
from intarsia.data.transforms.arguments import band_values, check_chance, checked_extent, checked_range
from intarsia.data.transforms.rotate import warped
from intarsia.data.transforms.warp import check_image, remapped

Matrix = npt.NDArray[np.float64]
_STEEPEST = 80.0
"""Degrees of a shear at most: at 90 the image becomes a line."""


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, scale, shear and move at random, around the middle and in one interpolation; the size stays.

    prob: chance of doing it.
    degrees: angle of the rotation, clockwise: (lowest, highest), or one number for (-degrees, degrees).
    translate: how far at most, as a share of width and height, in either direction; one number, or (x, y).
    scale: (least, greatest) factor; smaller and larger are drawn alike, as their logarithm is uniform.
    shear: angle by which upright lines lean: (lowest, highest) degrees, or one number for both directions.
    pad_val: of image pixels that come from outside: one number, or one for each band. seg_pad_val: of the label's.
        Further maps are padded with zeros.
    """

    prob: float = 0.5
    degrees: float | Sequence[float] = 15
    translate: float | Sequence[float] = 0.1
    scale: tuple[float, float] = (0.8, 1.25)
    shear: float | Sequence[float] = 5
    pad_val: float | Sequence[float] = 0
    seg_pad_val: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_chance(owner, prob=self.prob)
        object.__setattr__(self, "degrees", checked_extent(owner, "degrees", self.degrees))
        object.__setattr__(self, "scale", checked_range(owner, "scale", self.scale))
        shear = checked_extent(owner, "shear", self.shear)
        if max(map(abs, shear)) > _STEEPEST:
            raise ValueError(f"{owner}: shear must be within {_STEEPEST:g} degrees, got {self.shear!r}")
        object.__setattr__(self, "shear", shear)
        given = self.translate
        shares = tuple(given) if isinstance(given, Sequence) else (given, given)
        if len(shares) != 2 or not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
            raise ValueError(f"{owner}: translate must be a share from 0 to 1, or two for x and y, got {given!r}")
        object.__setattr__(self, "translate", shares)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, moved or not. Raises ValueError for a volume."""
        size = check_image("RandomAffine", sample)
        if not rng.random() < self.prob:
            return sample
        value = band_values("RandomAffine", "pad_val", self.pad_val, sample.image)
        return warped(sample, self._drawn(size, rng), size, image_value=value, label_value=self.seg_pad_val)

    def _drawn(self, size: Size, rng: np.random.Generator) -> Matrix:
        assert isinstance(self.degrees, tuple)
        assert isinstance(self.shear, tuple)
        assert isinstance(self.translate, tuple)
        angle, shear = rng.uniform(*self.degrees), rng.uniform(*self.shear)
        factor = math.exp(rng.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        across, down = self.translate
        shift = rng.uniform(-across, across) * size[1], rng.uniform(-down, down) * size[0]
        return affine(size, angle=angle, factor=factor, shear=shear, shift=shift)


def affine(
    size: Size, *, angle: float = 0, factor: float = 1, shear: float = 0, shift: tuple[float, float] = (0, 0)
) -> Matrix:
    """The matrix (2, 3) from old (x, y) to new: sheared, scaled, rotated around the middle of an image, then moved.

    angle, shear: degrees, clockwise, and of upright lines to the right at their upper end. shift: (x, y) in pixels.
    """
    height, width = size
    turn, lean = math.radians(angle), math.tan(math.radians(shear))
    rotated = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])  # y points down
    matrix = factor * rotated @ np.array([[1.0, -lean], [0.0, 1.0]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([matrix, middle - matrix @ middle + np.array(shift)])


@dataclass(frozen=True)
class RandomPerspective:
    """Show the image as a camera sees it that does not look straight at it: its corners move inwards at random.

    prob: chance of doing it.
    distortion_scale: how far a corner moves in each direction, at most, as a share of half the side; below 2/3, from
        which on there may be a dent where a corner was, which is no view of anything.
    pad_val, seg_pad_val: as of `RandomAffine`.
    """

    prob: float = 0.5
    distortion_scale: float = 0.3
    pad_val: float | Sequence[float] = 0
    seg_pad_val: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        check_chance("RandomPerspective", prob=self.prob)
        scale = self.distortion_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < 2 / 3:
            raise ValueError(f"RandomPerspective: distortion_scale must be from 0 to below 2/3, got {scale!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, seen from elsewhere or not. Raises ValueError for a volume."""
        size = check_image("RandomPerspective", sample)
        if not rng.random() < self.prob:
            return sample
        right, bottom = max(size[1] - 1, 1), max(size[0] - 1, 1)
        corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        moves = rng.uniform(0, self.distortion_scale, (4, 2)) * inwards * np.array([right, bottom]) / 2
        back: Any = cv2.getPerspectiveTransform((corners + moves).astype(np.float32), corners)
        x, y = (_along(np.asarray(back), axis, size) for axis in range(2))
        value = band_values("RandomPerspective", "pad_val", self.pad_val, sample.image)
        return remapped(sample, x, y, image_value=value, label_value=self.seg_pad_val)


def _along(matrix: Matrix, axis: int, size: Size) -> npt.NDArray[np.float32]:
    """Where a projective map (3, 3) takes each pixel of an image of `size`, along x (0) or y (1)."""
    columns, rows = np.arange(size[1])[None, :], np.arange(size[0])[:, None]
    place, depth = (matrix[row, 0] * columns + matrix[row, 1] * rows + matrix[row, 2] for row in (axis, 2))
    depth[depth == 0] = np.finfo(np.float64).tiny  # on the horizon, which lies outside of what is seen
    far = 2.0 * max(size) + 2
    return np.asarray((place / depth).clip(-far, far), np.float32)
