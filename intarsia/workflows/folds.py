"""Folds: the training images in so many parts, each of which is the validation split of one training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.data.description.assign import write_lists
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.splits import ShareSplit, Split
from intarsia.workflows.division import (
    Pool,
    data_of,
    divide_pools,
    kept_in,
    read_pools,
    things_in,
    with_splits,
    without_test,
)

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

MOST_FOLDS = 1000


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


@dataclass(frozen=True)
class Folds:
    """What is divided into folds.

    images: of each fold, by the name of the data set ("" where there is one). groups: what stays together, None for
    what the description says.
    """

    description: DataDescription
    pools: tuple[Pool, ...]
    images: tuple[Mapping[str, Sequence[str]], ...]
    groups: str | None

    @property
    def sizes(self) -> list[int]:
        """The number of images, or of blocks, of each fold."""
        return [sum(map(len, fold.values())) for fold in self.images]

    @property
    def what(self) -> str:
        """What there is a number of: "images", "blocks" of scenes, or both."""
        return things_in(self.pools)

    def description_of(self, number: int, folder: Path, prefix: str = "") -> DataDescription:
        """The data with fold `number`, from 1, as validation split and the others as training split, lists in `folder`.

        A validation split with images of its own is left out; the test split stays.
        """
        splits: dict[str, dict[str, Split]] = {}
        if isinstance(self.description, MixedDescription):
            splits = {one.name: _test_alone(one.description) for one in self.description.members}
        for pool in self.pools:
            own = data_of(pool, self.description)
            others = [fold[pool.member] for index, fold in enumerate(self.images, 1) if index != number]
            parts = {"train": [image for fold in others for image in fold]}
            parts["val"] = list(self.images[number - 1][pool.member])
            if fixed := without_test(pool, self.description)[1]:
                parts["test"] = fixed
            name = f"{prefix}{pool.member}_" if pool.member else prefix
            parts = {part: images for part, images in parts.items() if images}
            written = write_lists(pool.description, parts, folder, prefix=name)
            splits[pool.member] = {**written, **_test_alone(own)}
        whole = with_splits(self.description, splits, groups=self.groups)
        note = f"Fold {number} of {len(self.images)} of the training images is the validation split."
        return replace(whole, notes=(*self.description.notes, note))


def _test_alone(description: DataDescription) -> dict[str, Split]:
    """The test split of a data set, where it has files of its own."""
    rule = description.splits.get("test")
    return {} if rule is None or isinstance(rule, ShareSplit) else {"test": rule}


def folds_of(
    description: DataDescription,
    count: int,
    *,
    pool: Sequence[str] = ("train",),
    by: str | None = None,
    seed: int = 0,
    stratify: bool = True,
) -> Folds:
    """The training images in so many parts, those of each of several data sets by themselves (see `divide_pools`).

    Raises ValueError as `read_pools` and `divide`.
    """
    pools = read_pools(description, pool, by=by)
    targets = {f"fold {number}": 1 / count for number in range(1, count + 1)}
    free = [without_test(one, description)[0] for one in pools]
    divided = divide_pools(free, targets, seed=seed, stratify=stratify)
    images = tuple({name: folds.get(part, []) for name, folds in divided.items()} for part in targets)
    return Folds(description, pools, images, by)


def fold_of_run(description: DataDescription, fold: str, by: str | None, run: Path) -> tuple[DataDescription, str]:
    """The data of a run that is validated on one fold, its lists in the run's folder; and a line that says so.

    Raises ValueError for a fold that cannot be, or groups that an image has no part in.
    """
    wanted = Fold.parse(fold)
    folds = folds_of(description, wanted.count, by=by)
    divided = folds.description_of(wanted.number, run / "fold")
    held = folds.sizes[wanted.number - 1]
    note = f"fold {wanted}: {sum(folds.sizes) - held} {folds.what} to train on, {held} to validate on"
    note += kept_whole(folds)
    own = [data_of(pool, description).splits.get("val") for pool in folds.pools]
    if any(rule is not None and not isinstance(rule, ShareSplit) for rule in own):
        note += "; the val split of the data is not used"
    return divided, note


def kept_whole(folds: Folds) -> str:
    """What stays together in folds, as the end of a sentence; "" for nothing."""
    return "".join(f"; {text}" for text in kept_in(folds.pools))
