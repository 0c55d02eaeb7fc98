"""The error of a description, which knows where in it the mistake is."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.terminal import printable


class DescriptionError(ValueError):
    """A mistake in a description. `path`: the keys that lead to it, from which the reader finds the line."""

    def __init__(self, path: Sequence[object], message: str, line: int | None = None) -> None:
        where = printable(".".join(printable(str(key), 100) for key in path[:20]), 300)
        super().__init__(f"{where}: {printable(message, 2_000)}" if path else printable(message, 2_000))
        self.path = tuple(path)
        self.line = line


class ScenesAmongImagesError(DescriptionError):
    """Sources of one split that are scenes, and others that are images."""
