"""Finds labels that are drawn as one mask for each class: x_leaf.png beside x_spot.png, leaf/x.png beside spot/x.png.

Every label file is read as an image's name with something around it. What is around the names of many images, and
of which an image has several, tells the classes. A look into some of the files says whether they are masks at all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from intarsia.data.description.model import BACKGROUND, IGNORE, LabelValue
from intarsia.data.description.pairing import MaskRule
from intarsia.data.doctor.affixes import Affixes
from intarsia.data.doctor.class_names import cleaned
from intarsia.data.doctor.folders import SLOT, Group, role_of
from intarsia.data.masks import read_mask

_MOST_CLASSES = 64
_LOOKED_AT = 24
_COMPARED = 5
_SAME = 0.5
_SEPARATORS = "_-. "


@dataclass(frozen=True, slots=True)
class ClassMasks:
    """What was found. images: the names of those that have masks. classes: names, by the rules.

    rules: by split (None without splits). obstacle: why the masks are not merged, "" if they are. alike: because they
    show the same, so that one of them will do. covered: every pixel has a class, so that what has none is ignored.
    """

    images: frozenset[str]
    classes: tuple[str, ...]
    rules: Mapping[str | None, tuple[MaskRule, ...]]
    obstacle: str = ""
    alike: bool = False
    covered: bool = False

    @property
    def values(self) -> dict[str, int]:
        """The value of each class in merged labels."""
        return {name: number for number, name in enumerate(self.classes, 1)}

    @property
    def labels(self) -> dict[LabelValue, str]:
        """The label table: 0 is what no mask covers, unless the background has a mask of its own."""
        nothing = IGNORE if self.covered or BACKGROUND in self.classes else BACKGROUND
        return {0: nothing, **{value: name for name, value in self.values.items()}}


@dataclass(frozen=True, slots=True, order=True)
class _Token:
    """What stands around an image's name: a folder of its own, and affixes. "*" in the suffix: a number."""

    group: int
    folder: str
    prefix: str
    suffix: str


_Place = tuple[str | None, str]
"""Split and subfolder."""

_Found = dict[tuple[_Place, str], dict[_Token, list[str]]]
"""(place, name of the image) -> token -> its files, relative to the root."""


def find_class_masks(root: Path, images: Group, labels: Sequence[Group], affixes: Affixes) -> ClassMasks | None:
    """The masks of the images, or None if not every image (or nearly so) has several label files that are masks.

    affixes: what the names of the images carry around what they share with the labels.
    """
    found = _by_image(images, labels, affixes)
    several = sum(sum(map(len, tokens.values())) > 1 for tokens in found.values())
    if several < 2 or 3 * several < len(found):
        return None
    names = _class_names(labels, sorted({token for tokens in found.values() for token in tokens}))
    kept = [{token: files for token, files in tokens.items() if token in names} for tokens in found.values()]
    looked = _look(root, [tokens for tokens in kept if sum(map(len, tokens.values())) > 1], names)
    if looked is None or len(set(names.values())) > _MOST_CLASSES:
        return None
    with_masks = frozenset(core for _, core in found)
    if len(set(names.values())) < 2 or "" in names.values():
        obstacle = _numbered(kept)
        return ClassMasks(with_masks, (), {}, obstacle) if obstacle else None
    rules: dict[str | None, tuple[MaskRule, ...]] = {}
    for split in dict.fromkeys(split for (split, _), _ in found):
        present = {token for ((own, _), _), tokens in found.items() if own == split for token in tokens}
        rules[split] = tuple(_rule(labels, split, token, names[token]) for token in sorted(names) if token in present)
    ordered = tuple(dict.fromkeys(names[token] for token in sorted(names)))
    return ClassMasks(with_masks, ordered, rules, looked, alike=bool(looked))


def _numbered(images: Sequence[Mapping[_Token, Sequence[str]]]) -> str:
    """What to say of masks that only numbers tell apart; "" if there are none such."""
    files = next((files for tokens in images for files in tokens.values() if len(files) > 1), None)
    if files is None:
        return ""
    return f"they are numbered ({', '.join(PurePosixPath(file).name for file in files[:3])}), by object or by class"


# --- Names of files -----------------------------------------------------------------------------------------------


def _by_image(images: Group, labels: Sequence[Group], affixes: Affixes) -> _Found:
    """The label files of every image, by what stands around its name."""
    with_split = images.has_splits and all(group.has_splits for group in labels)
    names: dict[_Place, set[str]] = defaultdict(set)
    own_files = set()
    for split, files in images.files.items():
        for below, stem, extension in files:
            core = affixes.core(stem) if affixes != Affixes() else stem
            if core is not None:
                names[split if with_split else None, below].add(core)
                own_files.add((split, below, stem + extension))
    found: _Found = defaultdict(dict)
    for number, group in enumerate(labels):
        for split, files in group.files.items():
            for below, stem, extension in files:
                place = split if with_split else None
                for key, token in _readings(number, names, place, below, stem, is_image=group is images):
                    path = PurePosixPath(group.folder(split), below, stem + extension).as_posix()
                    found[key].setdefault(token, []).append(path)
    if any(group is images for group in labels):  # what is a mask of another image is no image
        masks = {PurePosixPath(f).stem for tokens in found.values() for files in tokens.values() for f in files}
        found = {key: tokens for key, tokens in found.items() if key[1] not in masks}
    return found


def _readings(
    number: int, names: Mapping[_Place, Set[str]], split: str | None, below: str, stem: str, *, is_image: bool
) -> Iterator[tuple[tuple[_Place, str], _Token]]:
    """The image that a label file belongs to, with the longest name that fits, and what stands around it.

    is_image: the file lies among the images, so it may be one itself, which is no reading of it.
    """
    parts = PurePosixPath(below).parts
    places = [(below, "")]
    if parts:
        places += [("/".join(parts[1:]), parts[0]), ("/".join(parts[:-1]), parts[-1])]
    for place, folder in dict.fromkeys(places):
        known = names.get((split, place))
        if not known:
            continue
        for core, prefix, suffix in _cuts(stem):
            if core in known and (folder or prefix or suffix or not is_image):
                yield ((split, place), core), _Token(number, folder, prefix, re.sub(r"\d+$", "*", suffix))
                return


def _cuts(stem: str) -> Iterator[tuple[str, str, str]]:
    """(name, prefix, suffix): the whole, then cut at separators, the longest name first."""
    yield stem, "", ""
    ends = [index for index, letter in enumerate(stem) if letter in _SEPARATORS and index]
    for end in reversed(ends):
        yield stem[:end], "", stem[end:]
    for end in ends:
        yield stem[end + 1 :], stem[: end + 1], ""


def _class_names(labels: Sequence[Group], tokens: Sequence[_Token]) -> dict[_Token, str]:
    """A name for every token that may stand for a class: what it does not share with all the others, perhaps ""."""
    words = {token: _words(labels[token.group], token) for token in tokens}
    words = {token: found for token, found in words.items() if role_of(" ".join(found))[0] in ("none", "label")}
    shared = set.intersection(*map(set, words.values())) if words else set()
    names = {}
    for token, found in words.items():
        left = [word for word in found if word not in shared]
        telling = [word for word in left if role_of(word)[0] != "label"]
        telling = [word for word in telling if not word.isdecimal()] or telling
        if telling or not left:
            names[token] = cleaned("_".join(dict.fromkeys(telling))) if not all(map(str.isdecimal, telling)) else ""
    return names


def _words(group: Group, token: _Token) -> list[str]:
    """The words of a token and of its group's folder, as they are written, without numbers of objects."""
    folder = [part for part in group.template if SLOT not in part and role_of(part)[0] != "none"][-1:]
    text = " ".join([*folder, token.folder, token.prefix, token.suffix.replace("*", "")])
    return [word for word in re.split(r"[\s_\-.]+", text) if word]


def _rule(labels: Sequence[Group], split: str | None, token: _Token, name: str) -> MaskRule:
    group = labels[token.group]
    extensions = {extension.lower() for files in group.files.values() for _, _, extension in files}
    extension = extensions.pop() if len(extensions) == 1 else ""
    folder = PurePosixPath(group.folder(split), token.folder).as_posix()
    return MaskRule(name, folder, token.prefix, token.suffix + extension)


# --- Content of files ---------------------------------------------------------------------------------------------


def _look(root: Path, images: Sequence[Mapping[_Token, Sequence[str]]], names: Mapping[_Token, str]) -> str | None:
    """Why the masks are not those of classes, by a look into some: nothing ("") if they are; None: no masks at all."""
    left = _LOOKED_AT
    ious: dict[tuple[str, str], list[float]] = defaultdict(list)
    for tokens in images[:_COMPARED]:
        masks: dict[str, npt.NDArray[np.bool_]] = {}
        for token, file in [(token, file) for token, files in tokens.items() for file in files][: max(left, 2)]:
            try:
                mask = read_mask(root / file)
            except ValueError:
                return None
            known = masks.get(names[token])
            masks[names[token]] = mask if known is None or known.shape != mask.shape else known | mask
            left -= 1
        for (one, first), (two, second) in combinations(masks.items(), 2):
            if first.shape == second.shape and (first.any() or second.any()):
                ious[one, two].append(np.count_nonzero(first & second) / np.count_nonzero(first | second))
    alike = next((pair for pair, values in ious.items() if sum(values) > _SAME * len(values)), None)
    if alike is None:
        return ""
    return f"{alike[0]!r} and {alike[1]!r} show nearly the same: they seem to be versions or annotators, not classes"
