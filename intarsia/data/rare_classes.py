"""Which images show a rare class: what drawing by classes rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from intarsia.contracts import Dataset, DrawingDataset
from intarsia.data.datasets.mixed import MixedDataset, has_weights
from intarsia.data.datasets.wrappers import classes_shown
from intarsia.data.labels import label_values
from intarsia.terminal import progress


def images_showing(dataset: Dataset, classes: Sequence[int]) -> Mapping[int, tuple[int, ...]]:
    """For each class the indices of the samples that show it; a class that none shows is left out.

    Every label is read once. Raises ValueError for a class that there is not, for images without labels, and for data
    that are drawn in another way already: several data sets by weights, and scenes, whose windows have no fixed place.
    """
    count = label_values(len(dataset.classes))
    wrong = [value for value in classes if value >= count]
    if wrong:
        raise ValueError(f"sampler.rare lists {wrong}, but labels of {len(dataset.classes)} classes are 0-{count - 1}")
    if any(isinstance(part, DrawingDataset) for part in _parts(dataset)):
        raise ValueError(
            "windows of scenes are at another place each time, so that none can be drawn for a class: leave out "
            "sampler.rare, and choose windows by class with RandomCrop's `rare`"
        )
    if has_weights(dataset):
        raise ValueError(
            "several data sets are drawn by weights; leave those out, or sampler.rare: a sample can follow one of both"
        )
    found = []
    with ThreadPoolExecutor() as pool, progress("looking for rare classes") as bar:
        for shown in pool.map(partial(classes_shown, dataset), range(len(dataset))):
            found.append(shown)
            bar(len(found), len(dataset))
    images = {value: tuple(index for index, seen in enumerate(found) if value in seen) for value in classes}
    return {value: indices for value, indices in images.items() if indices}


def _parts(dataset: Dataset) -> Sequence[Dataset]:
    return dataset.datasets if isinstance(dataset, MixedDataset) else (dataset,)
