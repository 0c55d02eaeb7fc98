"""The search for folders of images and of labels whose file names belong together.

Folder names tell splits and roles (`folders.py`), file names tell what joins an image with its label (`affixes.py`);
every combination that joins files is a `Candidate`. Which one is used is decided in `layouts.py`.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from intarsia.data.doctor.affixes import Affixes, AffixPair, File, at_separators, joined, propose
from intarsia.data.doctor.folders import Group, Role, role_of
from intarsia.data.image_io import decode_image
from intarsia.data.slices import count_slices, is_volume, slice_paths, stem_of
from intarsia.io.text import same_name

LABEL_TIERS: dict[Role, int] = {"label": 0, "none": 1, "colour": 2, "instance": 3, "prediction": 4, "image": 5}
IMAGE_ROLES: tuple[Role, ...] = ("image", "none", "colour")
_MANY_GROUPS = 40
_LOOKED_AT = 2_048
"""Pixels of a side of a file that are looked at, to tell labels from images."""
_LOSSY = (".jpg", ".jpeg", ".webp")

_Template = tuple[str, ...]
_Likeness = tuple[_Template, _Template, AffixPair, "tuple[str, str] | None"]


@dataclass(slots=True)
class Candidate:
    """A group of images with a group of labels, what their names carry, and how many files that joins."""

    images: Group
    labels: Group
    affixes: AffixPair
    cores: list[str]
    role: Role
    rank: int
    extensions: tuple[str, str] | None = None
    members: list[Candidate] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Files that are joined."""
        return len(self.cores)

    def image_paths(self, split: str | None = None) -> set[str]:
        """Files of the images' folders."""
        return {path for entry in self.members or [self] for path in entry.images.paths(split)}

    def label_paths(self) -> set[str]:
        """Files of the labels' folders whose names have the labels' affixes."""
        paths = {path for entry in self.members or [self] for path in entry.labels.paths()}
        return {path for path in paths if self.affixes[1].core(same_name(stem_of(path))) is not None}

    @property
    def side_names(self) -> tuple[str, str]:
        """Where the images and the labels are, for people."""
        return _shown(self.images, self.affixes[0]), _shown(self.labels, self.affixes[1])

    @property
    def order(self) -> tuple[object, ...]:
        """Sort key under which the likeliest comes first."""
        plain = self.affixes == (Affixes(), Affixes())
        image_rank = IMAGE_ROLES.index(self.images.role)
        return (
            LABEL_TIERS[self.role],
            image_rank,
            -self.count,
            # siteA/images belong to siteA/masks, and scans of ses-1 to labels/ses-1, whatever the names say
            len({*self.images.neutral} - {*self.labels.neutral}),
            self.images.neutral != self.labels.neutral,
            self.rank,
            not plain,
            self.labels.template,
            self.affixes[1].suffix,
        )


def _shown(group: Group, affixes: Affixes) -> str:
    return f"{group.shown()}/{affixes}" if affixes != Affixes() else group.shown()


def find_candidates(root: Path, groups: list[Group]) -> list[Candidate]:
    """All combinations that join files, with repeated ones ("*" folders) merged."""
    found: list[Candidate] = []
    by_place: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        by_place[group.neutral if len(groups) > _MANY_GROUPS else ()].append(group)
    for neighbours in by_place.values():
        for images in neighbours:
            if images.role not in IMAGE_ROLES:
                continue
            for labels in neighbours:
                if labels is images:
                    found += _within(images)
                elif labels.role != "image":
                    found += _across(root, images, labels)
    return _merged(found)


def _across(root: Path, images: Group, labels: Group) -> list[Candidate]:
    """Images in one group, labels in another."""
    with_split = images.has_splits and labels.has_splits
    left, right = _files(images, with_split), _files(labels, with_split)
    found: dict[AffixPair, Candidate] = {}
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
        if role == "none" and images.role in ("none", "colour") and not _is_label_of(root, images, labels):
            continue  # a folder of colours may hold photos, and cam0_color the labels of cam0
        found[pair] = Candidate(images, labels, pair, cores, role, rank)
    return list(found.values())


def _within(group: Group) -> list[Candidate]:
    """Images and labels side by side in the same folders."""
    files = _files(group, group.has_splits)
    present = set(files)
    stems = [stem for _, stem in files]
    found = _same_stem(group)
    for pair in propose(stems, stems):
        cores = joined(present, present, pair)
        if not cores:
            continue
        bare = pair[0] == Affixes()
        pair = at_separators(pair, sorted(cores))
        (own, _), (role, rank) = _affix_role(pair[0]), _affix_role(pair[1])
        told = role not in ("none", "image")
        # Without a telling word: x and x_anything, if that is what most of the folder consists of.
        lettered = any(letter.isalpha() for letter in pair[1].suffix + pair[1].prefix)
        plain = bare and lettered and len(cores) >= 3 and 3 * len(cores) >= len(files)
        if own in IMAGE_ROLES and (told or (role == "none" and plain)):
            found.append(Candidate(group, group, pair, cores, role, rank))
    return found


def _files(group: Group, with_split: bool) -> list[File]:
    """Place and stem of each file; the split is part of the place when both sides have it."""
    return [
        (same_name(f"{split if with_split else ''}/{below}"), same_name(stem))
        for split, entries in group.files.items()
        for below, stem, _ in entries
    ]


def _affix_role(affixes: Affixes) -> tuple[Role, int]:
    return role_of(f"{affixes.suffix} {affixes.prefix}")


def _same_stem(group: Group) -> list[Candidate]:
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
    return [Candidate(group, group, plain, cores, "none", 0, extensions=kind) for kind, cores in joins.items()]


def _merged(candidates: list[Candidate]) -> list[Candidate]:
    """Combinations that repeat under sibling folders (Rural/images, Urban/images) become one with a ``*`` folder."""
    buckets: dict[_Likeness, list[Candidate]] = defaultdict(list)
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
    own, other = _variety(root, images), _variety(root, labels)
    return own is not None and other is not None and 2 * other <= own


def _variety(root: Path, group: Group) -> int | None:
    """That of the first file."""
    split, files = next(iter(group.files.items()))
    below, stem, extension = files[0]
    return variety(root / group.folder(split) / below / f"{stem}{extension}")


def variety(path: Path) -> int | None:
    """Distinct colours or numbers in a file; one-bit and palette files count as labels. None: unreadable."""
    if not path.is_file():  # a pipe or a device might never end
        return None
    try:
        with Image.open(path) as image:
            if image.mode in ("1", "P"):
                return 0
            side = min(image.width, _LOOKED_AT), min(image.height, _LOOKED_AT)
            pixels = np.asarray(image.crop((0, 0, *side)).convert("RGB"), dtype=np.int32)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        return _variety_of_numbers(path)
    return int(np.unique(pixels[:, :, 0] << 16 | pixels[:, :, 1] << 8 | pixels[:, :, 2]).size)


def _variety_of_numbers(path: Path) -> int | None:
    """Likewise of what Pillow does not read: DICOM, arrays, the middle slice of a volume."""
    try:
        middle = slice_paths(str(path), "z", count := count_slices(path, "z"))[count // 2] if is_volume(path) else path
        samples = decode_image(middle).samples[:_LOOKED_AT, :_LOOKED_AT]
    except ValueError:
        return None
    return len(np.unique(samples.reshape(-1, samples.shape[2]), axis=0))
