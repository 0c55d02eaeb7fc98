"""Pictures that are in more than one split: exact copies, and those that are nearly the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from intarsia.data.description.divide import COPIES, group_names
from intarsia.data.description.model import DataDescription
from intarsia.data.description.splits import ShareSplit
from intarsia.data.description.together import belong_together
from intarsia.data.doctor.findings import Finding, many
from intarsia.data.doctor.measure import BySplit, all_of, duplicates
from intarsia.data.doctor.near_copies import near_pairs
from intarsia.data.doctor.torn import division_command

_GROUPINGS = ("folder", r"[^/]+(?=[_-][^/_-]*$)", r"[^/_-]+(?=[_-][^/]*$)")
"""What may keep copies together: their folder; a name without its last part, or the first part of it alone."""


def leaks(measured: BySplit, description: DataDescription | None, place: Path) -> Iterable[Finding]:
    """The same picture in training and validation makes scores too good; twice in one split it only counts double.

    place: of the data, as somebody would write it: the folder, or the file of the description.
    """
    home = {entry.pair.image: split for split, entries in measured.items() for entry in entries}
    groups = [[entry.pair.image for entry in group] for group in duplicates(all_of(measured))]
    across = [group for group in groups if len({home[image] for image in group}) > 1]
    within = [group for group in groups if group not in across]
    if across:
        where = f"more than one split ({_counted(across, home)})"
        text = f"{many(len(across), 'picture')} in {where}: scores would be too good"
        shown = tuple(" = ".join(f"{home[image]}: {image}" for image in group) for group in across)
        advice = f"remove them from one of the splits, or divide anew: {_command(across, home, description, place)}"
        yield Finding("leak", text, advice, shown)
    near = list(_near(measured, home))
    if near:
        pairs = [(first, second) for first, second, _ in near]
        text = f"{many(len(near), 'pair')} of nearly the same picture in different splits ({_counted(pairs, home)})"
        shown = tuple(f"{home[a]}: {a} ~ {home[b]}: {b} ({bits} of 64 bits differ)" for a, b, bits in near)
        yield Finding("near duplicates", text, _advice(pairs, home, description, place), shown)
    if within:
        yield Finding(
            "duplicates",
            f"{many(len(within), 'picture')} more than once in a split",
            "harmless if meant; else remove the copies",
            tuple(" = ".join(group) for group in within),
        )


def _near(measured: BySplit, home: Mapping[str, str]) -> Iterable[tuple[str, str, int]]:
    """(image, image, bits that differ) of pictures in different splits that are no exact copies, the nearest first."""
    entries = [entry for entry in all_of(measured) if entry.image is not None and entry.image.hash is not None]
    pairs = near_pairs([entry.image.hash for entry in entries if entry.image and entry.image.hash is not None])
    for first, second, bits in sorted(pairs, key=lambda pair: (pair[2], *pair)):
        a, b = entries[first], entries[second]
        assert a.image is not None
        assert b.image is not None
        if home[a.pair.image] != home[b.pair.image] and a.image.digest != b.image.digest:
            yield a.pair.image, b.pair.image, bits


def _advice(
    pairs: Sequence[tuple[str, str]], home: Mapping[str, str], description: DataDescription | None, place: Path
) -> str:
    """What to do with pictures that are nearly the same: slices of different patients are, and no division helps."""
    look = "look at them: scores are too good where one gives away the other"
    kept = None if description is None else belong_together(description.root, sorted(home), description.groups)
    if kept is not None and kept.is_one:
        return f"{look}; {kept}, so that only images of another one would say how good a model is"
    if kept is not None and kept.what:
        group = dict(zip(kept.images, kept.groups, strict=True))
        if all(group[a] != group[b] for a, b in pairs):
            return f"{look}; {kept}, and these are of different ones"
    return f"{look}; to keep such together divide anew: {_command(pairs, home, description, place)}"


def _counted(groups: Sequence[Sequence[str]], home: Mapping[str, str]) -> str:
    """How many images of each split are concerned: "2 of train, 1 of val"."""
    images = {image for group in groups for image in group}
    return ", ".join(f"{sum(home[i] == split for i in images)} of {split}" for split in dict.fromkeys(home.values()))


def _command(
    groups: Sequence[Sequence[str]], home: Mapping[str, str], description: DataDescription | None, place: Path
) -> str:
    """The command that divides the data so that these pictures stay together: by their names, if these tell."""
    pool = list(dict.fromkeys(home[image] for group in groups for image in group))
    rules = {} if description is None else description.splits
    shares = {split: rule.of for split, rule in rules.items() if isinstance(rule, ShareSplit)}
    by = next((f"'{by}'" for by in _GROUPINGS if _keeps_together(by, groups, list(home))), COPIES)
    return division_command(place, [shares.get(split, split) for split in pool], by)


def _keeps_together(by: str, groups: Sequence[Sequence[str]], images: Sequence[str]) -> bool:
    """Whether each of these pictures is in one group, and there are several groups to divide."""
    try:
        found = dict(zip(images, group_names(images, by), strict=True))
    except ValueError:
        return False
    return len(set(found.values())) > 2 and all(len({found[image] for image in group}) == 1 for group in groups)
