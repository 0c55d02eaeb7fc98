"""The scores of an evaluation as a table that is legible at any width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from intarsia.contracts import Report
from intarsia.metrics.foreground import SCORES

NAME = "class"
"""The head of the column of names."""

NAME_WIDTH = 20
"""Letters of a class name that stand in one line at least."""


def report_table(report: Report, title: str = "") -> ReportTable:
    """The scores of every class in percent, as something to print."""
    return ReportTable(report, title)


class ReportTable:
    """The scores of every class in percent. A class without labelled pixels is marked so, never shown as nan.

    As wide as the console; scores that have no room beside the others follow in a table of their own below, so that
    neither names nor numbers are cut.
    """

    def __init__(self, report: Report, title: str) -> None:
        self._title = title
        self._names = [Text(entry.name) for entry in report.classes]
        scores = list(report.classes[0].values) if report.classes else []
        self._columns = {score: [_percent(entry.values[score]) for entry in report.classes] for score in scores}
        self._columns["pixels"] = [
            "not in the labels" if entry.name in report.absent else f"{entry.pixels:,}" for entry in report.classes
        ]
        if report.thresholds:
            self._columns["threshold"] = [f"{report.thresholds[entry.name]:.4f}" for entry in report.classes]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._names:  # depths have no classes
            yield Text(self._title)
            return
        left, title, room = list(self._columns), self._title, self._room(console, options)
        while left:
            count = len(left)
            while count > 1 and self._spare(console, options, left[:count], room) < 0:
                count -= 1
            yield self._table(left[:count], title, room)
            left, title = left[count:], ""

    def _room(self, console: Console, options: ConsoleOptions) -> int:
        """Letters for a name in one line: all that the numbers leave; a third of the width if they need many tables."""
        longest = max(len(NAME), *(name.cell_len for name in self._names))
        least = min(longest, NAME_WIDTH)
        spare = self._spare(console, options, list(self._columns), least)
        return min(longest, least + spare if spare >= 0 else max(least, options.max_width // 3))

    def _spare(self, console: Console, options: ConsoleOptions, columns: Sequence[str], room: int) -> int:
        """What a table with these columns leaves of the width; negative if it is too wide."""
        wanted = Measurement.get(console, options.update(max_width=10**6), self._headed(columns, "", room))
        return options.max_width - wanted.maximum

    def _table(self, columns: Sequence[str], title: str, room: int) -> Table:
        """One table; names longer than `room` go on in the next line."""
        table = self._headed(columns, title, room)
        for name, *cells in zip(self._names, *(self._columns[column] for column in columns), strict=True):
            table.add_row(name, *cells)
        return table

    def _headed(self, columns: Sequence[str], title: str, room: int) -> Table:
        """A table without rows, as wide as with them."""
        table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(NAME, min_width=room, max_width=room, overflow="fold")
        for column in columns:
            widest = max(map(len, (column, *self._columns[column])))
            table.add_column(column, justify="right", min_width=widest, no_wrap=True)
        return table


def score_lines(values: Mapping[str, float], prefix: str = "") -> list[str]:
    """The scores of a whole evaluation as lines to print: those of all classes, then those of a foreground.

    values: by name. prefix: of each name in the first line.
    """
    name = next((key[len("imageDice(") : -1] for key in values if key.startswith("imageDice(")), None)
    of_foreground = [f"{over}{score}({name})" for over in ("", "image") for score in SCORES if name is not None]
    if name is None or not all(key in values for key in of_foreground):
        return [_joined({f"{prefix}{key}": value for key, value in values.items()})]
    others = {f"{prefix}{key}": value for key, value in values.items() if key not in of_foreground}
    pooled, images = ({score: values[f"{over}{score}({name})"] for score in SCORES} for over in ("", "image"))
    return [
        _joined(others),
        f"{name}, over all pixels: {_joined(pooled)}",
        f"{name}, mean of images: {_joined(images)}",
    ]


def _joined(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


def part_lines(report: Report) -> list[str]:
    """A line for each of several data sets: its name, images, means in percent, and the classes that it lacks."""
    lines = []
    width = max(map(len, report.parts), default=0)
    for name, part in report.parts.items():
        scores = "  ".join(f"{score} {_percent(value)}" for score, value in part.summary.items())
        missing = f"  (not in its labels: {', '.join(part.absent)})" if part.absent else ""
        lines.append(f"{name:{width}}  {part.images} images  {scores}{missing}")
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.2f}" if math.isfinite(value) else "-"
