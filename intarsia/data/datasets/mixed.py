"""Several data sets of files or scenes as one, each of which remains known: for training by weights, and its scores."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from intarsia.contracts import DrawingDataset, Sample
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.image_spec import ImageSpec
from intarsia.data.label_lookup import Labels
from intarsia.data.rows import load_rows
from intarsia.data.sampling import Order, WeightedOrder
from intarsia.data.scenes.dataset import SceneDataset


class MixedDataset:
    """Data sets with one list of classes, one after the other. Satisfies `contracts.Dataset` and `DrawingDataset`.

    parts: by name, which their samples' names begin with ("harbour/x01"). weights: how often each is drawn in training,
    see `sampling.WeightedOrder`; None: every sample as often as any other. spec: what images they hold together.
    """

    def __init__(
        self,
        parts: Mapping[str, FolderDataset | SceneDataset],
        *,
        spec: ImageSpec,
        weights: Sequence[float] | None = None,
    ) -> None:
        assert parts, "who describes several data sets has some"
        self.names, self.datasets = tuple(parts), tuple(parts.values())
        first = self.datasets[0]
        assert all(
            (part.classes, part.ignore_index) == (first.classes, first.ignore_index) for part in self.datasets
        ), "labels are translated to one list of classes before"
        self.classes, self.palette, self.ignore_index = first.classes, first.palette, first.ignore_index
        self.weights = None if weights is None else tuple(weights)
        self.image_spec = spec
        self.ends = tuple(accumulate(len(part) for part in self.datasets))

    def __len__(self) -> int:
        return self.ends[-1]

    def place(self, index: int) -> tuple[int, int]:
        """(number of the data set, index in it)."""
        part = bisect_right(self.ends, index)
        return part, index - (self.ends[part - 1] if part else 0)

    @property
    def pairs(self) -> Iterator[tuple[str, str | None]]:
        """Paths of image and label, in the order of the indices."""
        return (pair for part in self.datasets for pair in part.pairs)

    def name(self, index: int) -> str:
        """The name of the data set, and of the image in it."""
        part, inner = self.place(index)
        return f"{self.names[part]}/{self.datasets[part].name(inner)}"

    def load(self, index: int) -> Sample:
        """The sample at `index`, counted over all data sets. Raises ValueError as that of `FolderDataset`."""
        part, inner = self.place(index)
        return self._renamed(self.datasets[part].load(inner), index)

    def draw(self, index: int, rng: np.random.Generator) -> Sample | None:
        """A window where the data set at `index` has scenes, None where it has images. Raises ValueError as `load`."""
        part, inner = self.place(index)
        dataset = self.datasets[part]
        return self._renamed(dataset.draw(inner, rng), index) if isinstance(dataset, DrawingDataset) else None

    def load_rows(self, index: int) -> Sample | None:
        """The same with rows that are read when they are looked at, where the data set has such."""
        part, inner = self.place(index)
        sample = load_rows(self.datasets[part], inner)
        return None if sample is None else self._renamed(sample, index)

    def _renamed(self, sample: Sample, index: int) -> Sample:
        return replace(sample, meta=replace(sample.meta, name=self.name(index)))

    def label(self, index: int) -> Labels | None:
        """The label (H, W) without its image; None where there is no ground truth."""
        part, inner = self.place(index)
        return self.datasets[part].label(inner)

    def draw_indices(self, rng: np.random.Generator, count: int) -> list[int]:
        """So many indices at random, as often of each data set as in training: for transforms that mix samples."""
        if self.weights is None:
            found: list[int] = rng.integers(len(self), size=count).tolist()
            return found
        shares = np.array(self.weights) / sum(self.weights)
        parts = rng.choice(len(self.datasets), size=count, p=shares)
        return [self.ends[part] - 1 - int(rng.integers(len(self.datasets[part]))) for part in parts.tolist()]


def order_of(dataset: Any, *, seed: int, shuffle: bool) -> Order | WeightedOrder:
    """The order of the samples of a data set in training: by the weights of its parts, if it has such.

    Raises ValueError for a data set around one with weights, which it would lose.
    """
    if isinstance(dataset, MixedDataset) and dataset.weights is not None:
        return WeightedOrder(tuple(map(len, dataset.datasets)), dataset.weights, seed=seed, shuffle=shuffle)
    if _has_weights_inside(dataset):
        raise ValueError(
            f"several data sets are drawn by weights, which the {type(dataset).__name__} around them would lose; take "
            "it out of the config"
        )
    return Order(len(dataset), seed=seed, shuffle=shuffle)


def has_weights(dataset: Any) -> bool:
    """Whether samples are drawn by weights of several data sets, or would be without a data set around them."""
    return (isinstance(dataset, MixedDataset) and dataset.weights is not None) or _has_weights_inside(dataset)


def _has_weights_inside(dataset: Any) -> bool:
    parts = getattr(dataset, "datasets", None)
    inside = [*(parts if isinstance(parts, list | tuple) else ()), getattr(dataset, "dataset", None)]
    return any(has_weights(part) for part in inside if part is not None and part is not dataset)


def mixed_in(dataset: Any) -> MixedDataset | None:
    """The data sets that one is made of, if it is so, also inside data sets that change samples but not their order."""
    while dataset is not None:
        if isinstance(dataset, MixedDataset):
            return dataset
        inside: Any = getattr(dataset, "dataset", None)
        dataset = inside if hasattr(inside, "__len__") and len(inside) == len(dataset) else None
    return None
