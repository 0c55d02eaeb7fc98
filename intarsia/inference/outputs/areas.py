"""The areas of the classes as a table: a row for each image, pixels and share for each class."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from intarsia.inference.prediction import Prediction
from intarsia.io.folders import natural_order
from intarsia.io.whole_files import write_text

SAVE_EVERY = 30.0
"""Seconds between two states of the file: what a process that is killed may lose."""


class AreaTable:
    """A CSV file that is rewritten whole as it grows. Threads may share it.

    Columns: image, width, height, then for each class its pixels and its share of the image, in fractions of 1, and the
    same of what is uncertain at the threshold, whose pixels belong to no class. Rows are in the order of the names.

    resume: keep the rows that the file has already. Raises ValueError if they have other columns.
    """

    def __init__(
        self, path: Path, classes: Sequence[str], *, min_confidence: float | None = None, resume: bool = False
    ) -> None:
        if path.is_dir():
            raise ValueError(f"--areas {path} is a folder; give the name of a file")
        self.path = path
        self.min_confidence = min_confidence
        things = [*_distinct(classes), *(["uncertain"] if min_confidence is not None else [])]
        self.columns = ["image", "width", "height", *(f"{t} {what}" for t in things for what in ("pixels", "share"))]
        self._rows: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._saved = time.monotonic()
        if resume and path.is_file():
            self._read()

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def add(self, prediction: Prediction) -> None:
        """Add the row of an image, in place of an older one."""
        height, width = prediction.label.shape
        counts = prediction.pixels(min_confidence=self.min_confidence).tolist()
        if self.min_confidence is not None:
            counts.append(prediction.label.size - sum(counts))
        cells = [text for count in counts for text in (str(count), f"{count / prediction.label.size:.6f}")]
        with self._lock:
            self._rows[prediction.name] = [prediction.name, str(width), str(height), *cells]
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()

    def save(self) -> None:
        """Bring all rows into the file."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(self.columns)
        table.writerows(self._rows[name] for name in sorted(self._rows, key=natural_order))
        write_text(self.path, text.getvalue())
        self._saved = time.monotonic()

    def _read(self) -> None:
        with open(self.path, newline="", encoding="utf-8") as file:
            columns, *rows = csv.reader(file)
        if columns != self.columns:
            raise ValueError(
                f"{self.path} has other columns ({', '.join(columns[:5])} ...) than this model's classes give; choose "
                "another file for --areas, or remove it"
            )
        self._rows = {row[0]: row for row in rows}


def _distinct(classes: Sequence[str]) -> list[str]:
    """The names, with their index where several classes have one name."""
    count = Counter(classes)
    return [name if count[name] == 1 else f"{name} ({index})" for index, name in enumerate(classes)]
