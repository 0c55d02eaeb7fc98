"""What folder names say: which split, and whether images, labels, instances or predictions are inside.

Files whose folders read alike form a `Group`. Nothing here looks into a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from intarsia.data.doctor.affixes import words
from intarsia.data.slices import stem_of

Role = Literal["image", "label", "colour", "instance", "prediction", "none"]

SPLITS = ("train", "val", "test")
SLOT = "\0"
"""Stands for the split's own word inside a template: ("images", SLOT), ("\\0annot",)."""

_SPLIT_WORDS: dict[str, str] = {
    "training": "train",
    "train": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "dev": "val",
    "eval": "val",
    "testing": "test",
    "test": "test",
    "tst": "test",
    "holdout": "test",
    "heldout": "test",
}
_SHORT_SPLITS = {"tr": "train", "ts": "test"}
"""Ends of a name after a word for images or labels: imagesTr, labelsTs."""

_SET_WORDS = ("set", "sets", "data")

# In order of preference: where several label folders pair equally well, the earlier word wins.
_LABEL_WORDS = (
    *("labeltrainids", "trainids", "labels", "label", "lbls", "lbl"),
    *("annotations", "annotation", "annots", "annot", "anns", "ann"),
    *("gts", "gt", "gtfine", "groundtruths", "groundtruth", "truths", "truth", "labelids"),
    *("segmentationclass", "segmentationclassaug", "segmentations", "segmentation", "segmaps", "segmap", "segs", "seg"),
    *("semseg", "semantics", "semantic", "classes", "targets", "target", "manual", "masks", "mask", "maskfiles"),
)
_WORDS_BY_ROLE: dict[Role, tuple[str, ...]] = {
    "label": _LABEL_WORDS,
    "image": (
        *("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "rgb", "photos", "photo"),
        *("pictures", "picture", "inputs", "input", "frames", "frame", "originals", "original"),
    ),
    "colour": (
        *("colors", "color", "colours", "colour", "colormaps", "colormap"),
        *("vis", "visualization", "visualizations", "overlays", "overlay", "human", "blend", "blended"),
        *("thumbnails", "thumbnail", "thumbs", "previews", "preview"),
    ),
    "instance": (
        *("instances", "instance", "inst", "insts", "instanceids", "panoptic", "segmentationobject", "polygons"),
        *("superpixels", "edges", "edge", "boundaries", "boundary", "contours", "depth", "disparity"),
    ),
    "prediction": ("predictions", "prediction", "preds", "pred", "results", "result", "outputs", "output"),
}
_WORDS: dict[str, Role] = {word: role for role, names in _WORDS_BY_ROLE.items() for word in names}
_PRECEDENCE: tuple[Role, ...] = ("prediction", "instance", "colour", "label", "image")

_SPLIT = re.compile(
    rf"^(?P<before>(?:.*[_\-. ])?)(?P<word>(?:{'|'.join(_SPLIT_WORDS)})(?:20\d\d)?)(?P<after>(?:[_\-. ].*)?)$",
    re.IGNORECASE,
)
_JOINED = re.compile(rf"^(?P<word>{'|'.join(_SPLIT_WORDS)})(?P<after>[a-z]+)$", re.IGNORECASE)
_JOINED_LAST = re.compile(rf"^(?P<before>[a-z]+?)(?P<word>{'|'.join([*_SPLIT_WORDS, *_SHORT_SPLITS])})$", re.IGNORECASE)


def role_of(text: str) -> tuple[Role, int]:
    """What a name says about its content, and its place among the words for labels (0 is the plainest)."""
    found = words(text)
    whole = "".join(found)
    known = [word for word in [whole, *found] if word in _WORDS]
    for role in _PRECEDENCE:
        of_role = [word for word in known if _WORDS[word] == role]
        if of_role:
            rank = min(_LABEL_WORDS.index(word) for word in of_role) if role == "label" else 0
            return role, rank
    return "none", len(_LABEL_WORDS)


def is_meant_for_training(rank: int) -> bool:
    """Whether a label folder's word, by its place, says that these labels are for training: labelTrainIds."""
    return rank < 2


def split_of(name: str) -> str | None:
    """The split that a folder or list name stands for: "train_list" -> "train"."""
    return _read(name)[1]


def _read(component: str) -> tuple[str, str | None, str]:
    """(component with the split's word replaced by SLOT, split or None, the word)."""
    match = _SPLIT.match(component)
    if match is None:
        for pattern, side in ((_JOINED, "after"), (_JOINED_LAST, "before")):
            joined = pattern.match(component)
            known = (*_WORDS, *_SET_WORDS) if side == "after" else _WORDS
            if joined is not None and joined.group(side).lower() in known:
                match = joined
                break
    if match is None:
        return component, None, ""
    word = match.group("word")
    template = component[: match.start("word")] + SLOT + component[match.end("word") :]
    return template, {**_SPLIT_WORDS, **_SHORT_SPLITS}[word.lower().rstrip("0123456789")], word


@dataclass(slots=True)
class Group:
    """Image files whose folders read alike.

    template: folder components; one may contain SLOT. words: split -> what stands in the slot.
    files: split (None without slot) -> (subfolder, stem, extension) of each file.
    """

    template: tuple[str, ...]
    role: Role
    rank: int
    words: dict[str, str] = field(default_factory=dict)
    files: dict[str | None, list[tuple[str, str, str]]] = field(default_factory=dict)

    @property
    def has_splits(self) -> bool:
        """Whether the folders themselves tell the split."""
        return any(SLOT in part for part in self.template)

    @property
    def count(self) -> int:
        """How many files it has."""
        return sum(len(files) for files in self.files.values())

    @property
    def neutral(self) -> tuple[str, ...]:
        """The components that say neither split nor role: names of places, scenes, versions."""
        return tuple(part for part in self.template if SLOT not in part and role_of(part)[0] == "none")

    def folder(self, split: str | None) -> str:
        """The folder of one split, relative to the root."""
        word = self.words.get(split, "") if split else ""
        return "/".join(part.replace(SLOT, word) for part in self.template) or "."

    def paths(self, split: str | None = None) -> set[str]:
        """The files of a split, of all of them by default, relative to the root."""
        chosen = self.files if split is None else {split: self.files.get(split, [])}
        return {
            PurePosixPath(self.folder(own), below, stem + extension).as_posix()
            for own, files in chosen.items()
            for below, stem, extension in files
        }

    def shown(self) -> str:
        """The folder for people, the split's place as {train,val}."""
        choices = "{" + ",".join(self.words.values()) + "}" if len(self.words) > 1 else "".join(self.words.values())
        return "/".join(part.replace(SLOT, choices) for part in self.template) or "."


def group_files(paths: Iterable[str], *, whole: bool = False) -> list[Group]:
    """Sort image files, given relative to the root, into groups.

    whole: by all their folders, and not those alone that say something; a folder of predictions is one like others.
    """
    groups: dict[tuple[str, ...], Group] = {}
    read: dict[str, tuple[tuple[str, ...], str, str | None, str]] = {}
    for path in paths:
        pure = PurePosixPath(path)
        parent = pure.parent.as_posix()
        if parent not in read:
            read[parent] = _template(pure.parent.parts, whole=whole)
        template, below, split, word = read[parent]
        if template not in groups:
            role, rank = _role_of_template(template)
            groups[template] = Group(template, "none" if whole and role == "prediction" else role, rank)
        group = groups[template]
        if split is not None and group.words.setdefault(split, word) != word:
            # Both train/ and training/: the second is another set of files, kept apart under its full name.
            template = pure.parent.parts
            group = groups.setdefault(template, Group(template, *_role_of_template(template)))
            below, split = "", None
        stem = stem_of(pure.name)
        group.files.setdefault(split, []).append((below, stem, pure.name[len(stem) :]))
    return [_absorbed(group) for group in groups.values()]


def _absorbed(group: Group) -> Group:
    """The group with what all its subfolders have in common moved into the template: ``images/10k/*.jpg``."""
    parts = [PurePosixPath(below).parts for files in group.files.values() for below, _, _ in files]
    depth = 0
    while all(len(part) > depth and part[depth] == parts[0][depth] for part in parts):
        depth += 1
    if depth == 0:
        return group
    files = {
        split: [("/".join(PurePosixPath(below).parts[depth:]), stem, extension) for below, stem, extension in entries]
        for split, entries in group.files.items()
    }
    return Group(group.template + parts[0][:depth], group.role, group.rank, group.words, files)


def _template(parts: tuple[str, ...], *, whole: bool = False) -> tuple[tuple[str, ...], str, str | None, str]:
    """(template, subfolder below it, split, its word) of a folder's components.

    Where several say the split with the same word (train/train-images), all of them stand for it.
    """
    readings = [_read(part) for part in parts]
    splits = [index for index, (_, split, _) in enumerate(readings) if split is not None]
    slot = splits[-1] if splits else -1
    slots = {index for index in splits if readings[index][2] == readings[slot][2]}
    telling = [index for index, part in enumerate(parts) if role_of(part)[0] != "none" or index in splits]
    end = len(parts) if whole else max(telling) + 1 if telling else min(1, len(parts))
    template = tuple(readings[i][0] if i in slots else parts[i] for i in range(end))
    split, word = (readings[slot][1], readings[slot][2]) if slot >= 0 else (None, "")
    return template, "/".join(parts[end:]), split, word


def _role_of_template(template: tuple[str, ...]) -> tuple[Role, int]:
    """What the innermost telling component says: "labels/instances" holds instances."""
    found = [role_of(part.replace(SLOT, " ")) for part in template]
    telling = [entry for entry in found if entry[0] != "none"]
    return telling[-1] if telling else ("none", len(_LABEL_WORDS))
