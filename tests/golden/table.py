"""`make golden`: a line for every record of the reference, saying how far our numbers are from it.

    python tests/golden/table.py [--only pspnet] [--processes 2]

Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import building
import comparing
import references
import torch
from comparing import COLUMNS, Finding
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 140
CAPTION = "Accuracies, and losses that the reference computed in float32 within float64, are not in the last column."
SHOWN_DIFFERENCES = 12
"""Lines of each record that differs; the first ones say where it begins."""


@dataclass(frozen=True)
class Row:
    """What was found about one record. failure: why nothing could be compared, if so."""

    name: str
    findings: tuple[Finding, ...] = ()
    failure: str = ""

    @property
    def agrees(self) -> bool:
        return not self.failure and all(finding.holds for finding in self.findings)

    def cells(self) -> list[str]:
        """One for each column, and the largest error of all."""
        if self.failure:
            return ["[red]failed[/]", *("-" for _ in COLUMNS)]
        columns = [[finding for finding in self.findings if finding.column == column] for column in COLUMNS]
        digests = [finding for finding in self.findings if finding.column in ("logits", "stages")]
        strict = digests[0].tolerance
        return [*map(_cell, columns), _amount(max(f.error for f in self.findings if f.tolerance <= strict))]

    def differences(self) -> list[str]:
        lines = [self.failure] if self.failure else comparing.different(self.findings).splitlines()
        more = len(lines) - SHOWN_DIFFERENCES
        return [*lines[:SHOWN_DIFFERENCES], *([f"... and {more} more"] if more > 0 else [])]


def _cell(findings: Sequence[Finding]) -> str:
    if not findings:
        return "-"
    if all(finding.holds for finding in findings):
        return "[green]ok[/]"
    return f"[red]{_amount(max(finding.error for finding in findings if not finding.holds))}[/]"


def _amount(error: float) -> str:
    return f"{error:.1e}" if math.isfinite(error) else "differs"


def compare(name: str) -> Row:
    """One record, in a process of its own."""
    record = references.records()[name]
    try:
        return Row(name, tuple(comparing.compare(building.task(references.model_config(record)), record)))
    except Exception as error:  # the table goes on, and ends with a failure
        return Row(name, failure=f"{type(error).__name__}: {error}")


def compare_all(names: Sequence[str], processes: int, console: Console) -> Iterator[Row]:
    """Every record as it is done, the largest networks first, so that none is left alone at the end."""
    records = references.records()
    ordered = sorted(names, key=lambda name: -records[name]["params"])
    bar = Progress(TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures: list[Future[Row]] = [pool.submit(compare, name) for name in ordered]
        with bar:
            for future in bar.track(as_completed(futures), total=len(futures)):
                yield future.result()


def show(rows: Sequence[Row], missing: Sequence[str], console: Console) -> None:
    table = Table("method", *COLUMNS, "largest relative error", caption=CAPTION, caption_justify="left")
    for row in rows:
        table.add_row(escape(references.short_name(row.name)), *row.cells())
    if rows:
        console.print(table)
    for row in (row for row in rows if not row.agrees):
        _say(console, f"{references.short_name(row.name)}:")
        for line in row.differences():
            _say(console, f"  {line}")
    if missing:
        _say(console, f"not built yet: {len(missing)} ({', '.join(map(references.short_name, missing))})")
    agreeing = sum(row.agrees for row in rows)
    _say(console, f"{agreeing} of {len(rows)} agree")


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare our networks with the reference's numbers.")
    parser.add_argument("--only", default="", metavar="WORD", help="records with this word in their name")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
    chosen = [name for name in references.records() if options.only in name]
    if not chosen:
        console.print(
            f"no record has {options.only!r} in its name"
            if references.records()
            else f"no reference material at {references.SHARED} (set INTARSIA_SHARED)"
        )
        return 2
    built = [name for name in chosen if name in references.built_networks()]
    rows = sorted(compare_all(built, options.processes, console) if built else [], key=lambda row: row.name)
    show(rows, [name for name in chosen if name not in built], console)
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
