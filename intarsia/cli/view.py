"""``intarsia view``: a local page for data and what models make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import options

EXAMPLES = """
[bold]A folder of images and masks, or a description of them[/]:  intarsia view DIR    intarsia view data.yaml
[bold]What a model makes of its validation images[/]:  intarsia view RUN
[bold]Two models on the same images[/]:  intarsia view RUN RUN2 --data data.yaml
"""


def view(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|DIR|FILE",
            help="Folder of a training or a weights file; or folder of images and masks, or a data description.",
        ),
    ],
    other: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(metavar="[RUN2]", help="A second model, to be compared with the first."),
    ] = None,
    data: options.Data = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--split", help="train, val or test; by default val with a model, and all images without."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of this machine; by default a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
    config: options.ConfigBeside = None,
    device: options.Device = "auto",
    trust: options.Trust = None,
) -> None:
    """Look at images, labels, predictions, errors and confidence on a page of this machine. Ctrl-C ends it.

    Nobody but who has the printed address is answered, and nothing is sent anywhere.
    """
    from intarsia.workflows.view import ALL, SPLITS, ViewRequest, view

    if split is not None and split not in (*SPLITS, ALL):
        raise ValueError(f"--split is {', '.join(SPLITS)} or {ALL}, found {split!r}")
    request = ViewRequest(
        place=place,
        other=other,
        data=data,
        split=split,
        config=config,
        device=device,
        port=port,
        browser=not no_browser,
    )
    view(request, ready)


def ready(address: str) -> None:
    """Say where the page is, and how it ends."""
    from intarsia.terminal import say

    typer.echo(address)
    say("Ctrl-C ends it")
