"""The splits of a description: rules for folders, lists, pairs named one by one, shares; and the files they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from intarsia.data.description.annotated import list_annotated
from intarsia.data.description.contained import PackedSplit, TarSplit, list_packed, list_tars, packed_suffixes
from intarsia.data.description.inputs import with_partners
from intarsia.data.description.pairing import Listing, NameIndex, Pair, Source, list_pairs
from intarsia.data.description.slicing import in_slices
from intarsia.data.image_io import is_image_name
from intarsia.data.lists import FileIndex, ListTable, Where, choose, read_tables
from intarsia.data.scenes.discovery import find_windows
from intarsia.data.scenes.rule import SceneSplit
from intarsia.data.slices import Part, file_of, part_of, without_suffix
from intarsia.io.folders import walk_files


@dataclass(frozen=True, slots=True)
class FolderSplit:
    """Files found by a rule.

    names: text file or table, relative to the root, that lists the images of this split. where: (title of a column,
        text) of its rows that belong to it. exclude: names or image paths left out.
    missing: "error" if an image lacks its label or a listed name its image, "skip" to leave those out.
    """

    source: Source
    names: str | None = None
    exclude: tuple[str, ...] = ()
    missing: Literal["error", "skip"] = "error"
    where: Where | None = None

    def __str__(self) -> str:
        return f"{self.source}, listed in {_shown(self.names, self.where)}" if self.names else str(self.source)


@dataclass(frozen=True, slots=True)
class ListSplit:
    """Images and their labels as the lines of a list name them.

    file: text, CSV or TSV file, relative to the root. where: (title of a column, text) of the rows that belong to it.
    missing: "error" if a line names no image with a label, "skip" to leave it out.
    """

    file: str
    where: Where | None = None
    missing: Literal["error", "skip"] = "error"

    def __str__(self) -> str:
        return f"image and label as listed in {_shown(self.file, self.where)}"


@dataclass(frozen=True, slots=True)
class PairSplit:
    """Files named one by one, relative to the root: (image, label or None)."""

    pairs: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        return "named one by one"


@dataclass(frozen=True, slots=True)
class JoinedSplit:
    """Several sources in one split."""

    parts: tuple[FolderSplit | PackedSplit | TarSplit, ...] | tuple[SceneSplit, ...]

    @property
    def folders(self) -> tuple[FolderSplit, ...]:
        """Those of the sources that are folders."""
        return tuple(part for part in self.parts if isinstance(part, FolderSplit))

    def with_folders(self, change: Callable[[FolderSplit], FolderSplit]) -> JoinedSplit:
        """The same sources, those that are folders changed."""
        if isinstance(self.parts[0], SceneSplit):
            return self
        return JoinedSplit(tuple(change(part) if isinstance(part, FolderSplit) else part for part in self.parts))

    def __str__(self) -> str:
        return "; ".join(str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class ShareSplit:
    """A fraction taken out of another split by a hash of the seed and names: what is there stays (`together.py`)."""

    fraction: float
    of: str = "train"
    seed: int = 0

    def __str__(self) -> str:
        return f"a share of {self.fraction:.0%} of {self.of}"


@dataclass(frozen=True, slots=True)
class MemberSplit:
    """The splits of this name of several data sets, by the names of these (`mixed.py`)."""

    members: tuple[str, ...]

    def __str__(self) -> str:
        return f"that of {', '.join(self.members)}"


OwnSplit = FolderSplit | ListSplit | PairSplit | JoinedSplit | SceneSplit | MemberSplit | PackedSplit | TarSplit
"""A split with files of its own."""

Split = OwnSplit | ShareSplit


def list_split(root: Path, rule: OwnSplit) -> Listing:
    """The files of a split's own rule, before shares are taken out of it.

    Raises:
        ValueError: a folder or list is missing.
    """
    assert not isinstance(rule, MemberSplit), "each data set lists its own files"
    if isinstance(rule, PairSplit):
        return Listing(tuple(Pair(_bare(image), image, label) for image, label in rule.pairs))
    if isinstance(rule, ListSplit):
        return _list_table(root, rule)
    if isinstance(rule, JoinedSplit):
        return _joined([list_split(root, part) for part in rule.parts])
    if isinstance(rule, SceneSplit):
        return _windows(root, rule)
    if isinstance(rule, PackedSplit | TarSplit):
        return _contained(root, rule)
    listing = (list_pairs if rule.source.annotations is None else list_annotated)(root, rule.source)
    if rule.source.partners:
        listing = with_partners(root, rule.source, listing, skip=rule.missing == "skip")
    if rule.exclude:
        dropped = set(rule.exclude)
        kept = tuple(pair for pair in listing.pairs if not dropped & {pair.name, pair.image})
        listing = replace(
            listing, pairs=kept, unlabelled=tuple(path for path in listing.unlabelled if path not in dropped)
        )
    if rule.names is None:
        return in_slices(root, listing, rule.source)
    return _named(root, listing, rule.names, rule.where, rule.source)


def _named(root: Path, listing: Listing, names: str, where: Where | None, source: Source | None = None) -> Listing:
    """Of a listing what a list names: files with all their slices, or single slices.

    source: whose files are taken apart into slices when they have been chosen.
    """
    index = NameIndex(listing.pairs)

    def find(line: str) -> tuple[Pair, Part | None, str] | None:
        pair = index.find(file_of(line.strip())) or index.find(line)
        return None if pair is None else (pair, part_of(line.strip())[1], line)

    found, lost = choose(root / names, find, where)
    pairs = tuple(dict.fromkeys(pair for pair, _, _ in found))
    missing = tuple(text for _, text in lost)
    if source is None or not source.slices:
        return Listing(pairs, lost=missing)
    wanted: dict[str, dict[Part | None, str]] = {}
    for pair, part, line in found:
        wanted.setdefault(pair.image, {})[part] = line
    kept = []
    for pair in in_slices(root, Listing(pairs), source).pairs:
        file, part = part_of(pair.image)
        if None in wanted[file] or part is None or wanted[file].pop(part, None) is not None:
            kept.append(pair)
    unmet = (line for parts in wanted.values() if None not in parts for line in parts.values())
    return Listing(tuple(kept), lost=(*missing, *unmet))


def _contained(root: Path, rule: PackedSplit | TarSplit) -> Listing:
    listing = list_packed(root, rule) if isinstance(rule, PackedSplit) else list_tars(root, rule)
    return listing if rule.names is None else _named(root, listing, rule.names, None)


def missing_policy(rule: Split) -> Literal["error", "skip"]:
    """What a split does with images that lack a label."""
    if isinstance(rule, JoinedSplit):
        return "skip" if any(missing_policy(part) == "skip" for part in rule.parts) else "error"
    return rule.missing if isinstance(rule, FolderSplit | ListSplit | SceneSplit | TarSplit) else "error"


def sources(rule: Split) -> tuple[Source, ...]:
    """The rules of folders that a split has, in their order; none of lists and shares."""
    if isinstance(rule, JoinedSplit):
        return tuple(part.source for part in rule.folders)
    return (rule.source,) if isinstance(rule, FolderSplit) else ()


def scene_rules(rule: Split) -> tuple[SceneSplit, ...]:
    """The rules of scenes that a split has, in their order."""
    if isinstance(rule, JoinedSplit):
        return tuple(part for part in rule.parts if isinstance(part, SceneSplit))
    return (rule,) if isinstance(rule, SceneSplit) else ()


def slice_axis(rule: Split) -> str:
    """The axis along which a split takes the slices of volumes, "" if it has none."""
    if isinstance(rule, PairSplit):
        part = part_of(rule.pairs[0][0])[1] if rule.pairs else None
        return "" if part is None else part.axis
    return next((source.slices for source in sources(rule) if source.slices), "")


def skipping(rule: OwnSplit) -> OwnSplit:
    """The same rule, which leaves out images without label."""
    if isinstance(rule, JoinedSplit):
        return JoinedSplit(
            tuple(part if isinstance(part, PackedSplit) else replace(part, missing="skip") for part in rule.parts)  # type: ignore[arg-type]
        )
    if isinstance(rule, FolderSplit | ListSplit | SceneSplit | TarSplit):
        return replace(rule, missing="skip")
    return rule


def list_file(rule: Split) -> str | None:
    """The list that a split goes by, relative to the root; None without one, or with several."""
    if isinstance(rule, FolderSplit | PackedSplit | TarSplit | SceneSplit):
        return rule.names
    return rule.file if isinstance(rule, ListSplit) else None


def image_suffixes(root: Path, rule: Split) -> tuple[str, ...]:
    """What the names of a split's images end in besides the name itself, where a rule says it."""
    if isinstance(rule, PackedSplit):
        return packed_suffixes(root, rule)
    if isinstance(rule, FolderSplit):
        return rule.source.image_suffix
    if isinstance(rule, JoinedSplit):
        return tuple(dict.fromkeys(suffix for part in rule.parts for suffix in image_suffixes(root, part)))
    return ()


def _joined(listings: Sequence[Listing]) -> Listing:
    """The files of several sources; names that occur twice get the folder of their image."""
    pairs = [pair for listing in listings for pair in listing.pairs]
    names = [pair.name for pair in pairs]
    if len(set(names)) < len(names):
        pairs = [replace(pair, name=_bare(pair.image)) for pair in pairs]
    used = {name for pair in pairs for name in (pair.image, *pair.label_files)}
    return Listing(
        pairs=tuple(dict.fromkeys(pairs)),
        unlabelled=_others(listings, "unlabelled", used),
        unused=_others(listings, "unused", used),
        twins=_others(listings, "twins", used),
        lost=_others(listings, "lost", set()),
    )


def _others(listings: Sequence[Listing], kind: str, used: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for listing in listings for name in getattr(listing, kind) if name not in used))


def _windows(root: Path, rule: SceneSplit) -> Listing:
    found = find_windows(root, rule)
    pairs = (Pair(window.shown, window.shown, window.label, window=window) for window in found.windows)
    return Listing(tuple(pairs), unlabelled=found.unlabelled, lost=found.lost)


# --- Lists of images and labels -----------------------------------------------------------------------------------


def paired_columns(table: ListTable, find: FileIndex) -> tuple[int, int] | None:
    """The columns of the images and of the labels, if most rows name two different files."""
    image, hits = table.best_column(find.find)
    if not hits:
        return None
    others = [(table.hits(column, find.find), -column) for column in range(table.width) if column != image]
    second, negative = max(others, default=(0, 0))
    if 2 * second < hits:
        return None
    first, last = sorted((image, -negative))
    same = sum(find.find(row[first]) == find.find(row[last]) for row in table.rows if len(row) > last)
    return (first, last) if 2 * same < len(table.rows) else None


def index_files(root: Path) -> FileIndex:
    """All image files below the root, for looking up what a list names."""
    return FileIndex(path for path in walk_files(root) if is_image_name(path))


def _list_table(root: Path, rule: ListSplit) -> Listing:
    path = root / rule.file
    index = index_files(root)
    for table in read_tables(path, rule.where):
        columns = paired_columns(table, index)
        if columns is not None:
            break
    else:
        raise ValueError(f"{path}: no two columns name images and label files in {root}; expected lines image,label")
    pairs: list[Pair] = []
    lost: list[str] = []
    for position, row in enumerate(table.rows):
        image, label = (index.find(row[column]) if len(row) > column else None for column in columns)
        if image is not None and label is not None:
            pairs.append(Pair(_bare(image), image, label))
        elif position or rule.where is not None or not table.has_titles(columns[0], index.find):
            lost.append(row[columns[0]] if len(row) > columns[0] else ", ".join(row))
    return Listing(tuple(dict.fromkeys(pairs)), lost=tuple(lost))


def _shown(file: str, where: Where | None) -> str:
    return file if where is None else f"{file} ({where[0]}: {where[1]})"


def _bare(image: str) -> str:
    file = file_of(image)
    return without_suffix(file) + image[len(file) :]
