"""A table of images as a CSV file: a row for each, written whole as it grows."""

from __future__ import annotations

import csv
import io
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from intarsia.inference.outputs.parts import files_of_parts
from intarsia.io.folders import natural_order
from intarsia.io.text import encodable, read_text
from intarsia.io.whole_files import write_text

SAVE_EVERY = 30.0
"""Seconds between two states of the file: what a process that is killed may lose."""


class ImageTable(ABC):
    """A CSV file that is rewritten whole as it grows. Threads may share it.

    The first column is the image's name, by which the rows are ordered. Subclasses say what the others hold, and call
    it something (`title`).

    wrong: what is said where the file has other columns. resume: keep the rows that it has already, and those of parts
    (`Part.of`), which become one table with it.

    Raises ValueError if they have other columns.
    """

    title = "table"

    def __init__(self, path: Path, columns: Sequence[str], *, resume: bool, wrong: str) -> None:
        self.path = path
        self.columns = list(columns)
        self.rows: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._saved = time.monotonic()
        self.parts = files_of_parts(path) if resume else []
        for file in (*self.parts, path):
            if resume and file.is_file():
                self._read(file, wrong)

    def __contains__(self, name: str) -> bool:
        return encodable(name) in self.rows

    @abstractmethod
    def row(self, prediction: Any) -> list[str]:
        """The cells of an image, after its name."""

    def add(self, prediction: Any) -> None:
        """Add the row of an image, in place of an older one."""
        self.put(prediction.name, self.row(prediction))

    def put(self, name: str, cells: Sequence[str]) -> None:
        """Add the row of the image of this name, as `row` has made it."""
        with self._lock:
            self.rows[encodable(name)] = [encodable(name), *cells]  # as the file will say it, and gives it back
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()

    def __getstate__(self) -> dict[str, Any]:
        """Another process makes rows, and keeps none."""
        return {**self.__dict__, "rows": {}, "_lock": None}

    def save(self) -> None:
        """Bring all rows into the file."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(self.columns)
        table.writerows(self.rows[name] for name in sorted(self.rows, key=natural_order))
        write_text(self.path, text.getvalue())
        self._saved = time.monotonic()

    def _read(self, path: Path, wrong: str) -> None:
        """A table as it was written, or as an editor or a spreadsheet has saved it since. What is no whole row is left
        out, so that its image is done again.
        """
        text = read_text(path, largest=path.stat().st_size)
        try:
            rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(row)]
        except csv.Error as error:
            raise ValueError(f"{path}: cannot be read as a table: {error}; remove it, or name another file") from None
        if rows and rows[0] != self.columns:
            raise ValueError(f"{path} has other columns ({', '.join(rows[0][:5])} ...) than {wrong}")
        self.rows.update({row[0]: row for row in rows[1:] if len(row) == len(self.columns)})
