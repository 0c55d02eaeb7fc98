"""Pictures that are in more than one split: exact copies, and those that are nearly the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from intarsia.data.description.divide import COPIES, group_names
from intarsia.data.description.model import DataDescription
from intarsia.data.description.splits import ShareSplit
from intarsia.data.doctor.findings import Finding, many
from intarsia.data.doctor.measure import BySplit, all_of, duplicates
from intarsia.data.doctor.near_copies import near_pairs

_GROUPINGS = ("folder", r"[^/]+(?=[_-][^/_-]*$)", r"[^/_-]+(?=[_-][^/]*$)")
"""What may keep copies together: their folder; a name without its last part, or the first part of it alone."""


def leaks(measured: BySplit, description: DataDescription | None) -> Iterable[Finding]:
    """The same picture in training and validation makes scores too good; twice in one split it only counts double."""
    home = {entry.pair.image: split for split, entries in measured.items() for entry in entries}
    groups = [[entry.pair.image for entry in group] for group in duplicates(all_of(measured))]
    across = [group for group in groups if len({home[image] for image in group}) > 1]
    within = [group for group in groups if group not in across]
    if across:
        where = f"more than one split ({_counted(across, home)})"
        text = f"{many(len(across), 'picture')} in {where}: scores would be too good"
        shown = tuple(" = ".join(f"{home[image]}: {image}" for image in group) for group in across)
        advice = f"remove them from one of the splits, or divide anew: {_command(across, home, description)}"
        yield Finding("leak", text, advice, shown)
    near = list(_near(measured, home))
    if near:
        pairs = [(first, second) for first, second, _ in near]
        text = f"{many(len(near), 'pair')} of nearly the same picture in different splits ({_counted(pairs, home)})"
        shown = tuple(f"{home[a]}: {a} ~ {home[b]}: {b} ({bits} of 64 bits differ)" for a, b, bits in near)
        advice = "look at them: scores are too good where one gives away the other; to keep such together divide anew: "
        yield Finding("near duplicates", text, advice + _command(pairs, home, description), shown)
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


def _counted(groups: Sequence[Sequence[str]], home: Mapping[str, str]) -> str:
    """How many images of each split are concerned: "2 of train, 1 of val"."""
    images = {image for group in groups for image in group}
    return ", ".join(f"{sum(home[i] == split for i in images)} of {split}" for split in dict.fromkeys(home.values()))


def _command(groups: Sequence[Sequence[str]], home: Mapping[str, str], description: DataDescription | None) -> str:
    """The command that divides the data so that these pictures stay together: by their names, if these tell."""
    pool = list(dict.fromkeys(home[image] for group in groups for image in group))
    rules = {} if description is None else description.splits
    shares = {split: rule.of for split, rule in rules.items() if isinstance(rule, ShareSplit)}
    pool = list(dict.fromkeys(shares.get(split, split) for split in pool))
    option = f" --pool {','.join(pool)}" if pool != ["train"] else ""
    by = next((f"'{by}'" for by in _GROUPINGS if _keeps_together(by, groups, list(home))), COPIES)
    place = "DIR" if description is None else description.root
    return f"intarsia data split {place}{option} --by {by} -o OUT"


def _keeps_together(by: str, groups: Sequence[Sequence[str]], images: Sequence[str]) -> bool:
    """Whether each of these pictures is in one group, and there are several groups to divide."""
    try:
        found = dict(zip(images, group_names(images, by), strict=True))
    except ValueError:
        return False
    return len(set(found.values())) > 2 and all(len({found[image] for image in group}) == 1 for group in groups)
