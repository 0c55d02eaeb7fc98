"""Four samples put together to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample, Size
from intarsia.data.transforms.arguments import band_values, check_alike, check_chance, label_and_fill
from intarsia.data.transforms.resize import resized

Array = npt.NDArray[Any]
Corner = tuple[int, int]


@dataclass(frozen=True)
class RandomMosaic:
    """Put the sample and three others around a random centre, each reduced or enlarged to fit into `img_scale`.

    The sample itself lies above and left of the centre, the others are above right, below left, below right; what
    reaches beyond the result is cut off, what stays empty is padded.

    prob: chance of doing it; otherwise the sample stays as it is, with its own size.
    img_scale: (height, width) that each of the four fits into; the result is twice as high and wide.
    center_ratio_range: the centre lies at this share of `img_scale`, drawn for each direction; 1 is the middle.
    pad_val: of image pixels where nothing lies. seg_pad_val: of the label's. Further maps are padded with zeros.

    It asks for `others` further samples, which a MultiImageMixDataset hands it.
    """

    others: ClassVar[int] = 3

    prob: float
    img_scale: tuple[int, int] = (640, 640)
    center_ratio_range: tuple[float, float] = (0.5, 1.5)
    pad_val: float = 0
    seg_pad_val: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        check_chance("RandomMosaic", prob=self.prob)
        scale, ratios = self.img_scale, self.center_ratio_range
        if len(scale) != 2 or not all(isinstance(side, int) and side > 0 for side in scale):
            raise ValueError(f"RandomMosaic: img_scale must be (height, width) of at least one pixel, got {scale!r}")
        if len(ratios) != 2 or not 0 <= ratios[0] <= ratios[1] <= 2:
            raise ValueError(
                f"RandomMosaic: center_ratio_range must be 0 <= low <= high <= 2, within the result, got {ratios!r}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample] = ()) -> Sample:
        """The mosaic, or the sample as it is.

        Raises ValueError unless there are three further samples with the bands, labels and maps that it has. They are
        not looked at, and so need not be loaded, where the sample stays as it is.
        """
        if len(others) != self.others:
            raise ValueError(
                f"RandomMosaic: expected {self.others} further samples, found {len(others)}; it belongs into the "
                "pipeline of a MultiImageMixDataset"
            )
        if not rng.random() < self.prob:
            return sample
        parts = [sample, *others]
        check_alike("RandomMosaic", parts)
        height, width = self.img_scale
        column = int(rng.uniform(*self.center_ratio_range) * width)
        row = int(rng.uniform(*self.center_ratio_range) * height)
        size = (2 * height, 2 * width)
        parts = [self._fitted(part) for part in parts]
        value = band_values("RandomMosaic", "pad_val", self.pad_val, sample.image)
        labels = [label_and_fill(part.label, self.seg_pad_val) for part in parts if part.label is not None]
        return Sample(
            image=_placed([part.image for part in parts], size, (row, column), value),
            label=_placed([label for label, _ in labels], size, (row, column), labels[0][1]) if labels else None,
            maps={name: _placed([part.maps[name] for part in parts], size, (row, column), 0) for name in sample.maps},
            meta=replace(sample.meta, original_size=size, valid=None, flips=()),
        )

    def _fitted(self, sample: Sample) -> Sample:
        """The sample as large as `img_scale` allows, its proportions kept."""
        height, width = sample.image.shape[:2]
        factor = min(self.img_scale[0] / height, self.img_scale[1] / width)
        return resized(sample, (max(int(height * factor), 1), max(int(width * factor), 1)))


def _placed(arrays: Sequence[Array], size: Size, centre: Corner, fill: Array | int) -> Array:
    """Four arrays around `centre`, (row, column), in one of `size`: above left and right, below left and right."""
    result = np.empty((*size, *arrays[0].shape[2:]), np.result_type(*arrays))
    result[...] = fill
    for number, array in enumerate(arrays):
        rows = _along(array.shape[0], size[0], centre[0], before=number < 2)
        columns = _along(array.shape[1], size[1], centre[1], before=number % 2 == 0)
        result[rows[0], columns[0]] = array[rows[1], columns[1]]
    return result


def _along(length: int, size: int, centre: int, *, before: bool) -> tuple[slice, slice]:
    """Where something of `length` lies in one direction of the result, and which part of it."""
    if before:
        shown = min(length, centre)
        return slice(centre - shown, centre), slice(length - shown, length)
    shown = min(length, size - centre)
    return slice(centre, centre + shown), slice(0, shown)
