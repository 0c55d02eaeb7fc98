"""The labelled images of a data set as something to divide: names, groups, and what their labels hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from intarsia.data.description.assign import own_splits, parts_of, write_lists
from intarsia.data.description.divide import COPIES, divide, group_names
from intarsia.data.description.splits import ShareSplit, Split
from intarsia.data.labels import label_values
from intarsia.terminal import progress

if TYPE_CHECKING:
    from intarsia.data.datasets.folder import FolderDataset
    from intarsia.data.description.model import DataDescription

MOST_FOLDS = 1000

Found = TypeVar("Found")


@dataclass(frozen=True)
class Pool:
    """Labelled images that are divided.

    description: with the splits they come from alone. images: paths below the root, sorted. groups: of each.
    pixels: (N, K) of each label value in each image, ignored ones left out. classes: names of the values.
    """

    description: DataDescription
    images: tuple[str, ...]
    groups: tuple[str, ...]
    pixels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def divided(self, targets: Mapping[str, float], *, seed: int, stratify: bool) -> dict[str, list[str]]:
        """The images of every part; see `divide`."""
        names = divide(self.groups, targets, seed=seed, pixels=self.pixels if stratify else None)
        return parts_of(names, self.images, list(targets))

    def of(self, images: Sequence[str]) -> Pool:
        """Some of the images."""
        index = {image: number for number, image in enumerate(self.images)}
        chosen = [index[image] for image in sorted(images)]
        return replace(
            self,
            images=tuple(self.images[number] for number in chosen),
            groups=tuple(self.groups[number] for number in chosen),
            pixels=self.pixels[chosen],
        )


def read_pool(description: DataDescription, pool: Sequence[str] = ("train",), *, by: str | None = None) -> Pool:
    """Read all labels of the splits of `pool`, in threads.

    by: what makes a group, see `group_names`; None: what the description says. "copies": pictures that are nearly the
    same, for which the images are read, too.

    Raises ValueError where labels are missing or cannot be read, or an image belongs to no group.
    """
    alone = own_splits(description, pool)
    places: dict[str, tuple[FolderDataset, int]] = {}
    for split in alone.splits:
        dataset = alone.files(split)
        for number, pair in enumerate(alone.pairs(split)):
            places.setdefault(pair.image, (dataset, number))
    images = tuple(sorted(places))
    by = description.groups if by is None else by
    groups = _copies(alone, images) if by == COPIES else group_names(images, by)
    count = label_values(alone.num_classes)

    def counted(image: str) -> npt.NDArray[np.int64]:
        dataset, number = places[image]
        label = dataset.label(number)
        values = np.zeros(0, np.int64) if label is None else label[label != dataset.ignore_index]
        return np.bincount(values.ravel(), minlength=count)[:count].astype(np.int64)

    rows = _each("reading labels", counted, images)
    classes = alone.classes if alone.num_classes > 1 else ("background", *alone.classes)
    return Pool(alone, images, tuple(groups), np.stack(rows), classes)


def _copies(description: DataDescription, images: Sequence[str]) -> list[str]:
    """The group of every image: the first, by name, of those it is nearly the same as, directly or through others."""
    from intarsia.data.doctor.near_copies import near_pairs, picture_hash

    reader = description.reader()
    hashes = _each("comparing images", lambda image: picture_hash(reader.read(description.root / image)), images)
    seen = [(index, number) for index, number in enumerate(hashes) if number is not None]
    first = list(range(len(images)))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = index = first[first[index]]
        return index

    for a, b, _ in near_pairs([number for _, number in seen]):
        one, other = sorted((root(seen[a][0]), root(seen[b][0])))
        first[other] = one
    return [images[root(index)] for index in range(len(images))]


def _each(title: str, work: Callable[[str], Found], images: Sequence[str]) -> list[Found]:
    result: list[Found] = []
    with progress(title) as bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for done, found in enumerate(threads.map(work, images), 1):
            result.append(found)
            bar(done, len(images))
    return result


def without_test(description: DataDescription, pool: Pool) -> tuple[Pool, list[str]]:
    """(what may be divided, the images of a test split that is a share of it): a test set is fixed once and for all."""
    rule = description.splits.get("test")
    if not isinstance(rule, ShareSplit) or rule.of not in pool.description.splits:
        return pool, []
    fixed = {pair.image for pair in description.pairs("test")}
    return pool.of([image for image in pool.images if image not in fixed]), sorted(fixed)


# --- Folds --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """One of `count` parts of the training images, from 1, on which a training is validated."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Fold:
        """From "2/5". Raises ValueError for anything else."""
        number, mark, count = text.partition("/")
        if not mark or not (number.isdecimal() and count.isdecimal()):
            raise ValueError(f"--fold is a number and how many folds there are, such as 2/5, found {text!r}")
        fold = cls(int(number), int(count))
        if not 2 <= fold.count <= MOST_FOLDS or not 1 <= fold.number <= fold.count:
            raise ValueError(f"--fold {text}: expected 1/5 to 5/5 for five folds, and at least two of them")
        return fold


def folds_of(pool: Pool, count: int, *, seed: int = 0, stratify: bool = True) -> list[list[str]]:
    """The images of each fold."""
    targets = {f"fold {number}": 1 / count for number in range(1, count + 1)}
    return list(pool.divided(targets, seed=seed, stratify=stratify).values())


def with_fold(
    description: DataDescription, pool: Pool, folds: Sequence[Sequence[str]], number: int, folder: Path, prefix: str
) -> DataDescription:
    """The data with fold `number`, from 1, as validation split and the others as training split, as lists in `folder`.

    A validation split with images of its own is left out; the test split stays.
    """
    train = [image for index, fold in enumerate(folds, 1) if index != number for image in fold]
    parts = {"train": train, "val": list(folds[number - 1])}
    fixed = without_test(description, pool)[1]
    if fixed:
        parts["test"] = fixed
    rules: dict[str, Split] = dict(write_lists(pool.description, parts, folder, prefix=prefix))
    if "test" in description.splits and not fixed:
        rules["test"] = description.splits["test"]
    note = f"Fold {number} of {len(folds)} of the training images is the validation split."
    return replace(description, splits=rules, notes=(*description.notes, note))


def fold_of_run(description: DataDescription, fold: str, by: str | None, run: Path) -> tuple[DataDescription, str]:
    """The data of a run that is validated on one fold, its lists in the run's folder; and a line that says so.

    Raises ValueError for a fold that cannot be, or groups that an image has no part in.
    """
    wanted = Fold.parse(fold)
    by = description.groups if by is None else by
    pool, _ = without_test(description, read_pool(description, by=by))
    folds = folds_of(pool, wanted.count)
    divided = with_fold(replace(description, groups=by), pool, folds, wanted.number, run / "fold", "")
    held = len(folds[wanted.number - 1])
    note = f"fold {wanted}: {len(pool.images) - held} images to train on, {held} to validate on"
    note += "" if by is None else f"; {len(set(pool.groups))} groups by {by!r} stay whole"
    if "val" in description.splits and not isinstance(description.splits["val"], ShareSplit):
        note += "; the val split of the data is not used"
    return divided, note
