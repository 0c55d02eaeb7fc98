"""What a data set and trained models give of each image: made when it is asked for, and kept within bounds."""

from __future__ import annotations

import gzip
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Dataset, Sample
from intarsia.data.datasets.wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset, SubsetDataset
from intarsia.data.labels import holds_sets, value_count
from intarsia.viewer.cache import Bounded, Turns
from intarsia.viewer.measures import Measures, Query
from intarsia.viewer.pictures import Confidence, Label, pack, shown_image, shown_map, thumbnail, unpack
from intarsia.visual.picture import as_picture

if TYPE_CHECKING:
    from intarsia.inference.predictor import Predictor

SAMPLE_BYTES = 192 << 20
PREDICTION_BYTES = 192 << 20
THUMBNAIL_BYTES = 64 << 20
AT_ONCE = 2
"""Thumbnails that are made at the same time: reading an image may take much memory."""


@dataclass(frozen=True)
class Run:
    """A trained model. dataset: the images of the collection, read as this model takes them."""

    name: str
    predictor: Predictor
    dataset: Dataset


class Collection:
    """The images of a data set with their labels, and what up to two models say of them.

    classes, palette: of the label values; a single class has a background before it. sets: whether a label value is a
    set of the classes. Nothing is read before it is asked for. Threads may share it.

    Raises ValueError if a run's images are others than those of the data set.
    """

    def __init__(self, dataset: Dataset, runs: Sequence[Run] = ()) -> None:
        for run in runs:
            if len(run.dataset) != len(dataset):
                raise ValueError(f"{run.name}: expected the {len(dataset)} images, found {len(run.dataset)}")
        self.dataset, self.runs = dataset, tuple(runs)
        self.sets = holds_sets(dataset)
        self.values = value_count(dataset)
        self.classes, self.palette = self._named(dataset.classes, dataset.palette)
        self.measures = Measures(len(dataset), len(self.classes), len(self.runs), sets=self.sets)
        self._find = _finder(dataset)
        self._names: list[str] | None = None
        self._samples = Bounded[Sample](SAMPLE_BYTES, _sample_bytes)
        self._predictions = Bounded[bytes](PREDICTION_BYTES, len)
        self._thumbnails = Bounded[bytes](THUMBNAIL_BYTES, len)
        self._reading = threading.Semaphore(AT_ONCE)
        self._predicting = Turns()

    def __len__(self) -> int:
        return len(self.dataset)

    # --- All images ---

    def name(self, index: int) -> str:
        """What an image is called, without reading it; by its number where the data set does not say."""
        dataset, place = self._find(index)
        name = getattr(dataset, "name", None)
        return str(name(place)) if callable(name) else f"image {index + 1}"

    def find(self, query: Query) -> npt.NDArray[np.int64]:
        """Indices of the images that fulfil a query, in its order. Nothing is read."""
        if (query.text or query.sort == "name") and self._names is None:
            self._names = [self.name(index) for index in range(len(self))]
        return self.measures.images(query, self._names)

    def name_classes(self, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> None:
        """Other names and colours for the classes of the data set; their order and number stay."""
        assert len(classes) == len(palette) == len(self.dataset.classes)
        self.classes, self.palette = self._named(classes, palette)

    def _named(
        self, classes: Sequence[str], palette: Sequence[Sequence[int]]
    ) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
        return with_background(classes, palette, alone=self.sets)

    # --- One image ---

    def sample(self, index: int) -> Sample:
        """Image and label. Raises ValueError naming the file if it cannot be read."""
        return self._samples.get(index, lambda: self.dataset.load(index))

    def thumbnail(self, index: int) -> bytes:
        """A small JPEG."""

        def make() -> bytes:
            with self._reading:
                held = self._samples.peek(index)
                return thumbnail(as_picture((held or self.dataset.load(index)).image))

        return self._thumbnails.get(index, make)

    def image(self, index: int) -> tuple[bytes, str]:
        """The image for the screen, and its media type."""
        return shown_image(as_picture(self.sample(index).image))

    def truth_map(self, index: int) -> bytes | None:
        """The label, as `pictures.pack` does, for the screen; None without one."""
        label = self.sample(index).label
        return None if label is None else shown_map(pack(self._without_ignored(label), self.values))

    def prediction_map(self, run: int, index: int) -> bytes:
        """What a run says, with its confidence, as `pictures.pack` does, for the screen."""
        return shown_map(self._predicted(run, index))

    def measure(self, index: int) -> None:
        """Count an image, its predictions made if they are not there."""
        if self.measures.measured[index]:
            return
        predictions = [unpack(self._predicted(run, index)) for run in range(len(self.runs))]
        truth = self._truth(index)
        for run, (label, _) in zip(self.runs, predictions, strict=True):
            if truth is not None and truth.shape != label.shape:
                raise ValueError(f"{self.name(index)}: {run.name} says {label.shape}, the label has {truth.shape}")
        if len({label.shape for label, _ in predictions}) > 1:
            raise ValueError(f"{self.name(index)}: the two runs read images of different sizes")
        self.measures.record(index, truth, predictions)

    def _truth(self, index: int) -> Label | None:
        """The label alone, which many data sets read without the image."""
        held, (dataset, place) = self._samples.peek(index), self._find(index)
        read = getattr(dataset, "label", None)
        label = held.label if held is not None else self.dataset.load(index).label if read is None else read(place)
        return None if label is None else self._without_ignored(label)

    def _without_ignored(self, label: Label) -> Label:
        """Ignored pixels as what is no label value, even where their number could be one."""
        count = self.values
        if self.dataset.ignore_index >= count:
            return label
        return np.where(label == self.dataset.ignore_index, count, label.astype(np.int32))

    def _predicted(self, run: int, index: int) -> bytes:
        """A packed map at the image's own size. Kept compressed: label maps are a twentieth then."""

        def make() -> bytes:
            asked = self.runs[run]
            sample = asked.dataset.load(index)
            with self._predicting.taken():
                found = asked.predictor.predict_sample(sample, confidence=True)
            assert found.confidence is not None
            sure: Confidence = np.asarray(np.nan_to_num(found.confidence.astype(np.float32)).clip(0, 1) * 255 + 0.5)
            return gzip.compress(pack(found.label, self.values, sure.astype(np.uint8)), 1)

        return gzip.decompress(self._predictions.get((run, index), make))


def with_background(
    classes: Sequence[str], palette: Sequence[Sequence[int]], *, alone: bool = False
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the label values of a data set: a single class is a foreground, its index 1.

    alone: it is not, since labels are sets.
    """
    names = tuple(classes)
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in palette)
    return (names, colours) if len(names) > 1 or alone else (("background", *names), ((0, 0, 0), *colours))


def _finder(dataset: Any) -> Callable[[int], tuple[Any, int]]:
    """Where an image of a data set is that is made of others: (the data set that reads it, its index there)."""
    if isinstance(dataset, ConcatDataset):
        finders, ends = [_finder(part) for part in dataset.datasets], list(accumulate(map(len, dataset.datasets)))

        def in_parts(index: int) -> tuple[Any, int]:
            part = bisect_right(ends, index)
            return finders[part](index - (ends[part - 1] if part else 0))

        return in_parts
    if isinstance(dataset, SubsetDataset | ClassBalancedDataset):
        chosen, indices = _finder(dataset.dataset), dataset.indices
        return lambda index: chosen(indices[index])
    if isinstance(dataset, RepeatDataset):
        repeated, count = _finder(dataset.dataset), len(dataset.dataset)
        return lambda index: repeated(index % count)
    return lambda index: (dataset, index)


def _sample_bytes(sample: Sample) -> int:
    return int(sample.image.nbytes) + (0 if sample.label is None else int(sample.label.nbytes))
