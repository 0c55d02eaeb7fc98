"""``intarsia models``: which networks there are, what they cost and score, and how to use each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from intarsia.guide.facts import Checkpoint, Cost
    from intarsia.guide.models import Model

app = typer.Typer(
    no_args_is_help=True,
    help="List the models with what they cost and score, and say all about one.",
)
EXAMPLES = """
[bold]Small and fast ones[/]:  intarsia models list real-time --sort cost

[bold]The best on Cityscapes[/]:  intarsia models list --data cityscapes --sort score

[bold]All about one[/]:  intarsia models show segformer_mit-b0
"""
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
    if figures:
        notes.append(f"{', '.join(RELATIVE[field] for field in figures)}: times segformer_mit-b0's.")
    typer.echo("\n".join(notes))


@app.command("show", no_args_is_help=True)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of the list, or any recipe of it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say all about a model: paper, cost, published scores and checkpoints, how to train it and take its weights."""
    from intarsia.guide.models import find
    from intarsia.terminal import out, table

    model = find(name)
    if as_json:
        typer.echo(json.dumps(_facts(model), indent=2, ensure_ascii=False))
        return
    console = out()
    console.print(table("", ("model", model.name), _about(model), left=2))
    for line in (*_published(model), *_use(model)):
        typer.echo(line)


def _row(one: Model, data: str | None, figures: Sequence[str], shown: Sequence[str]) -> tuple[str, ...]:
    from intarsia.guide.facts import rounded

    cost = one.cost(data)
    multiples = (rounded(value) if (value := one.times(field)) else "" for field in figures)
    scores = (_score(one.best(name)) for name in shown)
    return (one.name, str(one.year or ""), *_size(cost), *multiples, *scores)


def _size(cost: Cost | None) -> tuple[str, str]:
    from intarsia.guide.facts import rounded

    if cost is None:
        return "", ""
    return rounded(cost.parameters / 1e6), rounded(cost.multiply_adds / 1e9)


def _score(best: Checkpoint | None) -> str:
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


def _published(model: Model) -> Iterator[str]:
    """Its recipes by data set, the best score first."""
    from intarsia.guide.models import goodness
    from intarsia.guide.networks import data_of

    for data in model.data:
        yield f"Published for {data}:"
        found = [one for one in model.checkpoints if data_of(one.recipe) == data]
        for one in sorted(found, key=goodness, reverse=True):
            scores = ", ".join(f"{name} {value:g}" for name, value in one.scores.items())
            yield f"  {one.recipe}"
            yield f"    {scores}; {_training(one.recipe)}"
            yield f"    {one.address}"
        scored = {one.recipe for one in found}
        for recipe in model.network.published:
            if data_of(recipe) == data and recipe not in scored:
                yield f"  {recipe}"
                yield f"    no checkpoint; {_training(recipe)}"
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


def _use(model: Model) -> Iterator[str]:
    name = model.network.own or model.network.first
    if model.cost() is None:
        yield f"It cannot be built yet; `intarsia config check {model.network.first}` says what is missing."
        return
    yield "To train it on your own data:"
    yield f"  intarsia train {name} --data DIR --out RUN"
    if model.checkpoints:
        best = model.best("ade20k") or model.best("cityscapes") or model.checkpoints[0]
        file = best.address.rpartition("/")[2]
        yield "To start from published weights, downloaded from the address above:"
        yield f"  intarsia train {name} --data DIR --out RUN --weights {file} --allow-partial"
        yield "To use them as they are:"
        yield f"  intarsia predict {file} IMAGES -o OUT --config {best.recipe}"


def _facts(model: Model) -> dict[str, Any]:
    """Everything, as plain values."""
    from dataclasses import asdict

    from intarsia.guide.facts import RELATIVE
    from intarsia.guide.networks import data_of

    cost = model.cost()
    published = []
    for recipe in model.network.published:
        height, width, steps = _crop_and_steps(recipe)
        found = [
            {"scores": dict(one.scores), "address": one.address} for one in model.checkpoints if one.recipe == recipe
        ]
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
    }
