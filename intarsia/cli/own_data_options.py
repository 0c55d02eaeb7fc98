"""Options of a training on own data: its folds, what is chosen from the data, what is told of it; with their help."""

from __future__ import annotations

from pathlib import Path
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
        metavar="REGEX|folder[:N]|CSV:COLUMN|copies",
        help="What stays together in a fold or a share for validation: images whose path has the same match, of one "
        "folder, or (folds alone) nearly the same. Without it: slices of a volume, patients of DICOM headers.",
        rich_help_panel="Data",
    ),
]
Plain = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--plain",
        metavar="NAMES",
        help="Leave out what would be chosen from the data, by names: loss,sizes,crops,threshold,steps; or all.",
        rich_help_panel="Data",
    ),
]
RareEvery = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--rare-every",
        metavar="N",
        help="Of every N training samples, draw one for each class with less than 5% of the pixels, and show it.",
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
Unlabelled = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--unlabelled",
        metavar="DIR",
        help="Learn from these images without labels, too: from what an average of the network is sure of.",
        rich_help_panel="Less labels",
    ),
]
Confidence = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--confidence",
        metavar="P|adaptive",
        help="Probability from which a class counts as sure in --unlabelled images, 0.95 by default; adaptive: for "
        "each class the mean of what it is given.",
        rich_help_panel="Less labels",
    ),
]
Teacher = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--teacher",
        metavar="WEIGHTS",
        help="Learn from the answers of this network, too: a file, a run, or a published name, of the same classes.",
        rich_help_panel="Less labels",
    ),
]


def plain_choices(given: str | None) -> tuple[str, ...]:
    """The names of `--plain`."""
    return tuple(name.strip() for name in (given or "").split(",") if name.strip())


ImageClasses = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--image-classes",
        metavar="WEIGHT",
        help="Add a head that learns which classes an image shows, and give its loss this weight; 0.2 is usual.",
        rich_help_panel="Data",
    ),
]
