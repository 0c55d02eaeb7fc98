"""Rows of CSV tables whose cells may hold whole masks."""

from __future__ import annotations

import csv
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from intarsia.data.annotations.json_parts import file_bytes
from intarsia.io.text import decoded

LARGEST = 2**30
_LONGEST_CELL = 2**28
_lock = threading.Lock()


def titles_of(text: str) -> list[str]:
    """The titles of the columns in the first line, in lower case and without blanks, - and _; of "Image_Label", too."""
    first = text.lstrip("\ufeff").splitlines()[:1]
    try:
        return [bare(cell) for cell in next(csv.reader(first), [])]
    except csv.Error:
        return []


def bare(title: str) -> str:
    """A title as it is compared."""
    return "".join(letter for letter in title.lower() if letter.isalnum())


def read_rows(path: Path) -> tuple[Sequence[str], list[Mapping[str, str]]]:
    """The titles, see `titles_of`, and the rows by them; a row that is shorter has "" there.

    Raises ValueError naming the file if it cannot be read.
    """
    try:
        text = decoded(file_bytes(path, LARGEST)).lstrip("\ufeff")
    except ValueError as error:
        raise error if str(error).startswith(str(path)) else ValueError(f"{path}: {error}") from None
    with _lock:  # the limit is one of the whole process
        before = csv.field_size_limit(_LONGEST_CELL)
        try:
            cells = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise ValueError(f"{path}: no table: {error}") from None
        finally:
            csv.field_size_limit(before)
    titles = [bare(cell) for cell in cells[0]] if cells else []
    return titles, [
        {title: cell.strip() for title, cell in zip(titles, [*row, *[""] * len(titles)], strict=False)}
        for row in cells[1:]
    ]
