"""Data sets made of data sets."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from intarsia.contracts import Dataset, Sample
from intarsia.data.labels import holds_sets
from intarsia.data.rows import load_rows


class ConcatDataset:
    """Several data sets one after the other.

    members: for each data set the number that its samples take with them (`SampleMeta.member`), by which `ByDataset`
        knows what to do with them; None for one whose samples have a number already.

    Raises ValueError if there are none, or if they disagree on the classes or on the ignored index.
    """

    def __init__(self, datasets: Sequence[Dataset], *, members: Sequence[int | None] | None = None) -> None:
        if not datasets:
            raise ValueError("ConcatDataset needs at least one data set")
        if members is not None and len(members) != len(datasets):
            raise ValueError(f"ConcatDataset: {len(datasets)} data sets, but {len(members)} members")
        first = datasets[0]
        for number, dataset in enumerate(datasets[1:], 2):
            if tuple(dataset.classes) != tuple(first.classes):
                raise ValueError(
                    f"ConcatDataset: the data sets have different classes: the first has {_listed(first.classes)}, "
                    f"number {number} has {_listed(dataset.classes)}. Bring them together with a label table each"
                )
            if holds_sets(dataset) != holds_sets(first):
                raise ValueError(
                    f"ConcatDataset: in one of the first data set and number {number} a pixel may have several "
                    "classes, in the other it has one; say the same of both (`multi_label`)"
                )
            if dataset.ignore_index != first.ignore_index:
                raise ValueError(
                    f"ConcatDataset: the first data set ignores {first.ignore_index}, number {number} ignores "
                    f"{dataset.ignore_index}; give all the same ignore_index"
                )
        self.datasets = tuple(datasets)
        self.members = (None,) * len(datasets) if members is None else tuple(members)
        self.classes = tuple(first.classes)
        self.palette = tuple(first.palette)
        self.ignore_index = first.ignore_index
        self._ends = tuple(accumulate(len(dataset) for dataset in datasets))

    def __len__(self) -> int:
        return self._ends[-1]

    def load(self, index: int) -> Sample:
        """The sample at `index`, counted over all parts."""
        part = bisect_right(self._ends, index)
        return self._numbered(self.datasets[part].load(index - (self._ends[part - 1] if part else 0)), part)

    def load_rows(self, index: int) -> Sample | None:
        """The same with rows that are read when they are looked at, where the data set has such."""
        part = bisect_right(self._ends, index)
        sample = load_rows(self.datasets[part], index - (self._ends[part - 1] if part else 0))
        return None if sample is None else self._numbered(sample, part)

    def _numbered(self, sample: Sample, part: int) -> Sample:
        member = self.members[part]
        return sample if member is None else replace(sample, meta=replace(sample.meta, member=member))


class RepeatDataset:
    """A data set `times` times over, which lengthens an epoch."""

    def __init__(self, dataset: Dataset, times: int) -> None:
        if times < 1:
            raise ValueError(f"RepeatDataset: times must be at least 1, got {times}")
        self.dataset = dataset
        self.times = times
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index

    def __len__(self) -> int:
        return len(self.dataset) * self.times

    def load(self, index: int) -> Sample:
        """The sample at `index`, counted over all repetitions."""
        return self.dataset.load(index % len(self.dataset))

    def load_rows(self, index: int) -> Sample | None:
        """The same with rows that are read when they are looked at, where the data set has such."""
        return load_rows(self.dataset, index % len(self.dataset))


class ClassBalancedDataset:
    """A data set with the images of rare classes several times over (Gupta et al., 2019, arXiv:1908.03195).

    A class that a share f of the images shows asks for max(1, sqrt(oversample_thr / f)) of them; an image is there as
    often as its rarest class asks, rounded up. Every label is read once, when the data set is made. The copies of an
    image follow each other.

    oversample_thr: the share of images below which a class counts as rare, above 0 and at most 1.

    Raises ValueError for another share, or if an image has no label.
    """

    def __init__(self, dataset: Dataset, *, oversample_thr: float) -> None:
        if not 0 < oversample_thr <= 1:
            raise ValueError(
                f"ClassBalancedDataset: oversample_thr must be above 0 and at most 1, got {oversample_thr}"
            )
        self.dataset = dataset
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index
        shown = [classes_shown(dataset, index) for index in range(len(dataset))]
        images = Counter(value for values in shown for value in values)
        asked = {value: max(1.0, math.sqrt(oversample_thr / (count / len(shown)))) for value, count in images.items()}
        times = [math.ceil(max((asked[value] for value in values), default=1.0)) for values in shown]
        self.indices = tuple(index for index, count in enumerate(times) for _ in range(count))

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> Sample:
        """The sample at `index`, counted over all copies."""
        return self.dataset.load(self.indices[index])

    def load_rows(self, index: int) -> Sample | None:
        """The same with rows that are read when they are looked at, where the data set has such."""
        return load_rows(self.dataset, self.indices[index])


class MultiImageMixDataset:
    """A data set that configs wrap for transforms that mix several samples, such as a mosaic.

    Which samples are mixed is drawn by `data.pipeline.Pipeline`, which has the random stream: it gives any transform
    that states `others` so many further samples. What is here are the samples of `dataset`, as they are.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Sample:
        """The sample at `index`, before anything is mixed."""
        return self.dataset.load(index)

    def load_rows(self, index: int) -> Sample | None:
        """The same with rows that are read when they are looked at, where the data set has such."""
        return load_rows(self.dataset, index)


class SubsetDataset:
    """At most `most` samples of a data set, evenly spread over it, or else its first ones."""

    def __init__(self, dataset: Dataset, *, most: int, evenly: bool = True) -> None:
        if most < 1:
            raise ValueError(f"SubsetDataset: most must be at least 1, got {most}")
        count = min(most, len(dataset))
        self.dataset = dataset
        self.indices = tuple(len(dataset) * i // count if evenly else i for i in range(count))
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> Sample:
        """The sample at `index`, counted over those chosen."""
        return self.dataset.load(self.indices[index])

    def load_rows(self, index: int) -> Sample | None:
        """The same with rows that are read when they are looked at, where the data set has such."""
        return load_rows(self.dataset, self.indices[index])


def classes_shown(dataset: Dataset, index: int) -> frozenset[int]:
    """The classes of one label, which is read without its image where the data set can.

    Raises ValueError if there is none.
    """
    read = getattr(dataset, "label", None)
    label = dataset.load(index).label if read is None else read(index)
    if label is None:
        raise ValueError(f"image {index} has no label, so that its classes cannot be counted")
    values = [int(value) for value in np.unique(label) if value != dataset.ignore_index]
    if holds_sets(dataset):
        return frozenset(k for value in values for k in range(len(dataset.classes)) if value >> k & 1)
    return frozenset(values)


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:6])
    return f"{len(classes)} ({shown}{', ...' if len(classes) > 6 else ''})"
