"""``intarsia models``: which networks there are, what they cost and score, how to use each, and their checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from intarsia.cli import models_profile

if TYPE_CHECKING:
    from intarsia.guide.facts import Cost
    from intarsia.guide.models import Model
    from intarsia.guide.published import Checkpoint

app = typer.Typer(
    no_args_is_help=True,
    help="List the models with what they cost and score, say all about one, and fetch published checkpoints.",
)
EXAMPLES = """
[bold]Small and fast ones[/]:  intarsia models list real-time --sort cost

[bold]The best on Cityscapes[/]:  intarsia models list --data cityscapes --sort score

[bold]All about one[/]:  intarsia models show segformer_mit-b0
"""
DOWNLOADS = """
[bold]Into the cache[/]:  intarsia models download fast_scnn_8xb4-160k_cityscapes-512x1024

[bold]Into a folder[/]:  intarsia models download NAME NAME --out weights

[bold]For a machine without network[/]:  intarsia models download NAME --list addresses.txt

Not needed before a NAME is used: predict, eval, train --weights and intarsia.load fetch it by themselves.
"""
app.command("profile", no_args_is_help=True, epilog=models_profile.EXAMPLES)(models_profile.profile)
_BOTH = ("ade20k", "cityscapes")
_WIDE = 120
"""Columns of a terminal from which on times and memory are listed too."""
_WIDE_ENOUGH = 200
"""Columns of a file or a pipe, in which no name is folded."""


@app.command("list", epilog=EXAMPLES)
def list_models(
    words: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[WORDS]...", help="Only models that have all of these in their names, method or kind."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort", metavar="ORDER", help="kind, name, year, parameters, cost (least first), score (best first)."
        ),
    ] = "kind",
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--data", metavar="NAME", help="Only models with a recipe for this data set, and what they score there."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models: parameters, multiply-adds at 512 x 512, the best published score of single images."""
    from intarsia.guide.facts import RELATIVE
    from intarsia.guide.models import ordered, select
    from intarsia.terminal import out, table

    found = ordered(select(words or (), data=data), sort, data=data)
    if as_json:
        typer.echo(json.dumps([_facts(one) for one in found], indent=2, ensure_ascii=False))
        return
    console = out()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE_ENOUGH
    figures = [field for field in RELATIVE if console.width >= _WIDE and any(one.times(field) for one in found)]
    shown = _BOTH if data is None else (data,)
    columns = ("model", "year", "params", "mult-adds", *(RELATIVE[field] for field in figures), *shown)
    console.print(table("", columns, (_row(one, data, figures, shown) for one in found)))
    notes = ["params: millions. mult-adds: billions, of one image of 512 x 512. Scores: mIoU in percent, unless said."]
    if any(one.best_stated(name) for one in found for name in shown):
        notes.insert(0, "*: as the authors state it of a file that no name fetches.")
    if figures:
        notes.append(f"{', '.join(RELATIVE[field] for field in figures)}: times segformer_mit-b0's.")
    typer.echo("\n".join(notes))


@app.command("show", no_args_is_help=True)
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A model of the list, any recipe of it, or a published checkpoint.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say all about a model: paper, cost, published scores and checkpoints, how to train it and take its weights."""
    from intarsia.guide.models import find
    from intarsia.guide.published import find_published
    from intarsia.terminal import out, table

    model, checkpoint = find(name), find_published(name)
    if as_json:
        typer.echo(json.dumps(_facts(model), indent=2, ensure_ascii=False))
        return
    console = out()
    console.print(table("", ("model", model.name), _about(model), left=2))
    if checkpoint is not None:
        typer.echo("\n".join(_file(checkpoint)))
    for line in (*_published(model), *_stated(model), *_use(model, checkpoint)):
        typer.echo(line)


@app.command("download", no_args_is_help=True, epilog=DOWNLOADS)
def download(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[NAME]...", help="Published checkpoints: names of recipes, or of their files."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="DIR", help="Also copy them to this folder, under their files' names."),
    ] = None,
    addresses: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--list",
            metavar="FILE",
            help="Fetch nothing: write their addresses, one a line, as wget -i takes them; and beside it a table of "
            "where each file goes.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All published checkpoints.")] = False,
) -> None:
    """Fetch published checkpoints: checked by hash, going on where a download was interrupted."""
    from intarsia.guide.models import expected_size
    from intarsia.terminal import say
    from intarsia.workflows.download_models import chosen, write_list
    from intarsia.workflows.download_models import download as fetch_all

    if out is not None and addresses is not None:
        raise ValueError("--list writes addresses and fetches nothing that --out could take: leave out one of them")
    found = chosen(names or (), everything=everything)
    if everything:
        total = sum(expected_size(one) or 0 for one in found)
        say(f"{len(found)} checkpoints, together about {total / 1e9:.0f} GB")
    if addresses is not None:
        write_list(found, addresses)
    else:
        fetch_all(found, out)


def _row(one: Model, data: str | None, figures: Sequence[str], shown: Sequence[str]) -> tuple[str, ...]:
    from intarsia.guide.facts import rounded

    cost = one.cost(data)
    multiples = (rounded(value) if (value := one.times(field)) else "" for field in figures)
    scores = (_score(one, name) for name in shown)
    return (one.name, str(one.year or ""), *_size(cost), *multiples, *scores)


def _size(cost: Cost | None) -> tuple[str, str]:
    from intarsia.guide.facts import rounded

    if cost is None:
        return "", ""
    return rounded(cost.parameters / 1e6), rounded(cost.multiply_adds / 1e9)


def _score(one: Model, data: str) -> str:
    stated, best = one.best_stated(data), one.best(data)
    if stated is not None:
        return f"{stated.score:.2f}*"
    if best is None:
        return ""
    name, value = best.score
    return f"{value:.2f}" if name == "mIoU" else f"{name} {value:g}"


def _about(model: Model) -> Iterator[tuple[str, str]]:
    from intarsia.guide.facts import RELATIVE, machine
    from intarsia.recipes import KINDS

    method = model.network.method
    if method is None:
        yield "method", "of our own; nothing was published of it"
    else:
        yield "method", f"{method.name} ({KINDS[method.kind].lower()})"
        yield "paper", f"{method.authors}: {method.title}, {method.venue} {method.year}"
        yield "", method.address
    cost = model.cost()
    if cost is None:
        yield "cost", "not counted: not all parts of it exist yet"
        return
    trained = f", of which {cost.auxiliary / 1e6:.2f} million are for training alone" if cost.auxiliary else ""
    yield "parameters", f"{cost.parameters / 1e6:.2f} million{trained}"
    yield "multiply-adds", f"{cost.multiply_adds / 1e9:.2f} billion, of one image of 512 x 512"
    for field, title in RELATIVE.items():
        multiple, value = model.times(field), getattr(cost, field)
        if value is None or multiple is None:
            yield title, "not measured"
        else:
            absolute = f"{value:.3f} s on {machine()}" if field.endswith("seconds") else f"{value / 1e9:.2f} GB"
            yield title, f"{absolute}; {multiple:.2f} times segformer_mit-b0's"
    first = model.network.first
    yield "figures are of", first if first in model.network.published else f"{first} with 150 classes"


def _file(one: Checkpoint) -> Iterator[str]:
    """What is known of a checkpoint's file, and whether it is here. No line is folded, so that paths can be copied."""
    from intarsia.guide.models import expected_size
    from intarsia.weights.download import cached_file

    cached, expected = cached_file(one.address), expected_size(one)
    here = cached.is_file()
    about = "of unknown size" if expected is None else f"about {expected / 1e6:,.0f} MB"
    size = f"{cached.stat().st_size / 1e6:,.1f} MB" if here else about
    yield f"Checkpoint {one.recipe}:"
    yield f"  trained on {one.data}: {_all_scores(one)}"
    yield f"  {one.file}, {size}; its SHA-256 begins with {one.sha256}"
    yield f"  in the cache: {cached}" if here else "  not in the cache yet: it is fetched when it is first used"
    yield ""


def _all_scores(one: Checkpoint) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in one.scores.items())


def _published(model: Model) -> Iterator[str]:
    """Its recipes by data set, the best score first."""
    from intarsia.guide.models import goodness
    from intarsia.guide.networks import data_of

    for data in model.data:
        yield f"Published for {data}:"
        found = [one for one in model.checkpoints if data_of(one.recipe) == data]
        for one in sorted(found, key=goodness, reverse=True):
            yield f"  {one.recipe}"
            yield f"    {_all_scores(one)}; {_training(one.recipe)}"
            yield f"    {one.address}"
        scored = {one.recipe for one in found}
        for recipe in model.network.published:
            if data_of(recipe) == data and recipe not in scored:
                yield f"  {recipe}"
                yield f"    no checkpoint; {_training(recipe)}"
        yield ""


def _stated(model: Model) -> Iterator[str]:
    """Scores of files that no name fetches."""
    if model.stated:
        yield "Stated by its authors, of files that no name fetches:"
        for one in model.stated:
            yield f"  {one.data}: mIoU {one.score:g}{f', {one.note}' if one.note else ''}; {one.source}"
        yield ""


def _training(recipe: str) -> str:
    """On what size of images a recipe trains, and for how long."""
    height, width, steps = _crop_and_steps(recipe)
    return f"crops of {height} x {width}, {steps:,} steps"


def _crop_and_steps(recipe: str) -> tuple[int, int, int]:
    from intarsia import recipes

    config = recipes.get(recipe)
    dataset = config["train_dataloader"]["dataset"]
    while "pipeline" not in dataset:
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    crops = [step["crop_size"] for step in dataset["pipeline"] if step.get("type") == "RandomCrop"]
    size = crops[-1] if crops else recipes.published(recipe).setting.crop
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return height, width, config["train_cfg"]["max_iters"]


def _use(model: Model, checkpoint: Checkpoint | None) -> Iterator[str]:
    """Commands, with the checkpoint that was asked for, or else with the best."""
    name = model.network.own or model.network.first
    if model.cost() is None:
        yield f"It cannot be built yet; `intarsia config check {model.network.first}` says what is missing."
        return
    yield "To train it on your own data:"
    yield f"  intarsia train {name} --data DIR --out RUN"
    if model.checkpoints:
        best = checkpoint or model.best("ade20k") or model.best("cityscapes") or model.checkpoints[0]
        yield "To use published weights as they are (fetched the first time, by their name):"
        yield f"  intarsia predict {best.recipe} IMAGES -o OUT"
        yield f"  intarsia eval {best.recipe} --data DIR"
        yield "To start a training from them:"
        yield f"  intarsia train {name} --data DIR --out RUN --weights {best.recipe} --allow-partial"
        yield "To fetch them before, or write a list for a machine that has a network:"
        yield f"  intarsia models download {best.recipe}"
        yield f"  intarsia models download {best.recipe} --list FILE"


def _facts(model: Model) -> dict[str, Any]:
    """Everything, as plain values."""
    from dataclasses import asdict

    from intarsia.guide.facts import RELATIVE
    from intarsia.guide.networks import data_of
    from intarsia.weights.download import cached_file

    cost = model.cost()
    published = []
    for recipe in model.network.published:
        height, width, steps = _crop_and_steps(recipe)
        found = [
            {
                "name": one.recipe, "trained_on": one.data, "scores": dict(one.scores), "address": one.address,
                "sha256": one.sha256, "cached": cached_file(one.address).is_file(),
            }
            for one in model.checkpoints
            if one.recipe == recipe
        ]  # fmt: skip
        published.append(
            {"recipe": recipe, "data": data_of(recipe), "crop": [height, width], "steps": steps, "checkpoints": found}
        )
    return {
        "name": model.name,
        "method": asdict(model.network.method) if model.network.method else None,
        "for_own_data": model.network.own,
        "cost": None if cost is None else {**asdict(cost), "recipe": model.network.first},
        "times_segformer_mit-b0": {field: model.times(field) for field in RELATIVE},
        "published": published,
        "stated": [asdict(one) for one in model.stated],
    }
