"""Labelled images, or blocks of scenes, as something to divide: names, groups, and what their labels hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from intarsia.data.description.apart import advice_of
from intarsia.data.description.assign import own_splits, parts_of
from intarsia.data.description.divide import COPIES, divide, divide_in_blocks
from intarsia.data.description.mixed import Member, MixedDescription, whole_window
from intarsia.data.description.splits import MemberSplit, ShareSplit, Split, scene_rules
from intarsia.data.description.together import Together, belong_together
from intarsia.data.labels import label_values
from intarsia.data.scenes.ground import blocks_on_same_ground
from intarsia.io.cores import available_cores
from intarsia.label_sets import has
from intarsia.terminal import progress

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription, OwnDataset
    from intarsia.data.scenes.rule import SceneWindow

Found = TypeVar("Found")


@dataclass(frozen=True)
class Pool:
    """Labelled images that are divided.

    description: with the splits they come from alone. images: paths below the root, of scenes blocks ("north/0_2"),
    sorted. groups: of each. pixels: (N, K) of each label value in each image, ignored ones left out, or of each class
    where a pixel may have several. classes: names of the values. member: which of several data sets it is, or "".
    windows: of scenes of one of several data sets, with whole paths and units that begin with its name.
    kept: what stays whole, in words. order: of images that are all of one volume or series, the numbers of neighbours
    one after the other; there is nothing to divide whole then, and each image is its own group.
    """

    description: DataDescription
    images: tuple[str, ...]
    groups: tuple[str, ...]
    pixels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    member: str = ""
    windows: tuple[SceneWindow, ...] = ()
    kept: str = ""
    order: tuple[int, ...] = ()

    def divided(self, targets: Mapping[str, float], *, seed: int, stratify: bool) -> dict[str, list[str]]:
        """The images of every part; see `divide`."""
        if self.order:
            pixels = self.pixels[list(self.order)] if stratify else None
            names = divide_in_blocks(len(self.images), targets, seed=seed, pixels=pixels)
            return parts_of(names, [self.images[number] for number in self.order], list(targets))
        try:
            names = divide(self.groups, targets, seed=seed, pixels=self.pixels if stratify else None)
        except ValueError as error:
            if things_in([self]) == "images":
                if not self.kept:
                    raise
                raise ValueError(f"{error}. {self.kept}; --by says it in another way") from None
            raise ValueError(
                f"{error}. Of scenes, a block is what is divided, and those on the same ground are one: a smaller "
                "`block:` in the description (of at least its window) makes more of them"
            ) from None
        return parts_of(names, self.images, list(targets))

    def of(self, images: Sequence[str]) -> Pool:
        """Some of the images."""
        index = {image: number for number, image in enumerate(self.images)}
        chosen = [index[image] for image in sorted(images)]
        place = {number: new for new, number in enumerate(chosen)}
        return replace(
            self,
            images=tuple(self.images[number] for number in chosen),
            groups=tuple(self.groups[number] for number in chosen),
            pixels=self.pixels[chosen],
            order=tuple(place[number] for number in self.order if number in place),
        )


def read_pools(
    description: DataDescription, pool: Sequence[str] = ("train",), *, by: str | None = None
) -> tuple[Pool, ...]:
    """One pool; of several data sets one for each that has a split of `pool`, labels in the common classes.

    by: what makes a group, see `group_names`; None: what the description says, of several data sets that of each.
    "copies": pictures that are nearly the same, for which the images are read, too.

    Raises ValueError where labels are missing or cannot be read, or an image belongs to no group.
    """
    if not isinstance(description, MixedDescription):
        return (_read(description, pool, by),)
    found = []
    for member in description.members:
        own = [name for name in pool if name in member.description.splits]
        if own:
            found.append(_read(member.description, own, by, description, member))
    if not found:
        own_splits(description, pool)
    return tuple(found)


def _read(
    description: DataDescription,
    pool: Sequence[str],
    by: str | None,
    common: MixedDescription | None = None,
    member: Member | None = None,
) -> Pool:
    alone = own_splits(description, pool)
    if len({alone.shows_scenes(split) for split in alone.splits}) > 1:
        raise ValueError(
            f"{', '.join(pool)} are windows of scenes and images, which are divided each by itself. "
            f"{advice_of(description)}"
        )
    places: dict[str, list[tuple[OwnDataset, int]]] = {}
    windows = []
    for split in alone.splits:
        dataset, pairs = alone.own_dataset(split), alone.pairs(split)
        if common is not None and member is not None:
            dataset = dataset.with_classes(common.classes, common.colours, common.table_of(member))
        windows += [pair.window for pair in pairs if pair.window is not None]
        for number, pair in enumerate(pairs):
            known = places.setdefault(pair.listed_as, [])
            if not known or pair.window is not None:  # a block has many windows, an image one label
                known.append((dataset, number))
    images = tuple(sorted(places))
    by = description.groups if by is None else by
    together = _together(alone, images, windows, by)
    named = alone if common is None else common
    count = len(named.classes) if named.multi_label else label_values(named.num_classes)

    def counted(image: str) -> npt.NDArray[np.int64]:
        found = np.zeros(count, np.int64)
        for dataset, number in places[image]:
            label = dataset.label(number)
            values = np.zeros(0, np.int64) if label is None else label[label != dataset.ignore_index]
            if named.multi_label:
                found += [int(has(values, k).sum()) for k in range(count)]
            else:
                found += np.bincount(values.ravel(), minlength=count)[:count]
        return found

    rows = _each("reading labels", counted, images)
    classes = named.classes if named.num_classes > 1 else ("background", *named.classes)
    order = tuple(together.in_order(range(len(images)))) if together.is_one else ()
    groups = images if order else together.groups
    found = Pool(alone, images, groups, np.stack(rows), classes, kept=str(together), order=order)
    if common is None or member is None:
        return found
    return replace(found, member=member.name, windows=tuple(whole_window(member, window) for window in windows))


def _together(
    description: DataDescription, images: tuple[str, ...], windows: Sequence[SceneWindow], by: str | None
) -> Together:
    """What each image, or block of scenes, belongs to."""
    root = description.root
    if windows:
        groups, what = _block_groups(description, images, windows, by), "" if by is None else f"groups by '{by}'"
        return Together(root, images, tuple(groups), what, is_chosen=by is not None, is_block=True)
    if by == COPIES:
        return Together(root, images, tuple(_copies(description, images)), f"groups by '{by}'", is_chosen=True)
    return belong_together(root, images, by)


def _block_groups(
    description: DataDescription, blocks: Sequence[str], windows: Sequence[SceneWindow], by: str | None
) -> list[str]:
    """The group of every block: itself, or what the path of its scene says; those on the same ground are in one.

    Raises ValueError for copies, which scenes are not searched for.
    """
    if by == COPIES:
        raise ValueError(
            f"groups by {COPIES!r} are found by looking at pictures, and scenes say by their place which ground they "
            "share: blocks on the same ground stay together without it; leave it out"
        )
    scene = {window.unit: window.scene for window in windows}
    names = (
        list(blocks)
        if by is None
        else list(belong_together(description.root, [scene[block] for block in blocks], by).groups)
    )
    index = {block: number for number, block in enumerate(blocks)}
    same = ((index[a], index[b]) for a, b in blocks_on_same_ground(description.root, windows))
    named: dict[str, int] = {}
    alike = ((named.setdefault(name, number), number) for number, name in enumerate(names))
    return [names[first] for first in _united(len(blocks), (*same, *alike))]


def _copies(description: DataDescription, images: Sequence[str]) -> list[str]:
    """The group of every image: the first, by name, of those it is nearly the same as, directly or through others."""
    from intarsia.data.doctor.near_copies import near_pairs, picture_hash

    reader = description.reader()
    hashes = _each("comparing images", lambda image: picture_hash(reader.read(description.root / image)), images)
    seen = [(index, number) for index, number in enumerate(hashes) if number is not None]
    near = ((seen[a][0], seen[b][0]) for a, b, _ in near_pairs([number for _, number in seen]))
    return [images[first] for first in _united(len(images), near)]


def _united(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The first of those that each of so many is connected with, directly or through others."""
    first = list(range(count))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = index = first[first[index]]
        return index

    for a, b in pairs:
        one, other = sorted((root(a), root(b)))
        first[other] = one
    return [root(index) for index in range(count)]


def _each(title: str, work: Callable[[str], Found], images: Sequence[str]) -> list[Found]:
    result: list[Found] = []
    with progress(title) as bar, ThreadPoolExecutor(min(8, available_cores())) as threads:
        for done, found in enumerate(threads.map(work, images), 1):
            result.append(found)
            bar(done, len(images))
    return result


def without_test(pool: Pool, description: DataDescription) -> tuple[Pool, list[str]]:
    """(what may be divided, the images of a test split that is a share of it): a test set is fixed once and for all.

    description: of all splits, of the pool's data set or of several.
    """
    own = data_of(pool, description)
    rule = own.splits.get("test")
    if not isinstance(rule, ShareSplit) or rule.of not in pool.description.splits:
        return pool, []
    fixed = {pair.listed_as for pair in own.pairs("test")}
    return pool.of([image for image in pool.images if image not in fixed]), sorted(fixed)


def divide_pools(
    pools: Sequence[Pool], targets: Mapping[str, float], *, seed: int, stratify: bool
) -> dict[str, dict[str, list[str]]]:
    """The images of every part of each data set, see `divide`: each by itself, but together where scenes of two show
    the same ground. A data set has no part in which nothing of it falls.

    Raises ValueError for fewer groups than parts.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for together, same in _on_common_ground(pools):
        if len(together) == 1:
            found[together[0].member] = together[0].divided(targets, seed=seed, stratify=stratify)
            continue
        parts = _joint(together, same).divided(targets, seed=seed, stratify=stratify)
        for pool in together:
            start = f"{pool.member}/"
            own = {part: [one.removeprefix(start) for one in images if one.startswith(start)]
                   for part, images in parts.items()}  # fmt: skip
            found[pool.member] = {part: images for part, images in own.items() if images}
    return {pool.member: found[pool.member] for pool in pools}


def _on_common_ground(pools: Sequence[Pool]) -> Iterator[tuple[list[Pool], list[tuple[str, str]]]]:
    """Pools that must be divided together, and the pairs of their blocks, by data set and unit, on the same ground."""
    units = {f"{pool.member}/{image}": number for number, pool in enumerate(pools) for image in pool.images}
    windows = [window for pool in pools for window in pool.windows if window.unit in units]
    same = list(blocks_on_same_ground(Path(), windows)) if sum(bool(pool.windows) for pool in pools) > 1 else []
    first = _united(len(pools), ((units[a], units[b]) for a, b in same))
    for number in dict.fromkeys(first):
        together = [pool for pool, start in zip(pools, first, strict=True) if start == number]
        yield together, [pair for pair in same if first[units[pair[0]]] == number]


def _joint(pools: Sequence[Pool], same: Iterable[tuple[str, str]]) -> Pool:
    """Several pools as one, images and groups by data set. same: pairs of blocks that are one group."""
    images = [f"{pool.member}/{image}" for pool in pools for image in pool.images]
    names = [f"{pool.member}/{group}" for pool in pools for group in pool.groups]
    index = {image: number for number, image in enumerate(images)}
    named: dict[str, int] = {}
    alike = ((named.setdefault(name, number), number) for number, name in enumerate(names))
    first = _united(len(images), (*((index[a], index[b]) for a, b in same), *alike))
    groups = tuple(names[number] for number in first)
    return replace(pools[0], images=tuple(images), groups=groups, pixels=np.concatenate([one.pixels for one in pools]))


def data_of(pool: Pool, description: DataDescription) -> DataDescription:
    """The description of a pool's data set, with all its splits."""
    if not isinstance(description, MixedDescription):
        return description
    return next(member.description for member in description.members if member.name == pool.member)


def with_splits(
    description: DataDescription, changed: Mapping[str, Mapping[str, Split]], *, groups: str | None = None
) -> DataDescription:
    """The same data with other splits, by the name of the data set ("" where there is one).

    Data sets that keep no split are left out. groups: what stays together, where it is said for all.
    """
    if not isinstance(description, MixedDescription):
        return replace(description, splits=dict(changed[""]), groups=groups or description.groups)
    members = tuple(
        replace(one, description=with_splits(one.description, {"": changed[one.name]}, groups=groups))
        for one in description.members
        if changed[one.name]
    )
    names = {name for one in members for name in one.description.splits}
    splits: dict[str, Split] = {
        name: MemberSplit(tuple(one.name for one in members if name in one.description.splits))
        for name in ("train", "val", "test")
        if name in names
    }
    return replace(description, members=members, splits=splits)


def things_in(pools: Sequence[Pool]) -> str:
    """What is divided: "images", "blocks" of scenes, or both."""
    kinds = {bool(scene_rules(rule)) for pool in pools for rule in pool.description.splits.values()}
    return " and ".join(name for of_scenes, name in ((False, "images"), (True, "blocks")) if of_scenes in kinds)


def kept_in(pools: Sequence[Pool]) -> list[str]:
    """What a division keeps whole, in words; of several data sets with their names."""
    found = []
    for pool in pools:
        text = f"{pool.kept}, of which each part has a block of neighbours" if pool.order else pool.kept
        found += [f"{pool.member}: {text}" if pool.member else text] if text else []
    return found
