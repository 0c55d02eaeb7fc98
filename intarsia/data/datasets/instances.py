"""The numbers of objects beside the labels of Cityscapes, for the scores that count objects."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Dataset, Sample
from intarsia.data.datasets.region import RegionDataset
from intarsia.data.image_io import read_label
from intarsia.data.labels import ranges, value_counts

_LABELS = ("labelTrainIds.png", "labelIds.png")
_INSTANCES = "instanceIds.png"
_WITH_OBJECTS = range(24, 34)
_NO_OBJECTS = frozenset((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23))  # classes whose objects nobody tells apart


class InstanceDataset:
    """A data set whose samples also hold `instances`, from the file *_instanceIds.png beside *_labelTrainIds.png.

    Of Cityscapes: object n of a label with id i has the number 1000 * i + n; less than 1000 is none. Samples whose
    label has no such file beside it have no `instances`.

    Raises ValueError on loading, for a file that cannot be read, has another size than the label, or says what there
    cannot be.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Sample:
        """The sample at `index`, with the numbers of its objects."""
        sample = self.dataset.load(index)
        file = instance_file(sample.meta.label_path)
        if sample.label is None or file is None:
            return sample
        found = _read(file)
        if found.shape != sample.label.shape:
            raise ValueError(
                f"{file}: {found.shape[0]} x {found.shape[1]} pixels (height x width), its label "
                f"{sample.meta.label_path} has {sample.label.shape[0]} x {sample.label.shape[1]}; they must agree"
            )
        return replace(sample, instances=found)


def with_instances(dataset: Dataset) -> Dataset:
    """The data set with the numbers of objects; those outside a region of interest are none."""
    if isinstance(dataset, RegionDataset):
        inside = copy(dataset)
        inside.dataset = with_instances(dataset.dataset)
        return inside
    return InstanceDataset(dataset)


def instance_file(label: str) -> Path | None:
    """The file of the objects of a label file; None if there is none."""
    for ending in _LABELS:
        if label.endswith(ending):
            file = Path(label[: -len(ending)] + _INSTANCES)
            return file if file.is_file() else None
    return None


def _read(file: Path) -> npt.NDArray[np.integer[Any]]:
    found = read_label(file)
    if found.ndim != 2 or found.dtype.kind not in "iu":
        raise ValueError(f"{file} holds colours; expected numbers of objects, one a pixel, in 16 bits")
    wrong = [
        value
        for value in value_counts(found)
        if value > 1000 and (value // 1000 in _NO_OBJECTS or value // 1000 > _WITH_OBJECTS[-1])
    ]
    if wrong:
        raise ValueError(
            f"{file} holds {ranges(wrong)}: no objects of Cityscapes. Expected 1000 * id + number with an id of "
            f"{_WITH_OBJECTS[0]} to {_WITH_OBJECTS[-1]}, and ids below 1000 elsewhere"
        )
    return found
