"""A region of interest: pixels outside it are ignored, as if nobody had labelled them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Dataset, Sample
from intarsia.data.image_io import IMAGE_SUFFIXES, read_label


class RegionDataset:
    """A data set whose labels count inside masks only. The images stay whole.

    masks: one image file for all images, as of a camera that does not move; or a folder with a file for each image, of
    the same name up to the suffix. A pixel is inside if any band of the mask is above 0.

    Raises ValueError if there is neither; on loading, if an image has no mask, or one of another size.
    """

    def __init__(self, dataset: Dataset, *, masks: str) -> None:
        self.dataset = dataset
        self.masks = Path(masks)
        if not self.masks.exists():
            raise ValueError(f"{masks}: expected a mask, or a folder of masks named like the images; there is nothing")
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Sample:
        """The sample at `index`, its label ignored outside the mask."""
        sample = self.dataset.load(index)
        if sample.label is None:
            return sample
        file, inside = self._mask(sample.meta.name)
        if inside.shape != sample.label.shape:
            raise ValueError(
                f"{file}: the mask has {inside.shape[0]} x {inside.shape[1]} pixels (height x width), the label of "
                f"{sample.meta.name} has {sample.label.shape[0]} x {sample.label.shape[1]}; they must agree"
            )
        label = sample.label.copy()
        label[~inside] = self.ignore_index
        instances = None if sample.instances is None else np.where(inside, sample.instances, 0)
        return replace(sample, label=label, instances=instances)

    def _mask(self, name: str) -> tuple[Path, npt.NDArray[np.bool_]]:
        if self.masks.is_file():
            return self.masks, self._same_for_all
        file = next((file for suffix in IMAGE_SUFFIXES if (file := self.masks / f"{name}{suffix}").is_file()), None)
        if file is None:
            raise ValueError(f"{self.masks}: there is no mask for {name}: expected {name}.png, or another image suffix")
        return file, _inside(file)

    @cached_property
    def _same_for_all(self) -> npt.NDArray[np.bool_]:
        return _inside(self.masks)


def _inside(file: Path) -> npt.NDArray[np.bool_]:
    stored: npt.NDArray[Any] = read_label(file)
    return np.asarray(stored.any(axis=2) if stored.ndim == 3 else stored != 0)
