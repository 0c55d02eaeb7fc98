"""The data doctor for several data sets that are brought into one list of classes."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from intarsia.data.description.mixed import (
    Member,
    MixedDescription,
    common_inputs,
    common_values,
    image_conflict,
    lacking,
)
from intarsia.data.description.model import BACKGROUND, IGNORE, DataDescription
from intarsia.data.doctor.findings import Finding, Findings, ImageFindings, SplitFindings, ValueRow, some
from intarsia.data.scenes.ground import blocks_on_same_ground

_REST = (BACKGROUND, "other", "others", "rest", "unlabelled", "unlabeled", "void", "none", "nothing", "unknown")
"""Names of classes that stand for whatever has no class of its own."""


def examine_mixed(
    path: Path, description: MixedDescription, examine: Callable[[DataDescription], Findings]
) -> Findings:
    """What the doctor finds in each data set, in terms of the common classes, and in what they are together.

    examine: looks at one data set by its description.
    """
    found = {member.name: examine(member.description) for member in description.members}
    members = tuple(replace(member, description=found[member.name].proposal()) for member in description.members)
    conflict = image_conflict(members)
    problems = [_of(name, one) for name, part in found.items() for one in part.problems]
    if conflict is not None:
        problems.append(Finding("different images", conflict))
        completed = description
    else:
        completed = _completed(description, members, found)
    warnings = [_of(name, one) for name, part in found.items() for one in part.warnings]
    warnings += [*_background(description), *_nowhere(description), *_in_both(description), *_on_both(description)]
    values = _values(description, found)
    splits = [replace(split, name=f"{name} {split.name}") for name, part in found.items() for split in part.splits]
    return Findings(
        path=path,
        root=description.root,
        layout=None,
        splits=tuple(replace(split, valid=_valid(split, values)) for split in splits),
        images=_images([part.images for part in found.values() if part.images is not None]),
        labels=None,
        values=values,
        problems=tuple(problems),
        warnings=tuple(warnings),
        notes=(*_notes(completed), *(f"[{name}] {note}" for name, part in found.items() for note in part.notes)),
        mean=completed.mean,
        std=completed.std,
        description=completed,
    )


def _of(name: str, finding: Finding) -> Finding:
    return replace(finding, text=f"[{name}] {finding.text}")


# --- Together -----------------------------------------------------------------------------------------------------


def _completed(
    description: MixedDescription, members: Sequence[Member], found: Mapping[str, Findings]
) -> MixedDescription:
    """With mean, deviation and shares of classes of what training draws, unless the file says them."""
    names = next((member.description.names for member in members if any(member.description.names)), description.names)
    result = replace(
        description,
        members=tuple(members),
        names=description.names or names,
        values=description.values or common_values(members),
        inputs=common_inputs(members),
    )
    if "train" not in result.splits:
        return result
    drawn = result.shares_of("train")
    sums = [
        (share, member.description.mean, member.description.std)
        for member in members
        if (share := drawn.get(member.name)) is not None
    ]
    if description.mean is None or description.std is None:
        mean, std = _together([(share, mean, std) for share, mean, std in sums if mean is not None and std is not None])
        if mean:
            result = replace(result, mean=mean, std=std)
    return replace(result, shares=description.shares or _shares(result, drawn, found) or None)


def _together(
    parts: Sequence[tuple[float, Sequence[float], Sequence[float]]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of a mixture of (share, mean, deviation), per channel."""
    total = sum(share for share, _, _ in parts)
    means, deviations = [], []
    for channel in range(len(parts[0][1]) if parts else 0):
        mean = sum(share * own[channel] for share, own, _ in parts) / total
        square = sum(share * (std[channel] ** 2 + own[channel] ** 2) for share, own, std in parts) / total
        means.append(float(f"{mean:.6g}"))
        deviations.append(float(f"{math.sqrt(max(square - mean**2, 0.0)):.6g}") or 1.0)
    return tuple(means), tuple(deviations)


def _shares(
    description: MixedDescription, drawn: Mapping[str, float], found: Mapping[str, Findings]
) -> dict[str, float]:
    """The share of each class of the labelled pixels of what training draws, an image of each data set as any other."""
    names = description.classes if description.num_classes > 1 else (BACKGROUND, *description.classes)
    sums = dict.fromkeys(names, 0.0)
    for member in description.members_of("train"):
        for row in found[member.name].values:
            meant = None if row.name is None else member.meaning(row.name)
            if meant in sums:
                sums[meant] += drawn[member.name] * row.shares.get("train", 0.0)
    total = sum(sums.values())
    return {name: float(f"{share / total:.4g}") for name, share in sums.items()} if total else {}


def _values(description: MixedDescription, found: Mapping[str, Findings]) -> tuple[ValueRow, ...]:
    """A row for each common class, and one for what is ignored, with a column for each split of each data set.

    Where several classes of a data set are one, the images are those that show the most frequent of them: at least so
    many show the common class.
    """
    names = description.classes if description.num_classes > 1 else (BACKGROUND, *description.classes)
    rows = {name: ValueRow(description.class_index(name), name, {}, {}, {}) for name in (*names, IGNORE)}
    pixels, images = ({name: Counter[str]() for name in rows} for _ in range(2))
    shares: dict[str, dict[str, float]] = {name: {} for name in rows}
    for member in description.members:
        for row in found[member.name].values:
            name = None if row.name is None else member.meaning(row.name)
            if name is None:
                continue  # the data set's own problem says it
            for split in row.pixels:
                column = f"{member.name} {split}"
                pixels[name][column] += row.pixels[split]
                shares[name][column] = shares[name].get(column, 0.0) + row.shares[split]
                images[name][column] = max(images[name][column], row.images[split])
    return tuple(
        replace(row, pixels=dict(pixels[name]), shares=shares[name], images=dict(images[name]))
        for name, row in rows.items()
    )


def _valid(split: SplitFindings, values: Sequence[ValueRow]) -> float:
    return sum(row.shares.get(split.name, 0.0) for row in values if row.name != IGNORE)


def _images(parts: Sequence[ImageFindings]) -> ImageFindings | None:
    if not parts:
        return None
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    channels: Counter[int] = Counter()
    dtypes: Counter[str] = Counter()
    for part in parts:
        sizes.update(dict(part.sizes))
        modes.update(part.modes)
        channels.update(part.channels)
        dtypes.update(part.dtypes)
    by_area = sorted(sizes.elements(), key=lambda size: (size[0] * size[1], size))
    return ImageFindings(
        smallest=by_area[0],
        median=by_area[len(by_area) // 2],
        largest=by_area[-1],
        sizes=tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        modes=dict(modes),
        channels=dict(channels),
        dtypes=dict(dtypes),
    )


# --- What to know -------------------------------------------------------------------------------------------------


def _notes(description: MixedDescription) -> Iterator[str]:
    if "train" in description.splits:
        shares = description.shares_of("train")
        drawn = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        how = "by weight" if any(member.weight is not None for member in description.members) else "by size"
        how = "equally often" if how == "by size" and description.draw == "equal" else how
        yield f"training samples are drawn {how}: {drawn}"
    unseen = [member.name for member in description.members if "val" not in member.description.splits]
    if unseen and "val" in description.splits:
        yield f"no val split, so that no score says how well they are learned: {some(unseen)}"
    for member, missing in lacking(description):
        if not _rest_of(member):
            yield f"{member.name} has no {some(missing)}: it adds nothing to them"


def _rest_of(member: Member) -> list[str]:
    """Its classes for whatever has no class of its own, unless they are ignored."""
    return [name for name in member.own_classes if name.lower() in _REST and member.meaning(name) != IGNORE]


def _background(description: MixedDescription) -> Iterator[Finding]:
    for member, missing in lacking(description):
        for rest in _rest_of(member):
            meant = member.meaning(rest)
            if meant in missing:
                continue
            yield Finding(
                "class learned as background",
                f"{member.name} has no {some(missing)}: where its images show that, their labels say {rest!r}, which "
                f"is learned as {meant!r}",
                f"if its images show any, write `classes: {{{rest}: {IGNORE}}}` for {member.name}: unlabelled there "
                "then counts for nothing",
            )


def _nowhere(description: MixedDescription) -> Iterator[Finding]:
    missing = [set(names) for _, names in lacking(description)]
    if len(missing) < len(description.members):
        return
    names = [name for name in description.classes if all(name in one for one in missing)]
    if names:
        yield Finding(
            "class in no data set", f"no data set has {some(names)}: it cannot be learned", "leave it out of `classes`"
        )


def _in_both(description: MixedDescription) -> Iterator[Finding]:
    """Images that are trained on and scored, as where one data set holds files of another."""
    where = {
        split: {os.path.realpath(pair.image): pair.name for pair in description.listing(split).pairs}
        for split in description.splits
    }
    for split in ("val", "test"):
        both = sorted(set(where.get("train", {})) & set(where.get(split, {})))
        if both:
            yield Finding(
                "leak",
                f"{len(both)} images are in train and in {split}, by the data sets' own descriptions",
                "take them out of one of the two",
                tuple(where[split][path] for path in both),
            )


def _on_both(description: MixedDescription) -> Iterator[Finding]:
    """Blocks of scenes that are trained on in one data set and scored in another, which shows the same ground."""
    windows = {
        split: [pair.window for pair in description.listing(split).pairs if pair.window is not None]
        for split in description.splits
    }
    train = windows.get("train", [])
    learned = {window.unit for window in train}
    for split in ("val", "test"):
        own = windows.get(split, [])
        held = {window.unit for window in own}
        pairs = blocks_on_same_ground(description.root, [*train, *own]) if train and own else ()
        both = [
            f"{a} ~ {b}"
            for a, b in pairs
            if a.partition("/")[0] != b.partition("/")[0]
            and ((a in learned and b in held) or (a in held and b in learned))
        ]
        if both:
            yield Finding(
                "leak",
                f"{len(both)} times a block of scenes in train shows the ground of one in {split}, in another data set",
                "divide them anew: `intarsia data split` keeps blocks on the same ground together, in all data sets",
                tuple(both),
            )
