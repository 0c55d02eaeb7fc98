"""Options of a training that say what of a pretrained trunk is trained, and how fast; with their help."""

from __future__ import annotations

from pathlib import Path
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
CacheFeatures = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--cache-features",
        metavar="DIR",
        help="Compute what a frozen trunk makes of the training images once, and keep it here to train on.",
        rich_help_panel=_PANEL,
    ),
]
Views = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--views",
        metavar="K",
        min=1,
        help="Of --cache-features: random views of each image, drawn once; 1 by default.",
        rich_help_panel=_PANEL,
    ),
]
