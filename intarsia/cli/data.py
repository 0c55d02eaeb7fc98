"""``intarsia data``: the data doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

app = typer.Typer(no_args_is_help=True, help="Look at data before training on them.")

Place = Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Folder of images and masks, or a data description.")]


@app.command("check")
def check(
    place: Place,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--write", metavar="FILE", help="Write the proposed description, for: train --data FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read all images and labels, report what is in them and what is wrong, and propose a description.

    Exit code 2 if training on them would fail.
    """
    from intarsia.terminal import say
    from intarsia.workflows.names import inspect_data

    findings = inspect_data(place)
    if as_json:
        typer.echo(json.dumps(findings.to_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(findings.lines()))
    if write is not None:
        _write(findings.proposal(), write)
        say(f"description: {write}; train with: intarsia train RECIPE --data {write} --out RUN")
    elif findings.ok and not as_json and place.is_dir():
        say(f"keep what is proposed in a file to edit: intarsia data check {place} --write data.yaml")
    if not findings.ok:
        count = len(findings.problems)
        say(f"{count} problem{'s' if count > 1 else ''}: training would fail", style="bold red")
        raise typer.Exit(2)


def _write(description: DataDescription, file: Path) -> None:
    from intarsia.data.description.write import write_description

    if file.suffix not in (".yaml", ".yml"):
        raise ValueError(f"--write {file}: a description is YAML, so its name must end in .yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_description(description, file)


@app.command("show")
def show(
    place: Place,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (.png, .jpg).")],
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "train",
    count: Annotated[int, typer.Option("--count", min=1, max=200, help="How many samples.")] = 12,
) -> None:
    """Paint a contact sheet: samples with their labels over them, and a legend."""
    from intarsia.data.description.read import read_description
    from intarsia.engine.callbacks.sample_images import as_picture
    from intarsia.terminal import say
    from intarsia.visual.contact_sheet import Tile, contact_sheet
    from intarsia.visual.files import save_picture
    from intarsia.workflows.names import inspect_data

    description = read_description(place) if place.is_file() else inspect_data(place).proposal()
    dataset = description.dataset(split)
    chosen = [index * len(dataset) // min(count, len(dataset)) for index in range(min(count, len(dataset)))]
    samples = [dataset.load(index) for index in chosen]
    sheet = contact_sheet(
        [Tile(as_picture(sample.image), sample.label, sample.meta.name) for sample in samples],
        classes=shown_classes(description),
        palette=shown_colours(description),
        ignore_index=description.ignore_index,
    )
    save_picture(out, sheet)
    say(f"{len(samples)} of {len(dataset)} images of {split}: {out}")


def shown_classes(description: DataDescription) -> tuple[str, ...]:
    """Names of the label values: a single class has a background beside it."""
    return ("background", *description.classes) if description.num_classes == 1 else description.classes


def shown_colours(description: DataDescription) -> tuple[tuple[int, int, int], ...]:
    """Colours of the label values."""
    return ((0, 0, 0), *description.colours) if description.num_classes == 1 else description.colours
