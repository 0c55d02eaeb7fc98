"""``intarsia explain``: what a network looks at, as pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import options, stack_options

EXAMPLES = """
[bold]Of the classes with the most pixels[/]:  intarsia explain runs/first photo.jpg -o maps

[bold]Of one class, in an earlier layer[/]:    intarsia explain runs/first photo.jpg -o maps --class car --layer neck

[bold]Why this pixel[/]:                       intarsia explain runs/first photo.jpg -o maps --at 120 80

[bold]The feature maps of a layer[/]:          intarsia explain runs/first photo.jpg -o maps --features

[bold]Which layers there are[/]:               intarsia explain runs/first --layers
"""
_DEEPEST = 3
"""Parts of the names of layers that are listed."""
_WIDE_ENOUGH = 200
"""Columns of a file or a pipe, in which no name is folded."""


def explain(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS|RUN|NAME", help=options.TRAINED_MODEL)],
    images: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="[IMAGE]...", help="Image files."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the pictures."),
    ] = None,
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            metavar="NAME",
            help="A module of the network; NAME:1 for the level 1 of several. By default the backbone's last level.",
        ),
    ] = "backbone",
    classes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--class", metavar="NAME", help="A class, by name or number; may be repeated. Default: the largest."
        ),
    ] = None,
    at: Annotated[
        Optional[tuple[int, int]],  # noqa: UP045
        typer.Option("--at", metavar="X Y", min=0, help="Explain one pixel of the image, not all of a class."),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Draw the feature maps of the layer instead: their mean, and channels.")
    ] = False,
    channels: Annotated[int, typer.Option("--channels", min=0, help="With --features, how many.")] = 10,
    inputs: stack_options.Inputs = None,
    layers: Annotated[bool, typer.Option("--layers", help="List the layers and the sizes of their maps.")] = False,
    config: options.ConfigBeside = None,
    device: options.Device = "auto",
    key: options.Key = None,
    prefix: options.Prefix = None,
    trust: options.Trust = None,
) -> None:
    """Draw what a network looks at: Seg-Grad-CAM of classes, or the feature maps of a layer."""
    from intarsia.terminal import out as results
    from intarsia.terminal import table
    from intarsia.workflows.explain import ExplainRequest, list_layers
    from intarsia.workflows.explain import explain as explain_images

    if not layers and (not images or out is None):
        raise ValueError("expected images and --out DIR for their pictures; or --layers, to see which layers there are")
    if features and (classes or at is not None):
        raise ValueError("--features are of no class: leave out --class and --at")
    request = ExplainRequest(
        weights=weights,
        images=tuple(images or ()),
        out=out or Path(),
        layer=layer,
        classes=tuple(classes or ()),
        at=at,
        channels=channels if features else None,
        inputs=tuple(inputs or ()),
        config=config,
        device=device,
        key=key,
        prefix=prefix,
    )
    if layers:
        console = results()
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = _WIDE_ENOUGH
        found = list_layers(request)
        shown = [one for one in found if one.name.count(".") < _DEEPEST]
        rows = [(one.name, one.kind, "{} x {} x {}".format(*one.shape)) for one in shown]
        console.print(table("", ("layer", "type", "channels x height x width"), rows, left=2))
        if len(shown) < len(found):
            typer.echo(f"and {len(found) - len(shown)} within these, by their names in the weights")
        return
    explain_images(request)
