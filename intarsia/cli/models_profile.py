"""``intarsia models profile``: parameters, multiply-adds, memory and images per second of any network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.workflows.profile_model import Profile

EXAMPLES = """
[bold]A recipe[/]:  intarsia models profile segformer_mit-b0

[bold]A config, at the size of your images[/]:  intarsia models profile my_config.py --size 1024 2048

[bold]How fast it is on this machine[/]:  intarsia models profile runs/first --time --device cuda --precision 16
"""


def profile(
    model: Annotated[
        str, typer.Argument(metavar="RECIPE|FILE|RUN", help="A recipe, a config file, a run's folder, or weights.")
    ],
    size: Annotated[
        Optional[tuple[int, int]],  # noqa: UP045
        typer.Option("--size", metavar="H W", min=1, help="Of the images, in pixels; 512 512 by default."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images that go through the network together.")] = 1,
    seconds: Annotated[
        bool, typer.Option("--time", help="Also measure images per second, on this machine, which should be quiet.")
    ] = False,
    passes: Annotated[int, typer.Option("--passes", min=1, help="Passes that --time measures.")] = 20,
    config: options.ConfigBeside = None,
    device: options.Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="Of --time: 32, 16 (mixed) or bf16 (mixed).")] = "32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    settings: options.Set = None,
    trust: options.Trust = None,
) -> None:
    """Count parameters and multiply-adds of a network by part, and its memory; with --time, measure its speed."""
    from intarsia.terminal import out, table
    from intarsia.workflows.profile_model import ProfileRequest
    from intarsia.workflows.profile_model import profile as profile_model

    found = profile_model(
        ProfileRequest(
            model=model, config=config, settings=settings or (), size=size, batch=batch, seconds=seconds,
            passes=passes, device=device, precision=precision,
        )
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    console = out()
    console.print(table("", ("part", "type", "parameters", "mult-adds (billions)"), _parts(found), left=2))
    for line in _notes(found):
        typer.echo(line)
    if found.timings:
        columns = ("measured", "images/s", "median ms", "middle half ms", "fastest ms")
        console.print(table("", columns, _timings(found)))
        typer.echo("\n".join(f"{name}: {value}" for name, value in (found.where or {}).items()))


def _parts(found: Profile) -> Iterator[tuple[str, str, str, str]]:
    for part in found.parts:
        kind = f"{part.kind} (training only)" if part.training_only else part.kind
        yield part.name, kind, f"{part.parameters:,}", f"{part.multiply_adds / 1e9:.3f}"
    yield "all", found.network, f"{found.parameters:,}", f"{found.multiply_adds / 1e9:.3f}"


def _notes(found: Profile) -> Iterator[str]:
    height, width = found.size
    images = "one image" if found.batch == 1 else f"{found.batch} images"
    classes = f"{found.num_classes} classes, " if found.num_classes else ""
    yield f"{classes}{images} of {height} x {width} with {found.channels} bands"
    if found.trained < found.parameters:
        yield f"{found.parameters - found.trained:,} parameters are never trained"
    yield f"memory of a forward pass, weights included: {found.peak_bytes / 1e9:.3f} GB, counted, in float32"
    if found.device_bytes is not None:
        yield f"the most that torch took of the GPU while it was timed: {found.device_bytes / 1e9:.3f} GB"
    yield "mult-adds: of convolutions, matrix products and attention. What others call FLOPs is these, or twice these."


def _timings(found: Profile) -> Iterator[tuple[str, ...]]:
    for one in found.timings:
        low, high = one.quartiles
        yield (
            one.what,
            f"{found.batch / one.median:.2f}",
            f"{1000 * one.median:.1f}",
            f"{1000 * low:.1f} - {1000 * high:.1f}",
            f"{1000 * min(one.seconds):.1f}",
        )
