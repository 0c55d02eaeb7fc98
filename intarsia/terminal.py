"""Where words go: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


MOST_LETTERS = 10_000
"""Of one message. Nobody reads more, and a file may hold names of any length."""

MOST_IN_CELL = 2_000
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Control characters, with which a name in a file could move the cursor or write over what was said."""


def printable(text: str, most: int = MOST_LETTERS) -> str:
    """A text as a terminal may be given it: control characters spelt out, and the middle of a long one left out."""
    if len(text) > most:
        half = max((most - 30) // 2, 1)
        text = f"{text[:half]} ... ({len(text) - 2 * half:,} letters) ... {text[-half:]}"
    return text.translate(_CONTROL)


def out() -> Console:
    """Results: what a user would pipe into a file."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Progress and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """A line of running commentary on standard error, printed as it is: brackets mean nothing."""
    err().print(printable(text), style=style or None, markup=False)


def warn(text: str) -> None:
    """A line that should not be missed."""
    say(f"note: {text}", style="yellow")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> Table:
    """A table whose first `left` columns are text and the others numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    built = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        built.add_column(name, justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        built.add_row(*(Text(printable(cell, MOST_IN_CELL)) for cell in row))
    return built


def take_any_letter() -> None:
    """Let standard output and error show what their encoding does not have as escapes, in place of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Notice(UserWarning):
    """What a user should know of a result, and no error: a warning in Python, a line of commentary in a command."""


@contextmanager
def notices_shown() -> Iterator[None]:
    """Within, notices are printed as `warn` prints, each once, whatever Python's filters for warnings say."""
    said: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, Notice):
                if str(message) not in said:
                    warn(str(message))
                said.add(str(message))
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; gives the function that takes (done, total). Vanishes at the end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = err()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
