"""Splits written as lists: files with a name a line, and the rules of a description that go by them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from intarsia.data.description.contained import PackedSplit, TarSplit
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Pair
from intarsia.data.description.splits import FolderSplit, JoinedSplit, ListSplit, OwnSplit, ShareSplit, list_split
from intarsia.data.scenes.rule import SceneSplit
from intarsia.io.whole_files import write_text


def own_splits(description: DataDescription, pool: Sequence[str] = ("train",)) -> DataDescription:
    """The same data with the splits of `pool` alone, whole: what is a share of them is a part of them.

    Raises ValueError if there is no such split, or one is a share of another.
    """
    for name in pool:
        if name not in description.splits:
            raise ValueError(f"the data has no {name!r} split; it has {', '.join(description.splits)}")
        if isinstance(rule := description.splits[name], ShareSplit):
            raise ValueError(f"the {name} split is a share of {rule.of}; divide {rule.of}, of which it is a part")
    return replace(description, splits={name: description.splits[name] for name in pool})


def write_lists(
    pool: DataDescription, parts: Mapping[str, Collection[str]], folder: Path, *, prefix: str = ""
) -> dict[str, OwnSplit]:
    """Write the images of every part as a list into `folder`, and give the rules that go by these.

    pool: of whose splits the images are, see `own_splits`. parts: name -> images, as paths below the root; of scenes,
    blocks. prefix: of the names of the lists. Where the images of one folder rule are divided a list is a text file
    with a path a line; of several sources there is one for each; where labels stand in lists, it is a CSV file with
    both. Training on blocks of scenes keeps the margin of a window away from blocks of other parts.

    Raises ValueError if a list would not be read back as it is meant.
    """
    folder = Path(os.path.abspath(folder))
    rules = [rule for rule in pool.splits.values() if not isinstance(rule, ShareSplit)]
    sources: list[OwnSplit] = []
    for rule in rules:
        sources += rule.parts if isinstance(rule, JoinedSplit) else (rule,)
    pairs = [list_split(pool.root, source).pairs for source in sources]
    result: dict[str, OwnSplit] = {}
    for part, images in parts.items():
        stem = folder / f"{prefix}{part}"
        folders = [s for s in sources if isinstance(s, FolderSplit | PackedSplit | TarSplit | SceneSplit)]
        if len(folders) == len(sources):
            result[part] = _folder_lists(pool.root, folders, pairs, images, stem, apart=part == "train")
        else:
            result[part] = _table(pool.root, sources, pairs, images, stem.with_name(f"{stem.name}.csv"))
        _check(replace(pool, splits={"train": result[part]}), images, stem)
    return result


def _folder_lists(
    root: Path,
    sources: Sequence[FolderSplit | PackedSplit | TarSplit | SceneSplit],
    pairs: Sequence[Sequence[Pair]],
    images: Collection[str],
    stem: Path,
    *,
    apart: bool,
) -> OwnSplit:
    """The rules of folders, packed files, tars and scenes as they were, each with a list of what is taken of it.

    apart: whether a margin is kept from what is not taken.
    """
    rest = set(images)
    rules: list[FolderSplit | PackedSplit | TarSplit | SceneSplit] = []
    for number, (source, found) in enumerate(zip(sources, pairs, strict=True), 1):
        taken = sorted({pair.listed_as for pair in found} & rest)
        if not isinstance(source, SceneSplit):  # of a block, each source may have areas of its own
            rest -= set(taken)
        if not taken:
            continue
        file = stem.with_name(f"{stem.name}{f'_{number}' if len(sources) > 1 else ''}.txt")
        write_text(file, "".join(f"{image}\n" for image in taken))
        if isinstance(source, FolderSplit):
            source = replace(source, exclude=(), where=None)
        if isinstance(source, SceneSplit):
            source = replace(source, gap=source.margin if apart and source.block else 0)
        elif not isinstance(source, PackedSplit):
            source = replace(source, missing="error")
        rules.append(replace(source, names=_below(root, file)))
    return rules[0] if len(rules) == 1 else JoinedSplit(tuple(rules))  # type: ignore[arg-type]  # of one kind


def _table(
    root: Path, sources: Sequence[OwnSplit], pairs: Sequence[Sequence[Pair]], images: Collection[str], file: Path
) -> ListSplit:
    labels = {pair.image: pair for found in reversed(pairs) for pair in found}
    if any(isinstance(source, FolderSplit) and source.source.masks for source in sources):
        raise ValueError(
            "data with a mask for each class and lists of labels beside them cannot be divided together; divide one"
        )
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([("image", "label"), *((image, labels[image].label) for image in sorted(images))])
    write_text(file, text.getvalue())
    return ListSplit(_below(root, file))


def _below(root: Path, file: Path) -> str:
    """A list as a description names it: relative where root and list can be moved together, else absolute."""
    root = Path(os.path.abspath(root))
    folder = file.parent
    related = root == folder or root in folder.parents or folder in root.parents
    return Path(os.path.relpath(file, root) if related else file).as_posix()


def _check(written: DataDescription, images: Collection[str], stem: Path) -> None:
    """Names may be such that a line means nothing or another file: a comma, a "#" in the beginning, a line break."""
    found = {pair.listed_as for pair in written.listing("train").pairs}
    if wrong := sorted(found ^ set(images)):
        raise ValueError(f"{stem}: a list cannot name {', '.join(wrong[:3])}; rename the file")


def parts_of(names: Sequence[str], images: Sequence[str], order: Sequence[str]) -> dict[str, list[str]]:
    """The images of each part, from the part of each image."""
    return {part: [image for image, name in zip(images, names, strict=True) if name == part] for part in order}
