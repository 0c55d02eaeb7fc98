"""``intarsia data suspects``: labels that a trained model doubts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import options


def suspects(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a training or of a cross-validation, or a weights file.")
    ],
    data: options.Data = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "train",
    top: Annotated[int, typer.Option("--top", min=1, max=1000, help="How many regions to list and draw.")] = 50,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="OUT", help="Folder to write to; by default beside the weights."),
    ] = None,
    margin: Annotated[
        int, typer.Option("--margin", min=0, help="Pixels at outlines of the label that are left out.")
    ] = 3,
    min_area: Annotated[int, typer.Option("--min-area", min=1, help="Pixels of the smallest region.")] = 16,
    config: options.ConfigBeside = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    trust: options.Trust = None,
) -> None:
    """List and draw the regions where model and label disagree most confidently: what may be labelled wrong.

    A region is ranked by the model's mean probability for its own class there, times its area.
    """
    from intarsia.terminal import out as printed
    from intarsia.terminal import table
    from intarsia.workflows.find_suspects import SuspectRequest, find_suspects, tell

    if split not in ("train", "val", "test"):
        raise ValueError(f"--split is train, val or test, found {split!r}")
    result = find_suspects(
        SuspectRequest(
            run=run,
            data=data,
            split=split,
            top=top,
            out=out,
            margin=margin,
            least_area=min_area,
            config=config,
            device=device,
            workers=workers,
        )
    )
    rows = [
        (
            str(rank),
            suspect.meta.name,
            suspect.labelled,
            suspect.predicted,
            f"{suspect.region.area:,}",
            f"{suspect.region.confidence:.1%}",
        )
        for rank, suspect in enumerate(result.suspects[:10], 1)
    ]
    if rows:
        columns = ["", "image", "label", "model", "pixels", "confidence"]
        printed().print(table("labels that the model doubts most", columns, rows, left=4))
    tell(result)
