"""Patches as nnU-Net draws them: around things as often as it says, turned and scaled in the same step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.contracts import IGNORE_INDEX, Sample, Size
from intarsia.data.transforms.arguments import band_values, check_chance, checked_extent, checked_range
from intarsia.data.transforms.geometry import cropped, pixel_of, pixel_of_class
from intarsia.data.transforms.rotate import warped
from intarsia.data.transforms.warp import check_image


@dataclass(frozen=True)
class RandomPatch:
    """A window of an image, at a random place or around a pixel of a class, perhaps turned and scaled (Isensee et al.,
    nnU-Net, Nature Methods 18, 2021, supplementary note 4).

    The last samples of each step are drawn around a class: `foreground_share` of them, rounded, so that of two images
    one is. Which those are follows from the place of the sample (`SampleMeta.place`), and so from seed and step. A
    window lies within its image, as far as that is large enough, and in its middle otherwise.

    size: (height, width). foreground: values of the label that windows are drawn around, each that there is as likely
        as the others, and each of its pixels. foreground_share: of the samples of a step; of a sample that is of no
        step, the chance.
    sets: labels hold sets of classes (`label_sets`), `foreground` is of classes, and `seg_pad_val` is ignored.
    degrees, rotation_prob: angle of the rotation, (lowest, highest) or one number for both directions, and its chance.
    scale, scale_prob: what a pixel of the window covers, in pixels of the image, and the chance that it is not 1.
    pad_val: of image pixels from outside: one number, or one for each band. seg_pad_val: of the label's.

    Raises ValueError for a size without pixels, or numbers that are no chance or no range.
    """

    size: tuple[int, int]
    foreground: Sequence[int] = ()
    foreground_share: float = 0.33
    degrees: float | Sequence[float] = 180
    rotation_prob: float = 0.2
    scale: tuple[float, float] = (0.7, 1.4)
    scale_prob: float = 0.2
    pad_val: float | Sequence[float] = 0
    seg_pad_val: int = IGNORE_INDEX
    sets: bool = False

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"RandomPatch: size must be (height, width) of at least one pixel, got {self.size!r}")
        check_chance(
            "RandomPatch",
            foreground_share=self.foreground_share,
            rotation_prob=self.rotation_prob,
            scale_prob=self.scale_prob,
        )
        object.__setattr__(self, "size", (self.size[0], self.size[1]))
        object.__setattr__(self, "foreground", tuple(self.foreground))
        object.__setattr__(self, "degrees", checked_extent("RandomPatch", "degrees", self.degrees))
        object.__setattr__(self, "scale", checked_range("RandomPatch", "scale", self.scale))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The window of the sample. Raises ValueError for a volume."""
        assert isinstance(self.degrees, tuple)
        image_size = check_image("RandomPatch", sample)
        top, left = self._corner(sample, image_size, rng)
        angle = rng.uniform(*self.degrees) if rng.random() < self.rotation_prob else 0.0
        scale = rng.uniform(*self.scale) if rng.random() < self.scale_prob else 1.0
        height, width = self.size
        inside = top >= 0 and left >= 0 and top + height <= image_size[0] and left + width <= image_size[1]
        if inside and not angle and scale == 1:
            return cropped(sample, (top, left), self.size)
        turn = math.radians(angle)
        matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) / scale
        middle = np.array([left + (width - 1) / 2, top + (height - 1) / 2])
        shift = np.array([(width - 1) / 2, (height - 1) / 2]) - matrix @ middle
        value = band_values("RandomPatch", "pad_val", self.pad_val, sample.image)
        moved = np.column_stack([matrix, shift])
        return warped(sample, moved, self.size, image_value=value, label_value=self.seg_pad_val)

    def _corner(self, sample: Sample, size: Size, rng: np.random.Generator) -> tuple[int, int]:
        """Row and column of the window's first pixel, negative where the image is smaller."""
        around = None
        if sample.label is not None and self.foreground and self._is_forced(sample, rng):
            if self.sets:
                around = pixel_of_class(sample.label, self.foreground, rng, ignored=self.seg_pad_val)
            else:
                around = pixel_of(sample.label, self.foreground, rng)
        starts = []
        for axis in (0, 1):
            room = size[axis] - self.size[axis]
            if room <= 0:
                starts.append(-((-room) // 2))
            elif around is None:
                starts.append(int(rng.integers(room, endpoint=True)))
            else:
                starts.append(min(max(around[axis] - self.size[axis] // 2, 0), room))
        return starts[0], starts[1]

    def _is_forced(self, sample: Sample, rng: np.random.Generator) -> bool:
        place, together = sample.meta.place
        if not together:
            return bool(rng.random() < self.foreground_share)
        return place >= round(together * (1 - self.foreground_share))
