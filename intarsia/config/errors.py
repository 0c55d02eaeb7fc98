"""What the configuration language says when something is wrong: every problem, with the place it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from intarsia.spec import Origin
from intarsia.terminal import printable

LISTED, LETTERS, PATH_LETTERS = 200, 3_000, 300
"""Problems that one error prints, and letters of each and of its path: a config may repeat one mistake without end."""

FindOrigin = Callable[[str], Origin | None]
"""Where a dotted path of a config was written."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a config.

    path: where it stands in the resolved tree ("model.decode_head.channels"); empty when a line of a file is meant.
    message: what was expected and what was found. hint: what to do about it.
    """

    path: str
    message: str
    origin: Origin | None = None
    hint: str = ""

    def __str__(self) -> str:
        where = [printable(str(self.origin), PATH_LETTERS)] if self.origin else []
        path = [printable(self.path, PATH_LETTERS)] if self.path else []
        text = ": ".join([*where, *path, printable(self.message, LETTERS)])
        return f"{text}. {printable(self.hint, LETTERS)}" if self.hint else text


class ConfigError(ValueError):
    """A config that cannot be used. Carries all problems that were found, and prints one per line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:LISTED]]
        more = len(self.problems) - len(lines)
        return "\n".join([*lines, *([f"and {more:,} problems more"] if more else [])])
