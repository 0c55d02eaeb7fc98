"""The option for models that take several images of each place; with its help."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

# typer reads these annotations when the program starts, on Python 3.10 too: hence Optional.
Inputs = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--input",
        metavar="NAME=FOLDER",
        help="Of a model that takes several images of each place: where those called NAME are, which have the names "
        "of the INPUTs; again for each. FOLDER/*_dsm.tif where names end in something more.",
    ),
]
