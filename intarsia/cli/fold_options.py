"""Options of what is trained on folds of the data, or unattended, with their help."""

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
Notify = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--notify",
        metavar="COMMAND",
        help="Run this at the start, at every best evaluation and at the end, with JSON on its standard input.",
        rich_help_panel="What a long run is given",
    ),
]
