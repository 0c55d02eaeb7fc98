"""Data sets made of data sets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from intarsia.contracts import Dataset, Sample


class ConcatDataset:
    """Several data sets one after the other.

    Raises ValueError if there are none, or if they disagree on the classes or on the ignored index.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        if not datasets:
            raise ValueError("ConcatDataset needs at least one data set")
        first = datasets[0]
        for number, dataset in enumerate(datasets[1:], 2):
            if tuple(dataset.classes) != tuple(first.classes):
                raise ValueError(
                    f"ConcatDataset: the data sets have different classes: the first has {_listed(first.classes)}, "
                    f"number {number} has {_listed(dataset.classes)}. Bring them together with a label table each"
                )
            if dataset.ignore_index != first.ignore_index:
                raise ValueError(
                    f"ConcatDataset: the first data set ignores {first.ignore_index}, number {number} ignores "
                    f"{dataset.ignore_index}; give all the same ignore_index"
                )
        self.datasets = tuple(datasets)
        self.classes = tuple(first.classes)
        self.palette = tuple(first.palette)
        self.ignore_index = first.ignore_index
        self._ends = tuple(accumulate(len(dataset) for dataset in datasets))

    def __len__(self) -> int:
        return self._ends[-1]

    def load(self, index: int) -> Sample:
        """The sample at `index`, counted over all parts."""
        part = bisect_right(self._ends, index)
        return self.datasets[part].load(index - (self._ends[part - 1] if part else 0))


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


class SubsetDataset:
    """At most `most` samples of a data set, evenly spread over it."""

    def __init__(self, dataset: Dataset, *, most: int) -> None:
        if most < 1:
            raise ValueError(f"SubsetDataset: most must be at least 1, got {most}")
        count = min(most, len(dataset))
        self.dataset = dataset
        self.indices = tuple(len(dataset) * i // count for i in range(count))
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> Sample:
        """The sample at `index`, counted over those chosen."""
        return self.dataset.load(self.indices[index])


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:6])
    return f"{len(classes)} ({shown}{', ...' if len(classes) > 6 else ''})"
