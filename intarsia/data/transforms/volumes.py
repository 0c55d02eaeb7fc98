"""Volumes (D, H, W, C) with labels (D, H, W): cropped, padded and mirrored along three axes.

Configs write axes in the order z, y, x, which is that of a volume here. Where they have bands first, here they are
last, as those of images are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample
from intarsia.data.transforms.arguments import band_values, check_chance, with_label_value

Array = npt.NDArray[Any]
Volume = tuple[int, int, int]


@dataclass(frozen=True)
class BioMedical3DRandomCrop:
    """Cut a block out of a volume. A volume that is smaller in a direction is kept whole in it.

    crop_shape: (depth, height, width), or one number for all.
    keep_foreground: the block lies around a random voxel of a random class other than 0, as far as the volume allows;
        where there is none, and without labels, it lies anywhere. The original draws a place between the volume's
        corner and that block instead, so that the voxel is mostly outside.
    ignore_index: the label value that is no class.
    """

    crop_shape: int | Volume
    keep_foreground: bool = True
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop_shape", _checked_shape("BioMedical3DRandomCrop", "crop_shape", self.crop_shape))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The block of the sample. Raises ValueError unless it is a volume."""
        shape = volume_shape("BioMedical3DRandomCrop", sample)
        assert isinstance(self.crop_shape, tuple)
        block = [min(wanted, there) for wanted, there in zip(self.crop_shape, shape, strict=True)]
        voxel = self._voxel(sample.label, rng) if self.keep_foreground and sample.label is not None else None
        if voxel is None:
            corner = [int(rng.integers(there - side, endpoint=True)) for side, there in zip(block, shape, strict=True)]
        else:
            corner = [
                min(max(at - side // 2, 0), there - side) for at, side, there in zip(voxel, block, shape, strict=True)
            ]
        place = tuple(slice(start, start + side) for start, side in zip(corner, block, strict=True))
        return _moved(sample, lambda array: array[place])

    def _voxel(self, label: Array, rng: np.random.Generator) -> tuple[int, ...] | None:
        """A random voxel of a random class; each class is as likely, however small it is."""
        classes = [value for value in np.unique(label) if value not in (0, self.ignore_index)]
        if not classes:
            return None
        places = np.flatnonzero(label == classes[int(rng.integers(len(classes)))])
        chosen = places[int(rng.integers(len(places)))]
        return tuple(int(index) for index in np.unravel_index(chosen, label.shape))


@dataclass(frozen=True)
class BioMedical3DPad:
    """Add voxels on both sides up to `pad_shape`; where the number is odd, one more behind.

    pad_shape: (depth, height, width). A volume that is larger in a direction stays as it is in it.
    pad_val: of the volume's new voxels. seg_pad_val: of the label's. Further maps are padded with zeros.

    The original measures the width by the height, and loses the labels.
    """

    pad_shape: Volume
    pad_val: float = 0.0
    seg_pad_val: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pad_shape", _checked_shape("BioMedical3DPad", "pad_shape", self.pad_shape))
        if not isinstance(self.seg_pad_val, int):
            raise ValueError(f"BioMedical3DPad: seg_pad_val must be a label, got {self.seg_pad_val!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The padded sample. Raises ValueError unless it is a volume."""
        shape = volume_shape("BioMedical3DPad", sample)
        more = [max(wanted - there, 0) for wanted, there in zip(self.pad_shape, shape, strict=True)]
        sides = [(count // 2, count - count // 2) for count in more]

        def padded(array: Array, value: float) -> Array:
            return np.pad(array, [*sides, (0, 0)][: array.ndim], constant_values=value)

        value = band_values("BioMedical3DPad", "pad_val", self.pad_val, sample.image)[0]
        label = sample.label
        if label is not None:
            label = padded(with_label_value(label, self.seg_pad_val), self.seg_pad_val)
        maps = {name: padded(array, 0) for name, array in sample.maps.items()}
        return replace(sample, image=padded(sample.image, value), label=label, maps=maps)


@dataclass(frozen=True)
class BioMedical3DRandomFlip:
    """Mirror a volume along each of `axes` with a chance of `prob`.

    axes: among 0 (depth), 1 (height) and 2 (width); None for none.
    swap_label_pairs: classes that change places in what was mirrored: left kidney, right kidney. The original swaps
        them also in what was not.
    """

    prob: float
    axes: Sequence[int] | None
    swap_label_pairs: Sequence[tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        check_chance("BioMedical3DRandomFlip", prob=self.prob)
        axes = () if self.axes is None else tuple(self.axes)
        if not set(axes) <= {0, 1, 2}:
            raise ValueError(f"BioMedical3DRandomFlip: axes must be among 0, 1 and 2, got {self.axes!r}")
        object.__setattr__(self, "axes", axes)
        pairs = () if self.swap_label_pairs is None else tuple(tuple(pair) for pair in self.swap_label_pairs)
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"BioMedical3DRandomFlip: swap_label_pairs must be pairs, got {self.swap_label_pairs!r}")
        object.__setattr__(self, "swap_label_pairs", pairs)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, mirrored or not. Raises ValueError unless it is a volume."""
        volume_shape("BioMedical3DRandomFlip", sample)
        assert isinstance(self.axes, tuple)
        assert isinstance(self.swap_label_pairs, tuple)
        mirrored = tuple(axis for axis in range(3) if axis in self.axes and rng.random() < self.prob)
        if not mirrored:
            return sample
        sample = _moved(sample, lambda array: np.flip(array, mirrored))
        if sample.label is None or not self.swap_label_pairs:
            return sample
        label = sample.label.copy()
        for first, second in self.swap_label_pairs:
            label[sample.label == first] = second
            label[sample.label == second] = first
        return replace(sample, label=label)


def volume_shape(owner: str, sample: Sample) -> Volume:
    """Depth, height, width. Raises ValueError unless the sample is a volume."""
    shape = sample.image.shape
    if len(shape) != 4:
        raise ValueError(
            f"{owner}: expected a volume (depth, height, width, bands), found an image {shape}; "
            "LoadBiomedicalImageFromFile reads volumes"
        )
    return shape[0], shape[1], shape[2]


def _checked_shape(owner: str, name: str, value: int | Sequence[int]) -> Volume:
    sides = (value,) * 3 if isinstance(value, int) else tuple(value)
    if len(sides) != 3 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"{owner}: {name} must be (depth, height, width) of at least one voxel, got {value!r}")
    return sides[0], sides[1], sides[2]


def _moved(sample: Sample, move: Callable[[Array], Array]) -> Sample:
    return replace(
        sample,
        image=move(sample.image),
        label=None if sample.label is None else move(sample.label),
        maps={name: move(value) for name, value in sample.maps.items()},
    )
