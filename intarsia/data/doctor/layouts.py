"""Finds the images and their labels in a folder that nobody described.

No fixed list of layouts: folder names tell splits and roles (`folders.py`), file names tell what joins an image with
its label (`affixes.py`), and the combination that pairs most files wins. ``images/ masks/``, ``train/images
train/masks``, ``train trainannot``, ``leftImg8bit/train/CITY/*_leftImg8bit.png``, ``a.jpg a_mask.png`` in one folder
and their kin are all the same search. What was found is written down as `Source` rules, one per split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from intarsia.data.description.pairing import NameIndex, Source, list_pairs, read_names, walk_files
from intarsia.data.doctor.affixes import Affixes, AffixPair, File, at_separators, joined, propose
from intarsia.data.doctor.folders import SPLITS, Group, Role, group_files, role_of, split_of
from intarsia.data.doctor.layout_help import explain_nothing
from intarsia.data.image_io import IMAGE_SUFFIXES

_LABEL_TIERS: dict[Role, int] = {"label": 0, "none": 1, "colour": 2, "instance": 3, "prediction": 4, "image": 5}
_IMAGE_ROLES: tuple[Role, ...] = ("image", "none", "colour")
_MANY_GROUPS = 40
_LOSSY = (".jpg", ".jpeg", ".webp")
_LIST_SUFFIXES = (".txt", ".lst")


class LayoutError(ValueError):
    """Nothing pairs; the message says what was looked for and what is there."""


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """The files of one split: a rule, and optionally a list of names (relative to the root) that selects from it."""

    source: Source
    names: str | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another folder of labels that would pair too, for the user to choose instead."""

    images: str
    labels: str
    pairs: int
    role: Role


@dataclass(frozen=True, slots=True)
class Layout:
    """What was found below `root`.

    splits: "train" always, "val" and "test" where the folders or lists tell them. pairs: how many files were joined.
    skipped: extension -> number of files that are no images. notes: what a user should know about the choice made.
    """

    root: Path
    splits: Mapping[str, SplitFiles]
    pairs: int
    alternatives: tuple[Alternative, ...]
    skipped: Mapping[str, int]
    notes: tuple[str, ...] = ()


_Template = tuple[str, ...]
_Likeness = tuple[_Template, _Template, AffixPair, "tuple[str, str] | None"]


@dataclass(slots=True)
class _Candidate:
    """A group of images with a group of labels, what their names carry, and how many files that joins."""

    images: Group
    labels: Group
    affixes: AffixPair
    cores: list[str]
    role: Role
    rank: int
    extensions: tuple[str, str] | None = None
    members: list[_Candidate] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.cores)

    @property
    def order(self) -> tuple[object, ...]:
        plain = self.affixes == (Affixes(), Affixes())
        image_rank = _IMAGE_ROLES.index(self.images.role)
        return (
            _LABEL_TIERS[self.role],
            image_rank,
            -self.count,
            self.rank,
            not plain,
            self.labels.template,
            self.affixes[1].suffix,
        )


def find_layout(root: Path, *, labels: str | None = None) -> Layout:
    """Pair the images below `root` with their labels.

    labels: consider only label folders whose path begins with this one, where several would do.

    Raises:
        LayoutError: nothing pairs.
        ValueError: `root` is no folder or cannot be listed.
    """
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}" if not root.exists() else f"{root} is a file, not a folder")
    paths = [f"{below}/{name}" if below else name for below, name in walk_files(root)]
    images = [path for path in paths if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in paths if PurePosixPath(path).suffix.lower() not in IMAGE_SUFFIXES]
    groups = group_files(images)
    candidates = _candidates(root, groups)
    eligible = candidates
    if labels is not None:
        wanted = PurePosixPath(labels).as_posix()
        eligible = [entry for entry in candidates if f"{entry.labels.shown()}/".startswith(f"{wanted}/")]
    if not eligible:
        raise LayoutError(explain_nothing(root, images, others, labels))
    most = max(entry.count for entry in eligible)
    viable = sorted((entry for entry in eligible if 2 * entry.count >= most), key=lambda entry: entry.order)
    chosen = viable[0]
    splits, notes = _splits(root, chosen, groups, others)
    skipped = Counter(PurePosixPath(path).suffix.lower() or PurePosixPath(path).name for path in others)
    return Layout(
        root, splits, chosen.count, _alternatives(chosen, candidates), dict(sorted(skipped.items())), tuple(notes)
    )


# --- The search ---------------------------------------------------------------------------------------------------


def _candidates(root: Path, groups: list[Group]) -> list[_Candidate]:
    """All combinations that join files, with repeated ones ("*" folders) merged."""
    found: list[_Candidate] = []
    by_place: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        by_place[group.neutral if len(groups) > _MANY_GROUPS else ()].append(group)
    for neighbours in by_place.values():
        for images in neighbours:
            if images.role not in _IMAGE_ROLES:
                continue
            for labels in neighbours:
                if labels is images:
                    found += _within(images)
                elif labels.role != "image":
                    found += _across(root, images, labels)
    return _merged(found)


def _across(root: Path, images: Group, labels: Group) -> list[_Candidate]:
    """Images in one group, labels in another."""
    with_split = images.has_splits and labels.has_splits
    left, right = _files(images, with_split), _files(labels, with_split)
    found: dict[AffixPair, _Candidate] = {}
    for pair in propose([stem for _, stem in left], [stem for _, stem in right]):
        cores = joined(left, set(right), pair)
        if not cores or 2 * len(cores) < min(len(left), len(right)):
            continue
        pair = at_separators(pair, cores)
        (own, _), (role, rank) = _affix_role(pair[0]), _affix_role(pair[1])
        if (role == "image" and labels.role == "none") or (own in ("label", "instance") and images.role == "none"):
            continue  # where folders say nothing, what file names say must not contradict
        if pair != (Affixes(), Affixes()) and role == own == "none" and len(cores) < 3:
            continue  # one or two names that begin alike may do so by chance
        if role in ("none", "image"):
            role, rank = labels.role, labels.rank
        if role == images.role == "none" and not _is_label_of(root, images, labels):
            continue
        found[pair] = _Candidate(images, labels, pair, cores, role, rank)
    return list(found.values())


def _within(group: Group) -> list[_Candidate]:
    """Images and labels side by side in the same folders."""
    files = _files(group, group.has_splits)
    present = set(files)
    stems = [stem for _, stem in files]
    found = _same_stem(group)
    for pair in propose(stems, stems):
        cores = joined(present, present, pair)
        if not cores:
            continue
        pair = at_separators(pair, sorted(cores))
        (own, _), (role, rank) = _affix_role(pair[0]), _affix_role(pair[1])
        told = role not in ("none", "image")
        # Without a telling word: x and x_anything, if that is what most of the folder consists of.
        lettered = any(letter.isalpha() for letter in pair[1].suffix + pair[1].prefix)
        plain = pair[0] == Affixes() and lettered and len(cores) >= 3 and 3 * len(cores) >= len(files)
        if own in _IMAGE_ROLES and (told or (role == "none" and plain)):
            found.append(_Candidate(group, group, pair, cores, role, rank))
    return found


def _files(group: Group, with_split: bool) -> list[File]:
    """Place and stem of each file; the split is part of the place when both sides have it."""
    return [
        (f"{split if with_split else ''}/{below}", stem)
        for split, entries in group.files.items()
        for below, stem, _ in entries
    ]


def _affix_role(affixes: Affixes) -> tuple[Role, int]:
    return role_of(f"{affixes.suffix} {affixes.prefix}")


def _same_stem(group: Group) -> list[_Candidate]:
    """``x.jpg`` with ``x.png``: the lossy format is the image."""
    extensions: dict[tuple[str | None, str, str], set[str]] = defaultdict(set)
    for split, entries in group.files.items():
        for below, stem, extension in entries:
            extensions[split, below, stem].add(extension)
    joins: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (_, _, stem), found in extensions.items():
        for photo in (extension for extension in found if extension.lower() in _LOSSY):
            for exact in (extension for extension in found if extension.lower() not in _LOSSY):
                joins[photo, exact].append(stem)
    plain = (Affixes(), Affixes())
    return [_Candidate(group, group, plain, cores, "none", 0, extensions=kind) for kind, cores in joins.items()]


def _merged(candidates: list[_Candidate]) -> list[_Candidate]:
    """Combinations that repeat under sibling folders (Rural/images, Urban/images) become one with a ``*`` folder."""
    buckets: dict[_Likeness, list[_Candidate]] = defaultdict(list)
    for entry in candidates:
        own, other = entry.images.template, entry.labels.template
        for name in dict.fromkeys(part for part in entry.images.neutral if part in entry.labels.neutral):
            starred = [tuple("*" if part == name else part for part in template) for template in (own, other)]
            buckets[starred[0], starred[1], entry.affixes, entry.extensions].append(entry)
    result = list(candidates)
    for (own_star, other_star, _, _), members in buckets.items():
        if len({entry.images.template for entry in members}) < 2:
            continue
        images, labels = _union(own_star, [m.images for m in members]), _union(other_star, [m.labels for m in members])
        cores = [core for member in members for core in member.cores]
        first = members[0]
        result.append(replace(first, images=images, labels=labels, cores=cores, members=members))
        result = [entry for entry in result if entry not in members]
    return result


def _union(template: tuple[str, ...], groups: Sequence[Group]) -> Group:
    union = Group(template, groups[0].role, groups[0].rank)
    for group in groups:
        union.words.update(group.words)
        for split, files in group.files.items():
            union.files.setdefault(split, []).extend(files)
    return union


def _is_label_of(root: Path, images: Group, labels: Group) -> bool:
    """Whether one look at a file of each says which is the label, for folders whose names say nothing."""
    return 2 * _variety(root, labels) <= _variety(root, images)


def _variety(root: Path, group: Group) -> int:
    """Distinct colours in the first file; one-bit and palette files count as labels."""
    split, files = next(iter(group.files.items()))
    below, stem, extension = files[0]
    try:
        with Image.open(root / group.folder(split) / below / f"{stem}{extension}") as image:
            if image.mode in ("1", "P"):
                return 0
            pixels = np.asarray(image.convert("RGB"), dtype=np.int32)
    except (OSError, SyntaxError, ValueError):
        return 0
    return int(np.unique(pixels[:, :, 0] << 16 | pixels[:, :, 1] << 8 | pixels[:, :, 2]).size)


# --- From the winner to rules -------------------------------------------------------------------------------------


def _splits(
    root: Path, chosen: _Candidate, groups: list[Group], others: Sequence[str]
) -> tuple[dict[str, SplitFiles], list[str]]:
    """The rule of every split, and what to tell about it."""
    notes = []
    for side in (chosen.images, chosen.labels):
        if "*" in side.template and chosen.members:
            places = sorted({"/".join(member.images.neutral) for member in chosen.members})
            notes.append(f"'*' in {side.shown()} stands for {len(places)} folders: {_some(places)}")
            break
    sources = {
        split: _source(chosen, split, groups)
        for split in SPLITS
        if split in {**chosen.images.words, **chosen.labels.words}
    }
    found: dict[str, SplitFiles] = {}
    for split, source in sources.items():
        if list_pairs(root, source).pairs:
            found[split] = SplitFiles(source)
        else:
            notes.append(f"{split}: the images in {source.images} have no labels; left out")
    if not sources:
        source = _source(chosen, None, groups)
        found = {"train": SplitFiles(source), **_lists(root, source, others)}
        if found["train"].names is None and len(found) > 1:
            notes.append(
                "lists of names exist for " + ", ".join(sorted(set(found) - {"train"})) + " but not for train; not used"
            )
            found = {"train": SplitFiles(source)}
        for split, files in found.items():
            if files.names is not None:
                notes.append(f"{split}: the names listed in {files.names}")
    elif "train" not in found:
        only = next(iter(found))
        notes.append(f"there is no train folder; {found[only].source.images} ({only}) is taken for training")
        found = {"train": found.pop(only), **found}
    return found, notes


def _source(chosen: _Candidate, split: str | None, groups: Sequence[Group]) -> Source:
    own, other = chosen.affixes
    inside = [
        group
        for group in groups
        for side in (chosen.images, chosen.labels)
        if group.template != side.template and group.template[: len(side.template)] == side.template
    ]
    flat = not any(
        below for side in (chosen.images, chosen.labels) for files in side.files.values() for below, _, _ in files
    )
    return Source(
        images=chosen.images.folder(split),
        labels=chosen.labels.folder(split),
        image_suffix=_suffixes(chosen.images, own, set(chosen.cores), chosen.extensions and chosen.extensions[0]),
        label_suffix=_suffixes(chosen.labels, other, set(chosen.cores), chosen.extensions and chosen.extensions[1]),
        image_prefix=own.prefix,
        label_prefix=other.prefix,
        recursive=not (inside and flat),
    )


def _suffixes(group: Group, affixes: Affixes, cores: set[str], extension: str | None) -> tuple[str, ...]:
    """What follows the name, with every extension that occurs, the most frequent first."""
    if extension is not None:
        return (affixes.suffix + extension,)
    seen = Counter(
        found.lower() for files in group.files.values() for _, stem, found in files if affixes.core(stem) is not None
    )
    return tuple(affixes.suffix + found for found, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0])))


def _lists(root: Path, source: Source, others: Sequence[str]) -> dict[str, SplitFiles]:
    """Text files named after a split whose lines are names of images that pair."""
    index = NameIndex(list_pairs(root, source).pairs)
    best: dict[str, tuple[float, int, str]] = {}
    for path in others:
        pure = PurePosixPath(path)
        split = split_of(pure.stem) if pure.suffix.lower() in _LIST_SUFFIXES else None
        if split is None:
            continue
        try:
            names = read_names(root / path)
        except ValueError:
            continue
        hits = sum(index.find(name) is not None for name in names)
        if hits and 2 * hits >= len(names):
            best[split] = min(best.get(split, (1.0, 0, "")), (-hits / len(names), len(path), path))
    return {split: SplitFiles(source, names=path) for split, (_, _, path) in sorted(best.items())}


def _alternatives(chosen: _Candidate, candidates: Sequence[_Candidate]) -> tuple[Alternative, ...]:
    """The other folders that pair, the best first."""
    related = [entry for entry in candidates if entry.images is chosen.images or entry.images.role == "image"]
    shown = {(_side(chosen.images, chosen.affixes[0]), _side(chosen.labels, chosen.affixes[1]))}
    result = []
    for entry in sorted(related, key=lambda entry: (-entry.count, entry.order)):
        images, labels = _side(entry.images, entry.affixes[0]), _side(entry.labels, entry.affixes[1])
        if (images, labels) not in shown:
            shown.add((images, labels))
            result.append(Alternative(images, labels, entry.count, entry.role))
    return tuple(result)


def _side(group: Group, affixes: Affixes) -> str:
    return f"{group.shown()}/{affixes}" if affixes != Affixes() else group.shown()


def _some(names: Sequence[str], limit: int = 6) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
