"""Rotation by any angle, and by quarters of a turn with mirroring.

What was rotated cannot be undone from `SampleMeta`: these are for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample, Size
from intarsia.data.transforms.arguments import band_values, check_chance, checked_angles
from intarsia.data.transforms.geometry import flipped
from intarsia.data.transforms.warp import resampled

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RandomRotate:
    """Rotate by a random angle.

    prob: chance of rotating.
    degree: (lowest, highest) angle in degrees, clockwise; one number stands for (-degree, degree).
    pad_val: of image pixels that come from outside: one number, or one for each band. seg_pad_val: of the label's.
        Further maps are padded with zeros.
    center: the (x, y) that stays where it is, in pixels; by default the middle.
    auto_bound: the result is as large as the rotated image, instead of as large as before.

    Raises ValueError for both a centre and auto_bound.
    """

    prob: float
    degree: float | Sequence[float]
    pad_val: float | Sequence[float] = 0
    seg_pad_val: int = IGNORE_INDEX
    center: tuple[float, float] | None = None
    auto_bound: bool = False

    def __post_init__(self) -> None:
        check_chance("RandomRotate", prob=self.prob)
        object.__setattr__(self, "degree", checked_angles("RandomRotate", self.degree))
        if self.center is not None:
            if len(self.center) != 2:
                raise ValueError(f"RandomRotate: center must be (x, y), got {self.center!r}")
            if self.auto_bound:
                raise ValueError("RandomRotate: center and auto_bound exclude each other; leave one of them out")
            object.__setattr__(self, "center", (float(self.center[0]), float(self.center[1])))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, rotated or not."""
        assert isinstance(self.degree, tuple)
        rotates, angle = rng.random() < self.prob, rng.uniform(*self.degree)
        if not rotates:
            return sample
        size = (sample.image.shape[0], sample.image.shape[1])
        matrix, size = rotation(size, angle, center=self.center, auto_bound=self.auto_bound)
        pixel = band_values("RandomRotate", "pad_val", self.pad_val, sample.image)
        return warped(sample, matrix, size, image_value=pixel, label_value=self.seg_pad_val)


@dataclass(frozen=True)
class RandomRotFlip:
    """Either rotate by a small random angle, or by quarters of a turn and mirror.

    rotate_prob: chance of rotating by an angle. flip_prob: chance of quarters and mirroring where that was not done.
    degree: (lowest, highest) angle in degrees, clockwise; one number stands for (-degree, degree).
    seg_pad_val: of label pixels that come from outside; those of the image are 0.

    The original mixes the labels of neighbouring pixels when it rotates them, so that classes appear which are not
    there, and calls what lies outside class 0. Here labels take the nearest pixel, and outside is ignored; with
    seg_pad_val=0 it is class 0, for data whose class 0 is "nothing".
    """

    rotate_prob: float = 0.5
    flip_prob: float = 0.5
    degree: float | Sequence[float] = (-20, 20)
    seg_pad_val: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        check_chance("RandomRotFlip", rotate_prob=self.rotate_prob, flip_prob=self.flip_prob)
        object.__setattr__(self, "degree", checked_angles("RandomRotFlip", self.degree))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, rotated, turned and mirrored, or as it was."""
        assert isinstance(self.degree, tuple)
        rotates = rng.random() < self.rotate_prob
        if rotates:
            matrix, size = rotation((sample.image.shape[0], sample.image.shape[1]), rng.uniform(*self.degree))
            sample = warped(
                sample, matrix, size, image_value=np.zeros(sample.image.shape[2]), label_value=self.seg_pad_val
            )
        if rng.random() < self.flip_prob and not rotates:
            quarters = int(rng.integers(0, 4))
            return flipped(turned(sample, quarters), "horizontal" if rng.integers(0, 2) else "vertical")
        return sample


def turned(sample: Sample, quarters: int) -> Sample:
    """The sample turned by a number of right angles, anticlockwise."""
    return replace(
        sample,
        image=np.rot90(sample.image, quarters),
        label=None if sample.label is None else np.rot90(sample.label, quarters),
        maps={name: np.rot90(value, quarters) for name, value in sample.maps.items()},
        meta=replace(sample.meta, valid=None),
    )


def rotation(
    size: Size, angle: float, *, center: tuple[float, float] | None = None, auto_bound: bool = False
) -> tuple[npt.NDArray[np.float64], Size]:
    """The matrix (2, 3) of a rotation by `angle` degrees, clockwise, and the size of its result. See `RandomRotate`."""
    height, width = size
    middle = ((width - 1) * 0.5, (height - 1) * 0.5) if center is None else center
    matrix = np.asarray(cv2.getRotationMatrix2D(middle, -angle, 1.0), np.float64)
    if not auto_bound:
        return matrix, size
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    across, down = height * sine + width * cosine, height * cosine + width * sine
    matrix[:, 2] += (across - width) * 0.5, (down - height) * 0.5
    return matrix, (max(round(down), 1), max(round(across), 1))


def warped(
    sample: Sample, matrix: npt.NDArray[np.float64], size: Size, *, image_value: Array, label_value: int
) -> Sample:
    """The sample after an affine map: images and real numbers bilinear, labels and whole numbers the nearest pixel.

    matrix: (2, 3), from the old (x, y) to the new. image_value: of each band outside of the image; maps have 0 there.
    """
    height, width = sample.image.shape[:2]
    # Which pixel is the nearest, -1 outside, asked once for arrays of all types. The index travels as four bands of
    # 8 bits: OpenCV rounds the coordinates of a few types otherwise than those of 8-bit labels, published numbers'.
    indices = np.arange(height * width, dtype=np.int32).view(np.uint8).reshape(height, width, 4)
    found = cv2.warpAffine(indices, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderValue=(255.0,) * 4)
    source = np.asarray(found).view(np.int32)[:, :, 0]

    def mix(array: Array, border: int, value: Sequence[float]) -> Any:
        return cv2.warpAffine(array, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=border, borderValue=value)

    return resampled(sample, source, mix, image_value=image_value, label_value=label_value)
