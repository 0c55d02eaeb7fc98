"""Dividing images into parts: at random, by group, with equal shares of the classes. Files are not touched here.

Which part an image falls into is a function of the seed, the names and what the labels hold, never of the order in
which files are listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from intarsia.data.description.pairing import hash_share
from intarsia.data.slices import file_of

COPIES = "copies"
"""What `by` may say instead of something in the path: pictures that are nearly the same. Whoever reads images finds
them (`workflows/division.py`)."""

_PASSES = 8

Floats = npt.NDArray[np.float64]


def check_grouping(by: str) -> None:
    """Raise ValueError for a text that is neither a folder nor a regular expression."""
    if by == COPIES or _folder_level(by) is not None or table_column(by) is not None:
        return
    try:
        re.compile(by)
    except re.error as error:
        raise ValueError(
            f"groups by {by!r}: no regular expression ({error}); expected one, such as 'patient\\d+', or 'folder', "
            f"'folder:2' (the second folder of the path), 'list.csv:patient' (a column of a table), or {COPIES!r}"
        ) from None


def table_column(by: str) -> tuple[str, str] | None:
    """(file, title of a column) of "folds.csv:patient"; None for anything else."""
    match = re.fullmatch(r"(.+\.[ct]sv):([^:/\\]+)", by, re.IGNORECASE)
    return None if match is None else (match[1], match[2])


def group_names(images: Sequence[str], by: str | None) -> list[str]:
    """The group of every image, by its path below the root; None: each is its own, and slices are their volume's.

    by: "folder" is the path of the folder that an image lies in; "folder:2" the second folder of its path, counted from
        the root, "folder:-1" the last. Else a regular expression that is searched for in the path: what its groups
        match, or the whole match where none of them does. Columns of tables are for `together.py`, which reads files.

    Raises ValueError for a wrong `by`, and where an image does not match it.
    """
    if by is None:
        return [file_of(image) for image in images]
    check_grouping(by)
    level = _folder_level(by)
    found = [_searched(image, by) if level is None else _folder(image, level) for image in images]
    lost = [image for image, group in zip(images, found, strict=True) if group is None]
    if lost:
        raise ValueError(
            f"groups by {by!r}: {len(lost)} of {len(images)} images have no such part in their path: "
            f"{', '.join(sorted(lost)[:3])}"
        )
    return [group for group in found if group is not None]


def _folder_level(by: str) -> int | None:
    """The level of "folder:LEVEL", 0 for the whole path; None for anything else."""
    match = re.fullmatch(r"folder(?::(-?[1-9]\d{0,3}))?", by)
    return None if match is None else int(match[1] or 0)


def _folder(image: str, level: int) -> str | None:
    folders = image.split("/")[:-1]
    if level == 0:
        return "/".join(folders) or "."
    index = level - 1 if level > 0 else len(folders) + level
    return folders[index] if 0 <= index < len(folders) else None


def _searched(image: str, by: str) -> str | None:
    match = re.search(by, image)
    if match is None:
        return None
    return "\0".join(part or "" for part in match.groups()) if any(match.groups()) else match[0]


# --- Dividing -----------------------------------------------------------------------------------------------------


def divide(
    groups: Sequence[str], targets: Mapping[str, float], *, seed: int = 0, pixels: npt.NDArray[np.int64] | None = None
) -> list[str]:
    """The part of every image; those of one group are in one part.

    groups: of each image. targets: share of the images that each part should have; they sum to 1.
    pixels: (N, K), of each class in each image: then every part also gets its share of the pixels of each class, and of
        the images that show it, as far as groups allow.

    Groups are placed one after the other, those with the rarest class first and in an order that the seed shuffles,
    each where the shares come nearest to their targets; then single groups are moved while that brings them nearer. It
    is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, On the Stratification of Multi-Label Data) with
    shares of pixels beside counts of images, and squared distances in place of the largest need.

    Raises ValueError if there are fewer groups than parts.
    """
    names = sorted(set(groups), key=lambda name: (hash_share(name, f"split:{seed}"), name))
    if len(names) < len(targets):
        what = "image" if len(names) == len(groups) else "group"
        raise ValueError(
            f"{len(names)} {what}{'' if len(names) == 1 else 's'} cannot be divided into {len(targets)} parts: "
            f"{', '.join(targets)}; each needs one at least"
        )
    position = {name: index for index, name in enumerate(names)}
    member = np.array([position[group] for group in groups])
    amounts, weights, rarity = _amounts(member, len(names), pixels)
    order = np.argsort(rarity, kind="stable")
    part = _place(amounts, weights, np.array(list(targets.values())), order)
    labels = list(targets)
    return [labels[part[index]] for index in member]


def divide_in_blocks(
    count: int, targets: Mapping[str, float], *, seed: int = 0, pixels: npt.NDArray[np.int64] | None = None
) -> list[str]:
    """The part of every image of one series, in the order in which they lie: a block of neighbours for each part.

    The series is taken for a ring, so that one block may be its two ends. Where the first block begins, the seed says;
    with `pixels` (see `divide`) it is where shares of the classes come nearest to their targets.

    Raises ValueError if there are fewer images than parts.
    """
    if count < len(targets):
        raise ValueError(f"{count} images of one series cannot be divided into {len(targets)} parts")
    shares = np.array(list(targets.values())) / sum(targets.values())
    ends = np.rint(shares.cumsum() * count).astype(np.intp)
    for number in range(len(ends)):  # each has one at least
        least = 1 + (ends[number - 1] if number else 0)
        ends[number] = min(max(ends[number], least), count - len(ends) + number + 1)
    starts = np.r_[0, ends[:-1]]
    start = int(hash_share("block", f"split:{seed}") * count)
    if pixels is not None:
        amounts, weights, _ = _amounts(np.arange(count), count, pixels)
        sums = np.r_[np.zeros((1, amounts.shape[1])), np.vstack([amounts, amounts]).cumsum(0)]
        rotations = np.arange(count)
        costs = sum(
            ((sums[rotations + end] - sums[rotations + begin] - share) ** 2 / share) @ weights
            for begin, end, share in zip(starts, ends, shares, strict=True)
        )
        costs = np.roll(costs, -start)  # of equal ones that from which the seed counts
        start = (start + int(np.argmin(costs))) % count
    labels = list(targets)
    part = np.searchsorted(ends, (np.arange(count) - start) % count, side="right")
    return [labels[index] for index in part]


def _amounts(
    member: npt.NDArray[np.intp], count: int, pixels: npt.NDArray[np.int64] | None
) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """What each group has of everything that is shared out (G, D), how much that weighs (D,), and how rare it is (G,).

    Each column sums to 1 over the groups: images; pixels of every class; images with every class.
    """
    images = np.bincount(member, minlength=count)[:, None].astype(np.float64)
    if pixels is None:
        return images / images.sum(), np.ones(1), np.zeros(count, np.intp)
    shown = pixels > 0
    present = shown.any(0)
    by_group = np.zeros((count, 2 * int(present.sum())))
    np.add.at(by_group, member, np.hstack([pixels[:, present], shown[:, present]]).astype(np.float64))
    columns = np.hstack([images, by_group])
    classes = max(1, int(present.sum()))
    weights = np.array([1.0, *([1.0 / classes] * by_group.shape[1])])
    showing = by_group[:, classes:] if present.any() else by_group
    with_class = np.where(showing > 0, showing.sum(0), np.inf) if present.any() else np.full((count, 1), np.inf)
    rarest = with_class.min(1)
    return columns / columns.sum(0), weights, np.where(np.isinf(rarest), len(member) + 1, rarest).astype(np.intp)


def _place(amounts: Floats, weights: Floats, targets: Floats, order: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The part of each group (G,). The cost of parts is the weighted squared distance to their targets, over these."""
    share = targets / targets.sum()
    held = np.zeros((len(share), amounts.shape[1]))
    sizes = np.zeros(len(share), np.intp)
    part = np.full(len(amounts), -1, np.intp)

    def cost(index: int, sign: float) -> Floats:
        """By how much the cost of each part changes with (1) or without (-1) a group."""
        amount = amounts[index]
        changes = (2 * sign * amount * (held - share[:, None]) + amount**2) @ weights
        return np.asarray(changes / share)

    def put(index: int, to: int) -> None:
        if part[index] >= 0:
            held[part[index]] -= amounts[index]
            sizes[part[index]] -= 1
        held[to] += amounts[index]
        sizes[to] += 1
        part[index] = to

    for index in order:
        put(index, int(np.argmin(cost(index, 1))))
    for _ in range(_PASSES):
        moved = False
        for index in order:
            here = part[index]
            gain = cost(index, 1) + cost(index, -1)[here]
            gain[here] = 0
            best = int(np.argmin(gain))
            if gain[best] < -1e-9 and sizes[here] > 1:
                put(index, best)
                moved = True
        if not moved:
            break
    for empty in np.flatnonzero(sizes == 0):
        movable = [index for index in order if sizes[part[index]] > 1]
        put(min(movable, key=lambda index: cost(index, 1)[empty] + cost(index, -1)[part[index]]), int(empty))
    return part
