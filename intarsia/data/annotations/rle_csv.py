"""Masks as run lengths in a table, as competitions give them: a row for each object, or for each image and class.

``ImageId,EncodedPixels``: pairs of a start, counted from 1, and a length. Pixels are counted down the columns, as most
competitions have it, or along the rows: two runs that belong together begin a height apart in the one case and a width
in the other, by which images that are not square tell. `rle_csv_rows` is of tables that count along the rows. A row
without runs (or with -1) says that there is nothing. Later rows lie over earlier ones.

The class is that of a column (``ClassId``), or stands behind the last _ of the image's name (``Image_Label``); without
either, all are "object".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.annotations.csv_rows import read_rows, titles_of
from intarsia.data.annotations.shapes import Bitmap, Drawing, Shape, SizeOf, stated_size

_RUNS = ("encodedpixels", "rlemask", "rle", "encoding", "maskrle", "runlengths", "segmentation", "annotation", "mask")
_WITH_CLASS = ("imagelabel", "imageidclassid", "imageclass")
_IMAGE = (*("imageid", "image", "filename", "imagename", "imgid", "img", "file", "id", "name"), *_WITH_CLASS)
_CLASS = ("classid", "classname", "class", "label", "category", "categoryid", "celltype")
_OBJECT = "object"
_NOTHING = ("", "-1", "nan", "NaN", "None")


class RleCsv:
    """The format. by_column: None lets the runs of each image say it."""

    name = "rle_csv"
    title = "run lengths in a table"
    suffix = ".csv"
    per_image = False
    absent_is_empty = False
    by_column: bool | None = None

    def recognise(self, text: str) -> bool:
        """Whether a column is called after run lengths and holds such."""
        titles = titles_of(text)
        runs, image = _column(titles, _RUNS), _column(titles, _IMAGE)
        if runs is None or image is None:
            return False
        certain = runs in _RUNS[:6]
        return certain or any(_is_runs(line) for line in text.splitlines()[1:50])

    def look_through(self, path: Path, names: Path | None) -> RleTable:
        """Read a table."""
        return RleTable(path, self.by_column)


class RleCsvRows(RleCsv):
    """The same of pixels that are counted along the rows; named in a description alone."""

    name = "rle_csv_rows"
    by_column = False

    def recognise(self, text: str) -> bool:
        """Never: nothing in a file says it."""
        return False


class RleTable:
    """A table that has been read. Satisfies `source.Opened`."""

    def __init__(self, path: Path, by_column: bool | None) -> None:
        self._path, self._by_column = path, by_column
        titles, rows = read_rows(path)
        runs, image, kind = (_column(titles, known) for known in (_RUNS, _IMAGE, _CLASS))
        if runs is None or image is None:
            raise ValueError(f"{path}: expected columns of images and of run lengths, found {', '.join(titles)[:200]}")
        self._rows: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        self._sizes: dict[str, Size] = {}
        used: dict[str, None] = {}
        for line, row in enumerate(rows, 2):
            name, of = row[image], row[kind] if kind is not None else ""
            if image in _WITH_CLASS and "_" in name:
                name, _, of = name.rpartition("_")
            found = self._rows[name]
            if row.get("height") and row.get("width"):
                self._sizes[name] = stated_size(row["height"], row["width"], f"{path}:{line}")
            if row[runs] not in _NOTHING:
                found.append((line, of or _OBJECT, row[runs]))
                used[of or _OBJECT] = None
        self.faults: Sequence[str] = ()
        self.subsets: Mapping[str, str] = {}
        self.keys: Mapping[str, tuple[str, ...]] = {name: (name,) for name in self._rows}
        self.used = frozenset(used)
        self.classes: Sequence[str] = sorted(used, key=lambda name: (not name.isdecimal(), name.rjust(9, "0"), name))

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The masks of an image."""
        stated = self._sizes.get(key)
        height, width = stated if stated is not None else size()
        runs = [(line, name, self._runs(line, text, height * width)) for line, name, text in self._rows[key]]
        by_column = self._by_column
        if by_column is None:
            by_column = _goes_down([starts for _, _, (starts, _) in runs], height, width)
        shapes = []
        for line, name, (starts, lengths) in runs:
            flat = np.zeros(height * width, bool)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                flat[start : start + length] = True
            mask = flat.reshape(width, height).T if by_column else flat.reshape(height, width)
            shapes.append(Shape(name, Bitmap(mask), f"row {line} ({key})"))
        return Drawing(stated, tuple(shapes))

    def _runs(self, line: int, text: str, pixels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Starts from 0 and lengths, checked."""
        where = f"{self._path}:{line}"
        words = text.replace(",", " ").strip("[] ").split()
        if len(words) % 2 or not all(word.isdecimal() and len(word) < 16 for word in words):
            raise ValueError(f"{where}: expected pairs of a start and a length, found {text[:60]!r}")
        numbers = np.array(words, np.int64)
        starts, lengths = numbers[::2] - 1, numbers[1::2]
        if (starts < 0).any():
            raise ValueError(f"{where}: expected starts that are counted from 1, found 0")
        if (starts + lengths > pixels).any():
            raise ValueError(f"{where}: a run ends behind the {pixels:,} pixels of the image")
        if (starts[1:] < starts[:-1] + lengths[:-1]).any():
            raise ValueError(
                f"{where}: runs lie over each other: starts that are counted from the run before are not read; "
                "make sums of them first"
            )
        return starts, lengths


def _goes_down(starts: Sequence[npt.NDArray[np.int64]], height: int, width: int) -> bool:
    """Whether runs begin a height apart rather than a width; where nothing tells, yes, as most tables are."""
    apart = np.concatenate([np.diff(one) for one in starts] or [np.zeros(0, np.int64)])
    if not len(apart):
        return True
    usual = float(np.median(apart))
    return abs(usual - height) <= abs(usual - width)


def _column(titles: Sequence[str], known: Sequence[str]) -> str | None:
    return next((name for name in known if name in titles), None)


def _is_runs(line: str) -> bool:
    cells = line.replace('"', "").split(",")
    return any(len(words := cell.split()) > 3 and all(word.isdecimal() for word in words) for cell in cells)
