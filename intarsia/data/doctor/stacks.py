"""Finds that files are volumes or stacks, of which the slices are the images, and along which axis these are taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from intarsia.data.description.pairing import Pair
from intarsia.data.description.splits import FolderSplit, JoinedSplit, OwnSplit, list_split
from intarsia.data.doctor.findings import many, some
from intarsia.data.doctor.rules import SplitRules
from intarsia.data.nifti import nifti_header
from intarsia.data.orientation import AXES, PLANES, Axis, letters, orientation
from intarsia.data.slices import STACK_SUFFIXES, count_slices, file_of, is_volume, suffix_of

Entry = TypeVar("Entry")

_LOOKED_AT = 8
_THICK = 1.5
"""Slices are taken along the axis whose spacing is so many times that along z, and so across the finest planes."""


def with_slices(root: Path, found: SplitRules) -> None:
    """Take the slices of volumes and stacks as images, in all splits along one axis, and say so."""
    pairs = [pair for listing in found.listings.values() for pair in listing.pairs]
    sliced = [pair for pair in pairs if is_volume(pair.image)]
    axis: Axis = "z"
    if sliced:
        axis, why = _axis(root, sliced)
        what = "volume"
    elif _are_stacks(root, pairs):
        what, why, sliced = "stack", "pages or frames; image and label have as many", pairs
    else:
        return
    for split, rule in found.rules.items():
        found.rules[split] = _sliced(rule, axis)
        found.listings[split] = list_split(root, found.rules[split])
    count = sum(len(listing.pairs) for listing in found.listings.values())
    taken = (
        f"{many(len(sliced), what)} {'is' if len(sliced) == 1 else 'are'} taken as {count} slices along {axis} ({why})"
    )
    found.notes.append(
        f"{taken}; the slices of one stay together in a split, and those without a label other than 0 are kept "
        "(`empty_slices: skip` leaves them out)"
    )


def _sliced(rule: OwnSplit, axis: Axis) -> OwnSplit:
    if isinstance(rule, FolderSplit):
        return replace(rule, source=replace(rule.source, slices=axis))
    if isinstance(rule, JoinedSplit):
        return rule.with_folders(lambda part: replace(part, source=replace(part.source, slices=axis)))
    return rule


def _axis(root: Path, pairs: Sequence[Pair]) -> tuple[Axis, str]:
    """The axis across the finest planes by most of the headers, z in doubt; and the spacing that decided.

    Of volumes that do not all lie alike, labels included, it is a plane of the patient.
    """
    lying = _lying(root, pairs)
    votes: Counter[Axis] = Counter()
    spacings: Counter[tuple[str, ...]] = Counter()
    for file in _spread(list(dict.fromkeys(file_of(pair.image) for pair in pairs))):
        try:
            header = nifti_header(root / file)
            spacing, names = header.spacing, AXES
            if len(lying) > 1:
                names = tuple(PLANES[n] for n in _order([side.axis for side in orientation(header.raw)]))
        except ValueError:  # said when it is read
            continue
        widest = max(range(3), key=lambda number: (spacing[number], number))
        votes[names[widest] if spacing[widest] >= _THICK * spacing[2] else names[2]] += 1
        spacings[tuple(f"{step:.3g}" for step in spacing)] += 1
    if not votes:
        return "z", "the third axis"
    axis = votes.most_common(1)[0][0]
    if len(lying) > 1:
        return axis, f"the volumes lie in {len(lying)} ways, {some(sorted(lying), 4)}, and are seen in one"
    return axis, f"{' x '.join(spacings.most_common(1)[0][0])} mm apart along x, y and z"


def _order(axes: Sequence[int]) -> list[int]:
    """Of each axis of a volume, to which direction of the patient it belongs."""
    return [axes.index(axis) for axis in range(3)]


def _lying(root: Path, pairs: Sequence[Pair]) -> set[str]:
    """The ways in which volumes and their labels lie, as "RAS"; none where one does not say it."""
    found = set()
    for file in dict.fromkeys(file_of(path) for pair in pairs for path in (pair.image, pair.label) if path):
        if is_volume(file):
            try:
                found.add(letters(nifti_header(root / file).raw))
            except ValueError:  # said when it is read
                continue
    return set() if "" in found else found


def _are_stacks(root: Path, pairs: Sequence[Pair]) -> bool:
    """Whether image and label files hold several pages or frames, as many in one as in the other."""
    looked = [pair for pair in _spread(pairs) if pair.label is not None and not pair.masks]
    paths = [path for pair in looked for path in (pair.image, pair.label or "")]
    if not looked or any(suffix_of(path) not in STACK_SUFFIXES for path in paths):
        return False
    try:
        counts = [(_pages(root, pair.image), _pages(root, pair.label or "")) for pair in looked]
    except ValueError:
        return False
    return all(own == other for own, other in counts) and max(own for own, _ in counts) > 1


def _pages(root: Path, path: str) -> int:
    return count_slices(root / path, "z")


def _spread(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Some of many, from all over."""
    return entries[:: max(1, len(entries) // _LOOKED_AT)][:_LOOKED_AT]
