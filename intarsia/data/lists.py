"""Lists of files: one name a line, or tables of images, labels and splits. The one reader of them.

How a line means a file is not written in it: with or without folders and extension, with backslashes, with the
drive of another machine. A line is therefore looked up among the files that are there.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from intarsia.io.text import lines_of, read_text, same_name

LIST_SUFFIXES = (".txt", ".lst", ".csv", ".tsv")

Found = TypeVar("Found")

_DELIMITERS = "\t,;|"
_LOOKED_AT = 50
_LONGEST_NAME = 4096
_TITLES = (
    *("image", "images", "img", "imgs", "image_id", "imageid", "img_id", "file", "files", "filename", "file_name"),
    *("filepath", "file_path", "path", "paths", "image_path", "img_path", "name", "names", "id", "ids", "sample"),
)
"""What the first line of a list may say instead of naming a file."""


@dataclass(frozen=True, slots=True)
class ListTable:
    """A list as a table, without empty lines and comments. numbers: of the lines, from 1. tabular: of a CSV file."""

    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]
    tabular: bool

    @property
    def width(self) -> int:
        """Cells of the longest row."""
        return max(map(len, self.rows), default=0)

    def column(self, index: int) -> list[str]:
        """The cells of a column, "" where a row is shorter."""
        return [row[index] if index < len(row) else "" for row in self.rows]

    def hits(self, index: int, find: Callable[[str], object]) -> int:
        """Cells of a column by which `find` finds something."""
        return sum(bool(cell) and find(cell) is not None for cell in self.column(index))

    def best_column(self, find: Callable[[str], object]) -> tuple[int, int]:
        """The column whose cells find most, and how many."""
        best = max(((self.hits(index, find), -index) for index in range(self.width)), default=(0, 0))
        return -best[1], best[0]

    def rows_where(self, where: Where) -> ListTable | None:
        """The rows with a text in a column, which the first row names; None if it does not."""
        titles = [title.lower() for title in self.rows[0]] if self.rows else []
        if where[0].lower() not in titles:
            return None
        column = self.column(titles.index(where[0].lower()))
        kept = [i for i, text in enumerate(column) if i and text.lower() == where[1].lower()]
        return ListTable(tuple(self.rows[i] for i in kept), tuple(self.numbers[i] for i in kept), self.tabular)

    def has_titles(self, index: int, find: Callable[[str], object]) -> bool:
        """Whether the first row names the columns: its cell of this column finds nothing, and that of another does."""
        cells = self.column(index)
        if len(cells) < 2 or find(cells[0]) is not None or not any(find(cell) is not None for cell in cells[1:]):
            return False
        return self.tabular or cells[0].lower() in _TITLES


Where = tuple[str, str]
"""(title of a column, text) of the rows that are meant."""


def read_tables(path: Path, where: Where | None = None) -> list[ListTable]:
    """The readings of a list: by what separates its cells, and with whole lines as names.

    Raises ValueError naming the file if it is missing or no text, or if no column has the title that `where` says.
    """
    text = read_text(path)
    numbered = [(number, line) for number, line in enumerate(lines_of(text), 1) if line and not line.startswith("#")]
    numbers = tuple(number for number, _ in numbered)
    lines = [line for _, line in numbered]
    tabular = path.suffix.lower() in (".csv", ".tsv")
    tables = [
        ListTable(tuple(tuple(cell.strip() for cell in _cells(line, mark)) for line in lines), numbers, tabular)
        for mark in _delimiters(lines, tabular)
    ]
    if where is None:
        return [*tables, ListTable(tuple((line,) for line in lines), numbers, tabular)]
    chosen = [table.rows_where(where) for table in tables]
    found = [table for table in chosen if table is not None]
    if not found:
        raise ValueError(f"{path}: no column is called {where[0]!r}; the first line is {lines[0] if lines else ''!r}")
    return found


def choose(
    path: Path, find: Callable[[str], Found | None], where: Where | None = None
) -> tuple[list[Found], list[tuple[int, str]]]:
    """What the lines of a list mean, in its order, by the reading that finds most; and (number, text) of the others.

    Raises ValueError naming the file if it cannot be read.
    """
    tables = read_tables(path, where)
    best = [(table, *table.best_column(find)) for table in tables]
    table, column, _ = max(best, key=lambda entry: entry[2])
    start = 1 if where is None and table.has_titles(column, find) else 0
    found: list[Found] = []
    lost: list[tuple[int, str]] = []
    for number, cell in list(zip(table.numbers, table.column(column), strict=True))[start:]:
        meant = find(cell)
        if meant is None:
            lost.append((number, cell))
        else:
            found.append(meant)
    return found, lost


def spellings(line: str) -> Iterator[str]:
    """What a line may mean: the whole of it first, then without drive and outer folders, then only its first word."""
    for text in dict.fromkeys((line, *line.replace(",", " ").replace(";", " ").split()[:1])):
        cleaned = text.strip().strip("\"'").replace("\\", "/")[:_LONGEST_NAME]
        parts = [part for part in cleaned.split("/") if part not in ("", ".", "..") and part[1:] != ":"]
        for start in range(len(parts)):
            yield same_name("/".join(parts[start:]))


class FileIndex:
    """Finds files by their path or the end of it, with or without extension, where only one file is meant."""

    def __init__(self, paths: Iterable[str]) -> None:
        """paths: with "/" between folders."""
        self._whole = {same_name(path): path for path in paths}
        self._ends: dict[str, str | None] = {}
        for path in self._whole.values():
            for end in path_ends(path):
                known = self._ends.setdefault(end, path)
                if known != path:
                    self._ends[end] = None

    def find(self, line: str) -> str | None:
        """The file that a line means, or None where there is none or more than one."""
        for spelling in spellings(line):
            found = self._whole.get(spelling) or self._ends.get(spelling)
            if found is not None:
                return found
        return None


def path_ends(path: str) -> Iterator[str]:
    """The path, and what is left of it without outer folders, each with and without extension."""
    parts = PurePosixPath(same_name(path)).parts
    for start in range(len(parts)):
        end = PurePosixPath(*parts[start:])
        yield end.as_posix()
        yield end.with_suffix("").as_posix()


def _delimiters(lines: list[str], tabular: bool) -> list[str]:
    """What may separate the cells, the likeliest first: it occurs in all lines, and equally often outside of tables."""
    looked_at = lines[:_LOOKED_AT]
    if tabular:
        return [mark for mark in _DELIMITERS if lines and mark in lines[0]][:1]
    marks = []
    for mark in (*_DELIMITERS, " "):
        counts = {len(_cells(line, mark)) for line in looked_at}
        if len(counts) == 1 and counts.isdisjoint({0, 1}):
            marks.append(mark)
    return marks[:2]


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [line])
    except csv.Error:  # a quoted cell that never ends, or one longer than the module takes
        return line.split(delimiter)
