"""``intarsia advise``: which recipes suit one's own data and machine, with the time and memory that they take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.workflows.advise import Facts, Measured, Outlook, Proposal
    from intarsia.workflows.measure_recipes import Advised

EXAMPLES = """
[bold]What fits an hour[/]:
intarsia advise DIR --within 1h

[bold]Which of these[/]:
intarsia advise DIR --among segformer_mit-b0 --among pidnet-s
"""


def advise(
    place: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="Folder of images and masks, or a data description.")
    ],
    within: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--within", metavar="TIME", help="How long a training may take; by default '8h'."),
    ] = None,
    among: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--among", metavar="NAME", help="Choose from these networks only; see: intarsia models list"),
    ] = None,
    benchmark: Annotated[
        str,
        typer.Option("--rank-by", metavar="NAME", help="The benchmark whose published scores rank the networks."),
    ] = "ade20k",
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Try no network out; times are then not known.")
    ] = False,
    crop: options.Crop = None,
    batch: options.Batch = None,
    workers: options.Workers = None,
    device: options.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Propose two or three recipes for your data: quick, balanced, accurate; with time and memory on this machine.

    Trains those networks for some steps each, to measure it, and keeps nothing of that.
    """
    from intarsia.workflows.adjust import TrainingOptions
    from intarsia.workflows.measure_recipes import AdviceRequest
    from intarsia.workflows.measure_recipes import advise as advise_on

    if within is not None and no_measure:
        raise ValueError("--within is about times, which are not known with --no-measure: leave out one of them")
    request = AdviceRequest(
        data=place,
        within=_seconds("8h" if within is None else within),
        measure=not no_measure,
        among=tuple(among or ()),
        benchmark=benchmark,
        device=device,
        training=TrainingOptions(crop=crop, batch=batch, workers=workers),
    )
    found = advise_on(request)
    if not found.advice.proposals:
        raise ValueError(found.advice.note)
    given: dict[str, Any] = {"--crop": crop, "--batch": batch, "--workers": workers}
    words = [str(word) for name, value in given.items() if value is not None for word in (name, *_several(value))]
    words += [] if device == "auto" else ["--device", device]
    if as_json:
        typer.echo(json.dumps(_values(found, place, words), indent=2, ensure_ascii=False))
        return
    typer.echo("\n".join(_lines(found, place, words)))


def _seconds(text: str) -> float:
    from intarsia.engine.optim.duration import parse_duration

    duration = parse_duration(text)
    if duration.unit != "seconds":
        raise ValueError(f"--within is a time, like '30m' or '8h'; found {text!r}")
    return duration.value


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _lines(found: Advised, place: Path, words: list[str]) -> Iterator[str]:
    from intarsia.workflows.advise import show_bytes

    facts, advice = found.facts, found.advice
    work, machine = facts.work, facts.machine
    yield (
        f"by default a training on these {work.images:,} images is {work.steps:,} steps of {work.batch} crops of "
        f"{work.crop[0]} x {work.crop[1]} (height x width); here: {machine.device}, {show_bytes(machine.free)} free"
    )
    for one in advice.proposals:
        yield f"{one.role}: {one.name}, {_time(one, facts)}, {_memory(one.outlook, facts)}"
        yield f"  {one.reason}"
        yield f"  {one.command(place, words)}"
    if advice.note:
        yield advice.note
    yield (
        f"scores on {facts.benchmark} are the published ones, from pretrained backbones: they rank networks, and "
        "promise nothing for these images"
    )


def _time(one: Proposal, facts: Facts) -> str:
    from intarsia.workflows.advise import show_time

    seconds, measured = one.outlook.seconds, one.outlook.measured
    if seconds is None:
        return (
            f"{one.outlook.candidate.multiply_adds / 1e9:,.3g} billion multiply-adds at 512 x 512 (time not measured)"
        )
    if measured is None:
        how = "estimated by multiply-adds from what was measured of others"
    else:
        how = f"{measured.seconds:.2g} s a step, {_measured(measured, facts)}"
    if facts.work.evaluated:
        how += f"; {facts.work.evaluated:,} images to evaluate, estimated"
    return f"about {show_time(one.duration or seconds)} ({how})"


def _memory(outlook: Outlook, facts: Facts) -> str:
    from intarsia.workflows.advise import show_bytes

    if outlook.measured is not None:
        how = _measured(outlook.measured, facts)
    elif outlook.candidate.step_bytes is not None:
        how = "the guide's count, by pixels"
    else:
        how = "estimated, not counted in the guide"
    return f"{show_bytes(outlook.memory)} ({how})"


def _measured(found: Measured, facts: Facts) -> str:
    return "measured" if found.images == facts.work.batch else f"measured on {found.images} images"


def _values(found: Advised, place: Path, words: list[str]) -> dict[str, Any]:
    facts = found.facts
    return {
        "work": asdict(facts.work),
        "machine": asdict(facts.machine),
        "within_seconds": facts.within,
        "benchmark": facts.benchmark,
        "proposals": [
            {
                "role": one.role,
                "recipe": one.name,
                "score": one.outlook.candidate.score,
                "seconds": one.duration or one.outlook.seconds,
                "memory_bytes": round(one.outlook.memory),
                "measured": None if one.outlook.measured is None else asdict(one.outlook.measured),
                "reason": one.reason,
                "command": one.command(place, words),
            }
            for one in found.advice.proposals
        ],
        "note": found.advice.note,
        "cannot_be_trained": dict(facts.refused),
    }
