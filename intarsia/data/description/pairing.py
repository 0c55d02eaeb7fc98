"""Which image belongs to which label file: a rule for folders, lists of names, and shares taken by a hash.

Layouts are found once (`data/doctor/layouts.py`) and then written down as the rules of this file (`model.py`), so that
the listing which the doctor checked and the listing which training uses are one piece of code.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.image_io import IMAGE_SUFFIXES, is_image_name
from intarsia.data.lists import path_ends, spellings
from intarsia.data.masks import Overlap
from intarsia.data.orientation import Axis
from intarsia.data.scenes.rule import SceneWindow
from intarsia.data.slices import file_of, part_of
from intarsia.io.folders import folders_of, walk_files
from intarsia.io.text import same_name


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its label, as paths relative to the data's root with forward slashes.

    name: subfolder and file name without what all images have in common: "frankfurt/frankfurt_000000_000294".
    masks: (class, file) where the label is drawn as a mask for each class; `label` is the first of them then.
    annotations, key: where the label is drawn from the annotations of a tool, and what those call the image; `label` is
    their file then. partners: further images of the sample, where it has several (`inputs.py`).
    window: where it is one of a scene, whose file and place `image` says then.
    """

    name: str
    image: str
    label: str | None
    masks: tuple[tuple[str, str], ...] = ()
    overlap: Overlap = "error"
    annotations: AnnotationSource | None = None
    key: str = ""
    partners: tuple[str, ...] = ()
    window: SceneWindow | None = None

    @property
    def unit(self) -> str:
        """The name of what a share takes or leaves: of windows their block, of slices their volume."""
        return file_of(self.name) if self.window is None else self.window.unit

    @property
    def listed_as(self) -> str:
        """What a list of its split calls it: its image, or the block of its window."""
        return self.image if self.window is None else self.window.unit

    @property
    def label_files(self) -> tuple[str, ...]:
        """All files of the label."""
        return tuple(file for _, file in self.masks) or ((self.label,) if self.label is not None else ())


@dataclass(frozen=True, slots=True)
class MaskRule:
    """Masks of one class: ``FOLDER/<prefix>NAME<suffix>``.

    suffix: with extension; without, that of any image will do. A "*" in it stands for digits, where each object of a
    class has a mask of its own. band: of files in which each class has a band, counted from 1; 0 for the whole file.
    """

    class_name: str
    folder: str
    prefix: str = ""
    suffix: str = ""
    band: int = 0

    @classmethod
    def parse(cls, class_name: str, pattern: str) -> MaskRule:
        """From ``masks/*_leaf.png``, ``masks/*_leaf_*.png`` or ``masks/*.tif#band2``.

        Raises ValueError if there is no "*" for the name.
        """
        file, part = part_of(pattern.replace("\\", "/"))
        path = PurePosixPath(file)
        prefix, star, suffix = path.name.partition("*")
        if not star or suffix.count("*") > 1:
            raise ValueError(
                f"expected a folder and a file name with a * for the image's name, such as masks/*_leaf.png, and at "
                f"most one more for a number, found {pattern!r}"
            )
        band = part.index if part is not None and not part.axis else 0
        return cls(class_name, path.parent.as_posix(), prefix, suffix, band)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What file names end in."""
        if is_image_name(f"x{self.suffix}"):
            return (self.suffix,)
        return tuple(self.suffix + extension for extension in IMAGE_SUFFIXES)

    def __str__(self) -> str:
        return PurePosixPath(self.folder, f"{self.prefix}*{self.suffix}").as_posix() + self.part

    @property
    def part(self) -> str:
        """What stands behind the name of a file of which only one band is meant."""
        return f"#band{self.band}" if self.band else ""


@dataclass(frozen=True, slots=True)
class Source:
    """A rule that pairs files: ``images/SUB/<image_prefix>NAME<image_suffix>`` with the same SUB and NAME in `labels`.

    images, labels: folders relative to the root; a component ``*`` stands for any one folder, the same on both sides.
        `labels` None: images without ground truth.
    image_suffix, label_suffix: what follows NAME, extension included; the first that exists counts.
    recursive: whether subfolders belong to it.
    masks: instead of `labels`, the masks of each class, of which an image need not have all. overlap: see `Masks`.
    annotations: instead of `labels`, those of a tool (`annotated.py`).
    slices: the axis along which volumes and stacks are taken apart ("z" ..., or "axial" ...: `slicing.py`), "" for
        images.
    empty_slices: whether slices whose label is 0 everywhere are kept.
    input_name, partners: where a sample has several images, the name of those in `images`, and the rules for the
        others, which have their name for a class.
    """

    images: str
    labels: str | None
    image_suffix: tuple[str, ...] = IMAGE_SUFFIXES
    label_suffix: tuple[str, ...] = IMAGE_SUFFIXES
    image_prefix: str = ""
    label_prefix: str = ""
    recursive: bool = True
    masks: tuple[MaskRule, ...] = ()
    overlap: Overlap = "error"
    annotations: AnnotationSource | None = None
    slices: Axis | Literal[""] = ""
    empty_slices: Literal["keep", "skip"] = "keep"
    input_name: str = ""
    partners: tuple[MaskRule, ...] = ()

    def __str__(self) -> str:
        images = _pattern(self.images, self.image_prefix, self.image_suffix)
        images += "".join(f" and {rule}" for rule in self.partners)
        if self.masks:
            shown = ", ".join(str(rule) for rule in self.masks[:4]) + (" ..." if len(self.masks) > 4 else "")
            return f"{images} with a mask for each class: {shown}"
        if self.annotations is not None:
            return f"{images} with {self.annotations}"
        if self.labels is None:
            return f"{images} without labels"
        return f"{images} with {_pattern(self.labels, self.label_prefix, self.label_suffix)}"


def _pattern(folder: str, prefix: str, suffixes: Sequence[str]) -> str:
    ending = "" if suffixes == IMAGE_SUFFIXES else " or ".join(f"*{suffix}" for suffix in suffixes)
    return PurePosixPath(folder, f"{prefix}{ending or '*'}").as_posix()


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source finds. Every path is relative to the root, every tuple sorted.

    unlabelled: images without a label file. unused: label files without an image.
    twins: images that differ from a used one in their extension only. lost: listed names without an image and label.
    """

    pairs: tuple[Pair, ...]
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def list_pairs(root: Path, source: Source) -> Listing:
    """Apply `source` below `root`.

    Raises:
        ValueError: a folder does not exist or cannot be listed.
    """
    if source.masks:
        return _list_masks(root, source)
    images, twins = _without_twins(_matching(root, source, "images"))
    if source.labels is None:
        return Listing(
            tuple(Pair("/".join(key), images[key], None) for key in sorted(images)), twins=tuple(sorted(twins))
        )
    labels: dict[tuple[str, ...], str] = {}
    for key, path in _matching(root, source, "labels"):
        labels.setdefault(key, path)
    return Listing(
        pairs=tuple(Pair("/".join(key), images[key], labels[key]) for key in sorted(images) if key in labels),
        unlabelled=tuple(sorted(path for key, path in images.items() if key not in labels)),
        unused=tuple(sorted(path for key, path in labels.items() if key not in images)),
        twins=tuple(sorted(twins)),
    )


def _list_masks(root: Path, source: Source) -> Listing:
    """Images with the masks of their classes, in the order of the rules."""
    found = _masks_by_key(root, source)
    taken = {file_of(path) for masks in found.values() for _, path in masks}
    candidates = _matching(root, replace(source, labels=None, masks=()), "images")
    images, twins = _without_twins((key, path) for key, path in candidates if path not in taken)
    unused = {file_of(path) for key, masks in found.items() if key not in images for _, path in masks}
    return Listing(
        pairs=tuple(
            Pair("/".join(key), images[key], found[key][0][1], tuple(found[key]), source.overlap)
            for key in sorted(images)
            if key in found
        ),
        unlabelled=tuple(sorted(path for key, path in images.items() if key not in found)),
        unused=tuple(sorted(unused)),
        twins=tuple(sorted(twins)),
    )


def _masks_by_key(root: Path, source: Source) -> dict[tuple[str, ...], list[tuple[str, str]]]:
    """(class, file) of all masks, by what the names of image and mask share. A class may lack its folder, not all."""
    owner: dict[str, tuple[tuple[str, ...], int]] = {}
    missing: list[ValueError] = []
    for number, rule in enumerate(source.masks):
        as_labels = replace(source, labels=rule.folder, label_prefix=rule.prefix, label_suffix=rule.suffixes, masks=())
        try:
            matching = list(_matching(root, as_labels, "labels"))
        except ValueError as error:
            missing.append(error)
            continue
        for key, path in matching:  # "x_old_leaf.png" may match "*_leaf.png", too: the longer affix decides
            path += rule.part
            if path not in owner or len(key[-1]) < len(owner[path][0][-1]):
                owner[path] = key, number
    if len(missing) == len(source.masks):
        raise missing[0]
    result: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for path, (key, number) in sorted(owner.items(), key=lambda item: (item[1][1], item[0])):
        result[key].append((source.masks[number].class_name, path))
    return result


def _without_twins(found: Iterable[tuple[tuple[str, ...], str]]) -> tuple[dict[tuple[str, ...], str], list[str]]:
    """(the first file of each key, the others)."""
    first: dict[tuple[str, ...], str] = {}
    twins: list[str] = []
    for key, path in found:
        if first.setdefault(key, path) != path:
            twins.append(path)
    return first, twins


def strip_affixes(name: str, prefix: str, suffixes: Sequence[str], *, least: int = 1) -> str | None:
    """The part of a file name between `prefix` and one of `suffixes`, or None. Extensions match in any case.

    A "*" in a suffix stands for digits. least: letters of that part.
    """
    for suffix in suffixes:
        stem, dot, extension = suffix.rpartition(".")
        ending = dot + extension if dot else suffix
        if not name.lower().endswith(ending.lower()):
            continue
        rest = name[: len(name) - len(ending)]
        if "*" in stem:
            found = re.search(re.escape(stem).replace(r"\*", r"\d+") + "$", rest)
            stem = found[0] if found is not None else stem
        if rest.endswith(stem) and rest.startswith(prefix) and len(rest) >= len(prefix) + len(stem) + least:
            return rest[len(prefix) : len(rest) - len(stem)]
    return None


def matching_images(root: Path, source: Source) -> Iterator[tuple[tuple[str, ...], str]]:
    """(what its name has in common with that of its label, path relative to the root) of every image file of a source.

    Raises ValueError: the folder does not exist.
    """
    return _matching(root, source, "images")


def _matching(root: Path, source: Source, side: Literal["images", "labels"]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(key, path relative to the root) of the files of one side; the key is what both sides have in common.

    Letters may be composed on one side and decomposed on the other, as files that come from macOS have them.
    """
    own = (source.images, source.image_prefix, source.image_suffix)
    other = (source.labels, source.label_prefix, source.label_suffix)
    (pattern, prefix, suffixes), (rival, rival_prefix, rival_suffixes) = (
        (own, other) if side == "images" else (other, own)
    )
    assert pattern is not None
    rival_folder = None if rival is None or "*" in pattern else _below(rival, pattern)
    share_folder = rival is not None and PurePosixPath(rival) == PurePosixPath(pattern)
    prefix, rival_prefix = same_name(prefix), same_name(rival_prefix)
    suffixes, rival_suffixes = tuple(map(same_name, suffixes)), tuple(map(same_name, rival_suffixes))
    least = 0 if pattern.endswith("*") else 1  # of a folder for each sample its own name may be all there is
    for folder, captured in _expand(root, pattern):
        for path in walk_files(folder, recursive=source.recursive):
            below, _, name = (path if path.isascii() else same_name(path)).rpartition("/")
            if rival_folder is not None and (below == rival_folder or below.startswith(rival_folder + "/")):
                continue
            core = strip_affixes(name, prefix, suffixes, least=least)
            if core is None:
                continue
            if share_folder:  # the longer affix decides: x_mask.png is a label although it ends like the image x.png
                rival_core = strip_affixes(name, rival_prefix, rival_suffixes, least=least)
                if rival_core is not None and len(rival_core) < len(core):
                    continue
            inner = "/".join(part for part in (below, core) if part)
            key = (*map(same_name, captured), inner) if inner else tuple(map(same_name, captured))
            yield key, (folder / path).relative_to(root).as_posix()


def _below(inner: str | None, outer: str) -> str | None:
    """The path of folder `inner` relative to `outer` when it lies strictly inside, else None."""
    if inner is None:
        return None
    try:
        relative = PurePosixPath(inner).relative_to(PurePosixPath(outer)).as_posix()
    except ValueError:
        return None
    return None if relative == "." else relative


def _expand(root: Path, pattern: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folders that `pattern` names, each with what its ``*`` components stood for.

    Raises:
        ValueError: there is none.
    """
    found: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
    for part in PurePosixPath(pattern).parts:
        if part == "*":
            found = [
                (inner, (*captured, inner.name))
                for outer, captured in found
                for inner in (outer / name for name in folders_of(outer))
            ]
        elif "*" in pattern:
            found = [(outer / part, captured) for outer, captured in found if (outer / part).is_dir()]
        else:
            found = [(outer / part, captured) for outer, captured in found]
    if not found or not any(folder.is_dir() for folder, _ in found):
        beside = folders_of(root)
        there = f"it has {', '.join(beside[:8])}" if beside else "it has no folders"
        raise ValueError(f"there is no folder {pattern!r} in {root} ({there})")
    yield from found


# --- Lists of names -----------------------------------------------------------------------------------------------


class NameIndex:
    """Finds the pair that a line of a list file means: by name, by path, with or without extension and folders."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._table: dict[str, int | None] = {}
        for position, pair in enumerate(pairs):
            for alias in {*path_ends(pair.image), same_name(pair.name), same_name(PurePosixPath(pair.name).name)}:
                if self._table.setdefault(alias, position) != position:
                    self._table[alias] = None

    def find(self, line: str) -> Pair | None:
        """The pair named by `line`, or None where there is none or more than one."""
        for spelling in spellings(line):
            for alias in (spelling, PurePosixPath(spelling).with_suffix("").as_posix() if spelling else ""):
                position = self._table.get(alias)
                if position is not None:
                    return self._pairs[position]
        return None


# --- Shares by hash -----------------------------------------------------------------------------------------------


def hash_share(name: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but the two texts: adding files moves no other file."""
    digest = hashlib.blake2b(f"{salt}:{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
