"""``intarsia bench``: images per second of weights and exported files, on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.workflows.bench import Measurement

EXAMPLES = """
[bold]A run and what was exported of it[/]:  intarsia bench runs/first exported/model.onnx exported/model.xml

[bold]At the sizes of your images[/]:        intarsia bench exported/model.onnx --size 512x512,1024x2048 --batch 1,8

Measured are the whole way from stored pixels to label maps in memory, and the network alone; files are not read.
ms: of half of the passes at most, and of 99 %. MB: of main memory, at most, more than before the model was opened;
GPU MB: the same of a GPU's, where one computes.
"""


def bench(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Runs, weights, exported files, published names.")
    ],
    sizes: Annotated[
        str, typer.Option("--size", metavar="HxW,...", help="Of the images, in pixels, with commas.")
    ] = "512x512",
    batches: Annotated[
        str, typer.Option("--batch", metavar="N,...", help="Images that go through together, with commas.")
    ] = "1",
    passes: Annotated[int, typer.Option("--passes", min=1, help="Passes that are timed, of each.")] = 20,
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--threads", min=1, help="Of the processor; by default what each program chooses."),
    ] = None,
    device: options.Device = "auto",
    precision: options.InferencePrecision = "32",
    compiled: options.Compile = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every pass.")] = False,
    trust: options.Trust = None,
) -> None:
    """Measure images per second, and how long single ones take, of models of any kind."""
    from intarsia.terminal import out, table
    from intarsia.workflows.bench import BenchRequest
    from intarsia.workflows.bench import bench as run

    found, where = run(
        BenchRequest(
            models=models, sizes=tuple(map(_size, sizes.split(","))), batches=tuple(map(_count, batches.split(","))),
            passes=passes, device=device, threads=threads, precision=precision, compile=compiled,
        )
    )  # fmt: skip
    if as_json:
        measurements = [one.to_json() for one in found]
        typer.echo(json.dumps({"measured_on": where, "measurements": measurements}, indent=2, ensure_ascii=False))
        return
    on_gpu = any(one.gpu is not None for one in found)
    columns = ("model", "on", "images", "images/s", "ms", "99 %", "network ms", "99 %", "MB")
    rows = _rows(found, with_gpu=on_gpu)
    out().print(table("", (*columns, "GPU MB") if on_gpu else columns, rows, left=3))
    typer.echo("\n".join(f"{name}: {value}" for name, value in where.items()))


def _rows(found: list[Measurement], *, with_gpu: bool) -> Iterator[tuple[str, ...]]:
    """One for each model, size and batch: the whole way, then the network alone."""
    for whole, network in zip(found[::2], found[1::2], strict=True):
        height, width = whole.size
        many = "" if whole.batch == 1 else f"{whole.batch} x "
        latencies = (f"{1000 * one.percentile(share):.1f}" for one in (whole, network) for share in (0.5, 0.99))
        grown = f"{max(whole.grown, network.grown) / 1e6:.0f}"
        of_gpu = (_of_gpu(whole, network),) if with_gpu else ()
        images = f"{many}{height}x{width}"
        yield whole.model, whole.runs_on, images, f"{whole.images_per_second:.1f}", *latencies, grown, *of_gpu


def _of_gpu(*several: Measurement) -> str:
    """Megabytes in use, and in brackets those that torch holds for them; empty where nothing says it."""
    known = [one.gpu for one in several if one.gpu is not None]
    used = max((one.used or 0 for one in known), default=0)
    reserved = max((one.reserved or 0 for one in known), default=0)
    words = f"{used / 1e6:.0f}" if used else ""
    return f"{words} ({reserved / 1e6:.0f})" if reserved else words


def _size(word: str) -> tuple[int, int]:
    height, _, width = word.strip().partition("x")
    if not (height.isdigit() and (width or height).isdigit()) or min(int(height), int(width or height)) < 1:
        raise ValueError(f"--size: expected sizes such as 512x512 or 1024x2048 with commas, found {word!r}")
    return int(height), int(width or height)


def _count(word: str) -> int:
    if not word.strip().isdigit() or int(word) < 1:
        raise ValueError(f"--batch: expected numbers of images with commas, found {word!r}")
    return int(word)
