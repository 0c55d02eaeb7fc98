"""Options of a training on own data: its folds, what is chosen from the data, what is told of it; with their help."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

# typer reads these annotations when the program starts, on Python 3.10 too: hence Optional.
Fold = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--fold",
        metavar="K/N",
        help="Validate on part K of N of the training images, such as 2/5; all of them: intarsia cv.",
        rich_help_panel="Data",
    ),
]
By = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--by",
        metavar="REGEX|folder[:N]|copies",
        help="What stays together in a fold: images whose path has the same match, of one folder, or nearly the same.",
        rich_help_panel="Data",
    ),
]
Plain = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--plain",
        metavar="NAMES",
        help="Leave out what would be chosen from the data, by names with commas: loss, sizes, crops; or all.",
        rich_help_panel="Data",
    ),
]
Notify = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--notify",
        metavar="COMMAND",
        help="Run this at the start, at every best evaluation and at the end, with JSON on its standard input.",
        rich_help_panel="What a long run is given",
    ),
]


def plain_choices(given: str | None) -> tuple[str, ...]:
    """The names of `--plain`."""
    return tuple(name.strip() for name in (given or "").split(",") if name.strip())
