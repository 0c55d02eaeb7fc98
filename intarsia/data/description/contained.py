"""Splits whose images lie within other files: a split of packed data, and tars of the WebDataset form."""

from __future__ import annotations

import itertools
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from intarsia.data.containers import LABEL, member_name
from intarsia.data.description.pairing import Listing, Pair, strip_affixes
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.packed.reader import opened
from intarsia.data.slices import VOLUME_SUFFIXES, part_of, without_suffix
from intarsia.data.tars import grouped, is_tar_name, shown_endings, tar_index
from intarsia.io.folders import walk_files
from intarsia.terminal import Notice

_IMAGE_WORDS = ("", "image", "images", "img", "rgb", "input")
_LABEL_WORDS = ("seg", "mask", "label", "labels", "segmentation", "gt", "annotation")
_LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".npy")
_ENDINGS = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in VOLUME_SUFFIXES)


@dataclass(frozen=True, slots=True)
class PackedSplit:
    """A split of a packed file.

    file: relative to the root. part: the split's name in the file. names: text file, relative to the root, that lists
        the images that are taken of it.
    """

    file: str
    part: str
    names: str | None = None

    def __str__(self) -> str:
        listed = f", listed in {self.names}" if self.names else ""
        return f"{self.part} of the packed data in {self.file}{listed}"


@dataclass(frozen=True, slots=True)
class TarSplit:
    """Samples of tars: the members whose paths agree up to the first dot of their file name.

    shards: tars, folders of tars, or patterns with "*", relative to the root. image_suffix, label_suffix: what follows
        that dot, with it, the first that a sample has counts; () for what images and labels are usually called.
    names: as of `PackedSplit`. missing: "skip" to leave out images without label.
    labels: False for images without ground truth.
    """

    shards: tuple[str, ...]
    image_suffix: tuple[str, ...] = ()
    label_suffix: tuple[str, ...] = ()
    names: str | None = None
    missing: Literal["error", "skip"] = "error"
    labels: bool = True

    def __str__(self) -> str:
        return f"samples of the tars {', '.join(self.shards)}" + (f", listed in {self.names}" if self.names else "")


def list_packed(root: Path, rule: PackedSplit) -> Listing:
    """The samples of a split of a packed file, in its order.

    Raises ValueError naming the file if it is missing, damaged or has no such split.
    """
    pack = opened(root / rule.file)
    start, stop = pack.part(rule.part)
    if not 0 <= start <= stop <= len(pack):
        raise ValueError(f"{pack.path}: says that {rule.part} lies outside of its samples")
    file, suffixes = PurePosixPath(rule.file).as_posix(), pack.header.suffixes.get(rule.part, ())
    labelled = pack.planes["height"][2 * start + 1 : 2 * stop : 2] > 0
    pairs = []
    for name, has_label in zip(pack.names.of(start, stop), labelled.tolist(), strict=True):
        if "/../" in name or name.endswith("/.."):  # what is made of a sample gets its name
            raise ValueError(f"{pack.path}: refused: the sample {name[:100]!r} has a name that leads out of a folder")
        path = f"{file}/{name}"
        pairs.append(Pair(_bare(name.partition("/")[2], suffixes), path, path + LABEL if has_label else None))
    return Listing(tuple(pairs))


def packed_suffixes(root: Path, rule: PackedSplit) -> tuple[str, ...]:
    """What the names of the images of a split end in."""
    return opened(root / rule.file).header.suffixes.get(rule.part, ())


def _bare(image: str, suffixes: Sequence[str]) -> str:
    file, part = part_of(image)
    if part is not None:
        return without_suffix(file) + image[len(file) :]
    folder, slash, file = image.rpartition("/")
    stem = strip_affixes(file, "", suffixes) if suffixes else None
    return folder + slash + (os.path.splitext(file)[0] if stem is None else stem)


_TOLD: set[tuple[str, tuple[str, ...], str]] = set()

# --- Tars ---------------------------------------------------------------------------------------------------------


def list_tars(root: Path, rule: TarSplit) -> Listing:
    """The samples of tars, in the order of the tars and of the members in them.

    Raises ValueError naming the tar that is missing, compressed, cut off or damaged.
    """
    pairs: list[Pair] = []
    unlabelled: list[str] = []
    ignored: Counter[str] = Counter()
    for tar in tar_files(root, rule.shards):
        for members in grouped(tar_index(root / tar).names.of(0, len(tar_index(root / tar).names))).values():
            image, label = _chosen(members, rule)
            ignored.update(ending for ending in members if ending not in (image, label))
            if image is None:
                continue
            path = f"{tar}/{members[image]}"
            if label is None and rule.labels:
                unlabelled.append(path)
                continue
            found = f"{tar}/{members[label]}" if label is not None else None
            pairs.append(Pair(os.path.splitext(member_name(path))[0], path, found))
    text = f"members that are neither image nor label are left out: {shown_endings(ignored)}"
    if ignored and (str(root), rule.shards, text) not in _TOLD:  # a run lists its files several times
        _TOLD.add((str(root), rule.shards, text))
        warnings.warn(text, Notice, stacklevel=4)
    return Listing(tuple(pairs), unlabelled=tuple(unlabelled))


def tar_files(root: Path, shards: Sequence[str]) -> list[str]:
    """The tars that are meant, relative to the root, sorted. Raises ValueError if one stands for none."""
    found: list[str] = []
    for entry in shards:
        place = root / entry
        if any(letter in entry for letter in "*?["):
            paths = list(_matching(root, PurePosixPath(entry)))
        elif place.is_dir():
            paths = [PurePosixPath(entry, name).as_posix() for name in walk_files(place) if is_tar_name(name)]
        else:
            paths = [PurePosixPath(entry).as_posix()] if place.is_file() else []
        if not paths:
            raise ValueError(
                f"{place}: there is no tar; expected a .tar, a folder of them, or a pattern like train-*.tar"
            )
        found += paths
    return sorted(dict.fromkeys(found))


def _matching(root: Path, pattern: PurePosixPath) -> Iterator[str]:
    """The files below the root whose path matches a pattern, part by part."""
    plain = itertools.takewhile(lambda part: not any(letter in part for letter in "*?["), pattern.parts)
    folder = PurePosixPath(*plain)
    if (root / folder).is_dir():
        for name in walk_files(root / folder):
            path = folder / name
            if len(path.parts) == len(pattern.parts) and path.match(str(pattern)):
                yield path.as_posix()


def _chosen(members: dict[str, str], rule: TarSplit) -> tuple[str | None, str | None]:
    """The endings of image and label of a sample, without the first dot."""
    image = next(_endings(members, rule.image_suffix, _IMAGE_WORDS, _ENDINGS), None)
    if image is None or not rule.labels:
        return image, None
    found = [one for one in _endings(members, rule.label_suffix, _LABEL_WORDS, _ENDINGS) if one != image]
    if not found and not rule.label_suffix:  # 0001.jpg beside 0001.png
        found = [one for one in _endings(members, (), ("",), _LOSSLESS) if one != image]
    return image, found[0] if found else None


def _endings(
    members: dict[str, str], given: Sequence[str], words: Sequence[str], suffixes: Sequence[str]
) -> Iterator[str]:
    """What of a sample's endings is meant, the best first."""
    if given:
        yield from (ending for one in given if (ending := one.lower().removeprefix(".")) in members)
        return
    for suffix in suffixes:
        for word in words:
            ending = f"{word}{suffix}" if word else suffix[1:]
            if ending in members:
                yield ending


SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def splits_of_tars(tars: Sequence[str]) -> dict[str, TarSplit]:
    """The splits that the names of tars, or of their folders, speak of; all are "train" where they speak of none."""
    found: dict[str, list[str]] = {}
    for tar in tars:
        words = [
            word for part in tar.lower().split("/") for word in part.replace("_", "-").replace(".", "-").split("-")
        ]
        found.setdefault(next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), ""), []).append(tar)
    if "train" not in found:
        found["train"] = [tar for part in ("", "val", "test") for tar in found.pop(part, [])]
    found.pop("", None)
    return {part: TarSplit(tuple(found[part])) for part in ("train", "val", "test") if part in found}
