"""Slices of volumes as nnU-Net prepares them: cut to what is not empty, and at pixels of one size in millimetres.

Isensee et al., nnU-Net, Nature Methods 18, 2021, supplementary note 2, "Resampling"; the numbers are those of nnunetv2
2.8 (`resample_data_or_seg_to_shape`): images by splines of the third order that leave no value outside of the slice's
own range, labels class by class and linearly.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample, Size
from intarsia.data.transforms.arguments import band_values
from intarsia.data.transforms.geometry import cropped
from intarsia.data.transforms.warp import check_image
from intarsia.data.volume_facts import content_of, spacing_of
from intarsia.terminal import Notice

Array = npt.NDArray[Any]
SQUARE = (1.0, 1.0)
"""Of images that know no millimetres, as nnU-Net has it."""


@dataclass(frozen=True)
class ResampleToSpacing:
    """A slice of a volume (`scan.nii.gz#z012`) at pixels of a given size.

    spacing: (height, width) of a pixel, in the unit of the files, millimetres as a rule; None: the size stays.
    content: first cut the slice to the box of its volume outside of which all is 0. What a prediction says of the
        rest is the first class, or no class where a pixel may have several.

    An image that does not say how large its pixels are is taken to have the right ones, with a warning unless these are
    1 x 1.

    Raises ValueError for a spacing that is not above 0.
    """

    spacing: tuple[float, float] | None = None
    content: bool = False

    def __post_init__(self) -> None:
        if self.spacing is not None:
            found = tuple(map(float, self.spacing))
            if len(found) != 2 or not all(np.isfinite(found)) or min(found) <= 0:
                raise ValueError(f"ResampleToSpacing: spacing must be (height, width) above 0, got {self.spacing!r}")
            object.__setattr__(self, "spacing", found)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The slice, its label and its maps. Raises ValueError for a volume, and for a file that cannot be read."""
        check_image("ResampleToSpacing", sample)
        path = sample.meta.image_path
        box = content_of(path) if self.content else None
        if box is not None and (box != (0, 0, *sample.image.shape[:2])):
            top, left, height, width = box
            sample = cropped(sample, (top, left), (height or sample.image.shape[0] - top, width))
            sample = replace(sample, meta=replace(sample.meta, box=box))
        if self.spacing is None:
            return sample
        own = spacing_of(path)
        if own is None:
            if self.spacing != SQUARE:
                text = (
                    f"{path or sample.meta.name or 'the image'} does not say how large its pixels are: they are taken "
                    f"to be those of the training, {self.spacing[0]:g} x {self.spacing[1]:g}"
                )
                warnings.warn(text, Notice, stacklevel=2)
            return sample
        height, width = (
            max(round(found / wanted * length), 1)
            for found, wanted, length in zip(own, self.spacing, sample.image.shape[:2], strict=True)
        )
        return _resampled(sample, (height, width))


@dataclass(frozen=True)
class PadAround:
    """A smaller image in the middle of one of `size`, (height, width); a larger one is left as it is.

    pad_val: of image pixels around it: one number, or one for each band. seg_pad_val: of the label's.

    Raises ValueError for a size without pixels.
    """

    size: tuple[int, int]
    pad_val: float | Sequence[float] = 0
    seg_pad_val: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"PadAround: size must be (height, width) of at least one pixel, got {self.size!r}")
        object.__setattr__(self, "size", (self.size[0], self.size[1]))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The padded sample. Raises ValueError for a volume, and for other bands than `pad_val` has."""
        height, width = check_image("PadAround", sample)
        target = max(self.size[0], height), max(self.size[1], width)
        if target == (height, width):
            return sample
        corner = (target[0] - height) // 2, (target[1] - width) // 2
        around = band_values("PadAround", "pad_val", self.pad_val, sample.image)

        def placed(array: Array, value: Any) -> Array:
            wider = np.empty((*target, *array.shape[2:]), array.dtype)
            wider[...] = value
            wider[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = array
            return wider

        label = sample.label
        if label is not None and label.dtype.kind != "f" and self.seg_pad_val > np.iinfo(label.dtype).max:
            label = label.astype(np.min_scalar_type(self.seg_pad_val))
        unknown = 0 if label is not None and label.dtype.kind == "f" else self.seg_pad_val
        return replace(
            sample,
            image=placed(sample.image, around),
            label=None if label is None else placed(label, unknown),
            maps={name: placed(value, 0) for name, value in sample.maps.items()},
            meta=replace(sample.meta, valid=(height, width), corner=corner),
        )


def _resampled(sample: Sample, size: Size) -> Sample:
    if size == sample.image.shape[:2]:
        return sample
    return replace(
        sample,
        image=resampled_image(sample.image, size),
        label=None if sample.label is None else resampled_label(sample.label, size),
        maps={
            name: resampled_image(value, size) if value.dtype.kind == "f" else resampled_label(value, size)
            for name, value in sample.maps.items()
        },
    )


def resampled_image(image: Array, size: Size, *, order: int = 3) -> npt.NDArray[np.float32]:
    """(H, W) or (H, W, C) -> real numbers at another size, by splines, each band within its own range."""
    bands = image[:, :, None] if image.ndim == 2 else image
    found = np.empty((*size, bands.shape[2]), np.float32)
    for band in range(bands.shape[2]):
        values = bands[:, :, band].astype(np.float64)
        found[:, :, band] = _zoomed(values, size, order).clip(values.min(), values.max())
    return found.reshape(*size, *image.shape[2:])


def resampled_label(label: Array, size: Size) -> Array:
    """(H, W) -> another size: of each pixel the value that has most of it, linearly; of equal ones the larger.

    The original takes a value that has half of a pixel, and 0 where there is none such.
    """
    found = np.zeros(size, label.dtype)
    most = np.full(size, -1.0)
    for value in np.unique(label):
        share = _zoomed((label == value).astype(np.float64), size, 1)
        larger = share >= most
        found[larger], most[larger] = value, share[larger]
    return found


def _zoomed(values: npt.NDArray[np.float64], size: Size, order: int) -> npt.NDArray[np.float64]:
    from scipy.ndimage import zoom

    factors = [new / old for new, old in zip(size, values.shape, strict=True)]
    found: npt.NDArray[np.float64] = zoom(values, factors, order=order, mode="nearest", grid_mode=True)
    assert found.shape == size
    return found
