"""Which image belongs to which label file: a rule for folders, lists of names, and shares taken by a hash.

Layouts are found once (`data/doctor/layouts.py`) and then written down as the rules of this file (`model.py`), so that
the listing which the doctor checked and the listing which training uses are one piece of code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.io import folders
from intarsia.io.text import read_lines, same_name


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its label, as paths relative to the data's root with forward slashes.

    name: subfolder and file name without what all images have in common: "frankfurt/frankfurt_000000_000294".
    """

    name: str
    image: str
    label: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """A rule that pairs files: ``images/SUB/<image_prefix>NAME<image_suffix>`` with the same SUB and NAME in `labels`.

    images, labels: folders relative to the root; a component ``*`` stands for any one folder, the same on both sides.
        `labels` None: images without ground truth.
    image_suffix, label_suffix: what follows NAME, extension included; the first that exists counts.
    recursive: whether subfolders belong to it.
    """

    images: str
    labels: str | None
    image_suffix: tuple[str, ...] = IMAGE_SUFFIXES
    label_suffix: tuple[str, ...] = IMAGE_SUFFIXES
    image_prefix: str = ""
    label_prefix: str = ""
    recursive: bool = True

    def __str__(self) -> str:
        images = _pattern(self.images, self.image_prefix, self.image_suffix)
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
    images: dict[tuple[str, ...], str] = {}
    twins: list[str] = []
    for key, path in _matching(root, source, "images"):
        if key in images:
            twins.append(path)
        else:
            images[key] = path
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


def walk_files(folder: Path, *, recursive: bool = True) -> Iterator[tuple[str, str]]:
    """(subfolder, file name) of every file below `folder`, as `io.folders.walk_files` finds them."""
    for path in folders.walk_files(folder, recursive=recursive):
        below, _, name = path.rpartition("/")
        yield below, name


def strip_affixes(name: str, prefix: str, suffixes: Sequence[str]) -> str | None:
    """The part of a file name between `prefix` and one of `suffixes`, or None. Extensions match in any case."""
    for suffix in suffixes:
        stem, dot, extension = suffix.rpartition(".")
        ending = dot + extension if dot else suffix
        if not name.lower().endswith(ending.lower()):
            continue
        rest = name[: len(name) - len(ending)]
        if rest.endswith(stem) and rest.startswith(prefix) and len(rest) > len(prefix) + len(stem):
            return rest[len(prefix) : len(rest) - len(stem)]
    return None


def _matching(root: Path, source: Source, side: Literal["images", "labels"]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(key, path relative to the root) of the files of one side; the key is what both sides have in common."""
    own = (source.images, source.image_prefix, source.image_suffix)
    other = (source.labels, source.label_prefix, source.label_suffix)
    (pattern, prefix, suffixes), (rival, rival_prefix, rival_suffixes) = (
        (own, other) if side == "images" else (other, own)
    )
    assert pattern is not None
    rival_folder = None if rival is None or "*" in pattern else _below(rival, pattern)
    share_folder = rival is not None and PurePosixPath(rival) == PurePosixPath(pattern)
    for folder, captured in _expand(root, pattern):
        for below, name in walk_files(folder, recursive=source.recursive):
            if rival_folder is not None and (below == rival_folder or below.startswith(rival_folder + "/")):
                continue
            core = strip_affixes(name, prefix, suffixes)
            if core is None:
                continue
            if share_folder:  # the longer affix decides: x_mask.png is a label although it ends like the image x.png
                rival_core = strip_affixes(name, rival_prefix, rival_suffixes)
                if rival_core is not None and len(rival_core) < len(core):
                    continue
            key = (*captured, "/".join(part for part in (below, core) if part))
            yield key, (folder / below / name).relative_to(root).as_posix()


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
                for inner in (outer / name for name in folders.folders_of(outer))
            ]
        elif "*" in pattern:
            found = [(outer / part, captured) for outer, captured in found if (outer / part).is_dir()]
        else:
            found = [(outer / part, captured) for outer, captured in found]
    if not found or not any(folder.is_dir() for folder, _ in found):
        beside = folders.folders_of(root)
        there = f"it has {', '.join(beside[:8])}" if beside else "it has no folders"
        raise ValueError(f"there is no folder {pattern!r} in {root} ({there})")
    yield from found


# --- Lists of names -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class NameIndex:
    """Finds the pair that a line of a list file means: by name, by path, with or without extension and folders."""

    pairs: Sequence[Pair]
    _table: dict[str, int | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for position, pair in enumerate(self.pairs):
            for alias in self._aliases(pair):
                known = self._table.setdefault(same_name(alias), position)
                if known != position:
                    self._table[same_name(alias)] = None

    def find(self, line: str) -> Pair | None:
        """The pair named by `line`, or None where there is none or more than one."""
        text = line.strip()
        for candidate in (text, *text.replace(",", " ").replace(";", " ").split()[:1]):
            path = PurePosixPath(candidate.replace("\\", "/").lstrip("/"))
            for alias in (path.as_posix(), (path.parent / path.stem).as_posix(), path.name, path.stem):
                position = self._table.get(same_name(alias))
                if position is not None:
                    return self.pairs[position]
        return None

    @staticmethod
    def _aliases(pair: Pair) -> set[str]:
        image = PurePosixPath(pair.image)
        name = PurePosixPath(pair.name)
        return {image.as_posix(), image.with_suffix("").as_posix(), image.name, image.stem, pair.name, name.name}


def read_names(path: Path) -> list[str]:
    """The lines of a list file without empty ones and comments.

    Raises:
        ValueError: the file is missing, unreadable, or not text.
    """
    return [line for line in read_lines(path) if line and not line.startswith("#")]


# --- Shares by hash -----------------------------------------------------------------------------------------------


def hash_share(name: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but the two texts: adding files moves no other file."""
    digest = hashlib.blake2b(f"{salt}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def take_share(pairs: Sequence[Pair], fraction: float, salt: str) -> tuple[list[Pair], list[Pair]]:
    """(what is taken, what remains). Takes at least one and leaves at least one, if there are two."""
    shares = [hash_share(pair.name, salt) for pair in pairs]
    bound = fraction
    if len(pairs) > 1:
        ordered = sorted(shares)
        bound = min(max(bound, ordered[1]), ordered[-1])
    taken = [pair for pair, share in zip(pairs, shares, strict=True) if share < bound]
    remaining = [pair for pair, share in zip(pairs, shares, strict=True) if share >= bound]
    return taken, remaining
