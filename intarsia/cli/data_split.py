"""``intarsia data split``: training, validation and test images, or folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

Place = Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Folder of images and masks, or a data description.")]


def split(
    place: Place,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for data.yaml and the lists.")],
    val: Annotated[float, typer.Option("--val", help="Share of the images to validate on.")] = 0.2,
    test: Annotated[float, typer.Option("--test", help="Share of the images to set aside as a test.")] = 0.0,
    folds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--folds", help="So many parts instead, each the validation split of one fold_K.yaml."),
    ] = None,
    by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--by",
            metavar="REGEX|folder[:N]|CSV:COLUMN|copies",
            help="What stays together: images whose path has the same match ('patient\\d+'), of one folder, of one "
            "value in a table (folds.csv:patient), or nearly the same.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number, another split.")] = 0,
    stratify: Annotated[
        bool, typer.Option("--stratify/--random", help="Give each part its share of every class, or not.")
    ] = True,
    pool: Annotated[
        str, typer.Option("--pool", metavar="train[,val...]", help="The splits whose images are divided.")
    ] = "train",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace descriptions that are in OUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Divide images, or blocks of scenes, into training, validation and test, or into folds: lists and a description.

    The same names, labels and seed give the same split, whatever the order of the files.
    """
    from intarsia.terminal import out as printed
    from intarsia.terminal import say, table, warn
    from intarsia.workflows.split_data import SplitRequest, split_data

    names = tuple(name.strip() for name in pool.split(",") if name.strip())
    result = split_data(
        SplitRequest(
            data=place,
            out=out,
            val=val,
            test=test,
            folds=folds,
            by=by,
            seed=seed,
            stratify=stratify,
            pool=names,
            overwrite=overwrite,
        )
    )
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
    else:
        columns = ["", *(part.name for part in result.parts)]
        printed().print(table("share of the pixels (images) of each class", columns, result.rows()))
        for kept in result.kept:
            say(f"kept together: {kept}")
        for finding in result.torn:
            warn(f"{finding.text} ({finding.advice})")
    for lost in result.missing():
        warn(f"classes that are in no image of {lost}; too few images or groups show them")
    files = result.files
    say(f"written: {files[0]}" + (f" to {files[-1].name}" if len(files) > 1 else "") + ", beside their lists")
    say(f"next: intarsia train RECIPE --data {files[0]} --out RUN")
