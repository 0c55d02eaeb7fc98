"""Options of a training that say what of a pretrained trunk is trained, and how fast; with their help."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

_PANEL = "A pretrained trunk"

# typer reads these annotations when the program starts, on Python 3.10 too: hence Optional.
Lora = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--lora",
        metavar="RANK",
        min=1,
        help="Adapt the attention of the trunk by products of this rank (LoRA), and leave the trunk as it is; 4 to 16 "
        "are usual.",
        rich_help_panel=_PANEL,
    ),
]
LayerDecay = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--layer-decay",
        metavar="RATE",
        help="Each block of the trunk learns this much slower than the one behind it; 0.65 to 0.95 are usual.",
        rich_help_panel=_PANEL,
    ),
]
