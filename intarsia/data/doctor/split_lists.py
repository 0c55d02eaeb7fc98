"""Lists beside the data that tell the splits: train.txt, val.csv, or one table with a column for the split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from intarsia.data.description.pairing import NameIndex, Pair
from intarsia.data.description.splits import FolderSplit, JoinedSplit, ListSplit, OwnSplit, paired_columns
from intarsia.data.doctor.folders import SPLITS, split_of
from intarsia.data.lists import LIST_SUFFIXES, FileIndex, ListTable, Where, choose, read_tables

_MOST_LISTS = 50
_MOST_BYTES = 2**26
_BOTH = "trainval"


@dataclass(slots=True)
class SplitLists:
    """What lists say. splits: rules by them. notes: which were used; warnings: which were not, and why."""

    splits: dict[str, OwnSplit] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_split_lists(
    root: Path, others: Sequence[str], images: Sequence[str], rule: OwnSplit | None, pairs: Sequence[Pair]
) -> SplitLists:
    """Read the lists among `others` (files that are no images).

    rule, pairs: how the folders pair images and labels, if they do.
    """
    found = SplitLists()
    lists = _lists(root, others)
    if not lists:
        return found
    finder = _Finder(root, FileIndex(images), NameIndex(pairs), rule)
    best: dict[str, tuple[float, int, str, OwnSplit]] = {}
    for path in lists:
        split = split_of(PurePosixPath(path).stem) or (_BOTH if _BOTH in PurePosixPath(path).stem.lower() else None)
        try:
            tables = read_tables(root / path)
        except ValueError as error:
            if split is not None:
                found.warnings.append(f"the list could not be read: {error}")
            continue
        if split is None:
            for name, chosen in finder.by_column(path, tables):
                best.setdefault(name, (0.0, len(path), path, chosen))
            continue
        own, hits, lines = finder.rule_of(path, tables)
        if own is not None and lines and 2 * hits >= lines:
            rank = (-hits / lines, len(path), path, own)
            best[split] = min(best.get(split, rank), rank, key=lambda entry: entry[:3])
        else:
            found.warnings += finder.excuse(path, split, hits, lines)
    both = best.pop(_BOTH, None)
    if both is not None and "train" not in best:
        best["train"] = both
    found.splits = {split: best[split][3] for split in SPLITS if split in best}
    found.notes = [f"{split}: the names listed in {best[split][2]}" for split in found.splits]
    return found


def _lists(root: Path, others: Iterable[str]) -> list[str]:
    """Candidates: lists named after a split anywhere, and tables near the root."""
    wanted = []
    for path in others:
        pure = PurePosixPath(path)
        named = split_of(pure.stem) is not None or _BOTH in pure.stem.lower()
        if pure.suffix.lower() not in LIST_SUFFIXES or not (named or len(pure.parts) <= 2):
            continue
        if named or pure.suffix.lower() in (".csv", ".tsv"):
            wanted.append((not named, len(pure.parts), path))
    chosen = [path for _, _, path in sorted(wanted)[:_MOST_LISTS]]
    return [path for path in chosen if (root / path).stat().st_size <= _MOST_BYTES]


@dataclass(slots=True)
class _Finder:
    """Looks up what lines mean: files, and pairs of the folder rule."""

    root: Path
    files: FileIndex
    names: NameIndex
    rule: OwnSplit | None

    def rule_of(self, path: str, tables: Sequence[ListTable]) -> tuple[OwnSplit | None, int, int]:
        """(the rule of a list, lines that mean something, all lines without titles)."""
        for table in tables:
            columns = paired_columns(table, self.files)
            if columns is not None:
                hits = sum(all(len(row) > c and self.files.find(row[c]) for c in columns) for row in table.rows)
                lines = len(table.rows) - table.has_titles(columns[0], self.files.find)
                return ListSplit(path, None, "error" if hits == lines else "skip"), hits, lines
        found, lost = choose(self.root / path, self.names.find)
        return self._of_names(path, None, bool(lost)), len(found), len(found) + len(lost)

    def by_column(self, path: str, tables: Sequence[ListTable]) -> list[tuple[str, OwnSplit]]:
        """(split, rule) of a table in which one column tells the split."""
        for table in tables:
            column, words = _split_column(table)
            if not words:
                continue
            title = table.rows[0][column]
            result: list[tuple[str, OwnSplit]] = []
            for split, word in words.items():
                where = (title, word)
                chosen = table.rows_where(where)
                rule, hits = self._of_rows(path, where, chosen) if chosen is not None else (None, 0)
                if rule is not None and hits:
                    result.append((split, rule))
            return result if any(split == "train" for split, _ in result) else []
        return []

    def _of_rows(self, path: str, where: Where, table: ListTable) -> tuple[OwnSplit | None, int]:
        columns = paired_columns(table, self.files)
        if columns is not None:
            hits = sum(all(len(row) > c and self.files.find(row[c]) for c in columns) for row in table.rows)
            return ListSplit(path, where, "error" if hits == len(table.rows) else "skip"), hits
        _, hits = table.best_column(self.names.find)
        return self._of_names(path, where, hits < len(table.rows)), hits

    def _of_names(self, path: str, where: Where | None, incomplete: bool) -> OwnSplit | None:
        """The folder rule with a list that chooses from it."""
        parts = self.rule.parts if isinstance(self.rule, JoinedSplit) else (self.rule,)
        folders = [part for part in parts if isinstance(part, FolderSplit)]
        if not folders:
            return None
        missing = "skip" if incomplete or len(folders) > 1 else "error"
        listed = tuple(FolderSplit(part.source, path, part.exclude, missing, where) for part in folders)  # type: ignore[arg-type]
        return listed[0] if len(listed) == 1 else JoinedSplit(listed)

    def excuse(self, path: str, split: str, hits: int, lines: int) -> list[str]:
        """What to say of a list that is not used; nothing where it lists images without labels, as for a contest."""
        if not lines:
            return [f"{path} is empty, so it is not used as the list of the {split} split"]
        images = max((table.best_column(self.files.find)[1] for table in read_tables(self.root / path)), default=0)
        if not hits and 2 * images >= lines:
            return [f"{path} lists {images} images without labels; left out"]
        return [
            f"{path} is not used as the list of the {split} split: {hits} of its {lines} lines name an image with a "
            "label here"
        ]


def _split_column(table: ListTable) -> tuple[int, Mapping[str, str]]:
    """(column, split -> its word) of a table whose first row is titles and one of whose columns holds splits alone."""
    for column in range(table.width):
        words = list(dict.fromkeys(text for text in table.column(column)[1:] if text))
        known = {word: split_of(word) for word in words[:8]}
        if 2 <= len(words) <= 4 and all(known.get(word) for word in words):
            return column, {str(split): word for word, split in reversed(known.items())}
    return 0, {}
