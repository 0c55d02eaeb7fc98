"""``intarsia data convert``: labels of any kind as PNG (of scenes GeoTIFF) of class indices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    place: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Folder of data, or a data description.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for labels, lists and data.yaml.")],
) -> None:
    """Write labels as PNG of class indices, with a description: of annotations, masks, colours, whatever is read.
    Those of scenes become GeoTIFFs on the pixels of each scene.

    Nothing needs it: training and evaluation read them as they are. Images stay where they are, but that several of a
    sample become one TIFF of all bands.
    """
    from intarsia.terminal import say
    from intarsia.workflows.convert_data import convert_data

    done = convert_data(place, out)
    say(
        f"{done.labels:,} labels in {out / 'labels'}; train with: intarsia train RECIPE --data {done.description} "
        "--out RUN"
    )
