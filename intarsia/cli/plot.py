"""``intarsia plot``: training runs compared, as a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from intarsia.workflows.training_logs import TrainingLog

EXAMPLES = """
[bold]Two runs side by side[/]:   intarsia plot runs/first runs/second -o comparison.png

[bold]Every run in a folder[/]:   intarsia plot runs/* --metric loss

[bold]What you name, of each run[/]:  intarsia plot runs/first --keys loss,decode.loss_ce,lr,mIoU,step_seconds

[bold]Beside a run of MMSegmentation[/]:  intarsia plot runs/first work_dirs/pspnet 20210303_101010.log.json
"""
_WIDE_ENOUGH = 200
"""Columns of a file or a pipe, in which no name is folded."""


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of runs; a running one is fine. Also work_dirs of MMSegmentation, and its logs: "
            "scalars.json of 1.x, .log.json of 0.x.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, a PNG file.")] = Path("comparison.png"),
    metric: Annotated[str, typer.Option("--metric", help="Validation score: mIoU, aAcc, loss ...")] = "mIoU",
    keys: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--keys",
            metavar="NAME,...",
            help="Draw these instead, a panel each, with first, last and best value: loss, decode.loss_ce, lr, mIoU, "
            "step_seconds, or whatever was logged.",
        ),
    ] = None,
) -> None:
    """Compare training runs: a table of what they reached and how fast, and their curves in one picture."""
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out} must end in .png")
    from intarsia.terminal import out as results
    from intarsia.terminal import say, table
    from intarsia.visual.comparison import save_comparison, save_series
    from intarsia.workflows.training_logs import read_log

    logs = [read_log(run) for run in dict.fromkeys(runs)]
    drawn = {log.name: log.records for log in logs}
    console = results()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE_ENOUGH
    if keys is not None:
        chosen = _chosen(logs, [name.strip() for name in keys.split(",") if name.strip()])
        columns = ("key", "run", "lines", "first", "last", "best", "at step", "median")
        console.print(table("", columns, _by_key(logs, chosen), left=2))
        say(f"curves: {save_series(out, drawn, chosen)}")
        return
    known = sorted({key.removeprefix("val/") for log in logs for key in log.keys if key.startswith("val/")})
    if known and metric not in known:
        raise ValueError(f"no run logged {metric!r} on validation images; there are: {', '.join(known)}")
    titles = ("run", "steps", "loss", f"best {metric}", "at step", "img/s", "s/step", "slow", "wait")
    console.print(table("", titles, [_row(log, metric) for log in logs]))
    say(f"curves: {save_comparison(out, drawn, metric=metric)}")


def _chosen(logs: Sequence[TrainingLog], asked: Sequence[str]) -> list[str]:
    """Names as they stand in the logs. Raises ValueError for one that none has."""
    from intarsia.workflows.training_logs import found_key

    known = list(dict.fromkeys(key for log in logs for key in log.keys))
    chosen = []
    for name in asked:
        key = found_key(known, name)
        if key is None:
            raise ValueError(f"--keys: no run logged {name!r}; there are: {', '.join(known)}")
        chosen.append(key)
    if not chosen:
        raise ValueError(f"--keys names nothing; there are: {', '.join(known)}")
    return list(dict.fromkeys(chosen))


def _by_key(logs: Sequence[TrainingLog], keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    from intarsia.workflows.training_logs import summary

    for key in keys:
        for log in logs:
            found = summary(log, key)
            if found is None:
                yield key, log.name, "0", *("-",) * 5
                continue
            middle = f"{found.median:.5g}"
            best = ("-", "-") if found.best is None else (f"{found.best[0]:.5g}", f"{found.best[1]:,}")
            yield key, log.name, f"{found.count:,}", *(f"{x:.5g}" for x in (found.first, found.last)), *best, middle


def _row(log: TrainingLog, metric: str) -> tuple[str, ...]:
    """Images a second, seconds of a step and the share of them that it waits for data are medians of the lines.

    "slow": a step of the line that 19 in 20 are quicker than.
    """
    from intarsia.workflows.training_logs import SECONDS, summary

    loss, score = summary(log, "loss"), summary(log, f"val/{metric}")
    rates, waits = summary(log, "images_per_second"), summary(log, "data_wait")
    best = None if score is None else score.best
    seconds = sorted(value for _, value in log.series(SECONDS))
    return (
        log.name,
        f"{log.records[-1]['step']:,}" if log.records else "0",
        "-" if loss is None else f"{loss.last:.4f}",
        "-" if best is None else f"{best[0]:.4f}",
        "-" if best is None else f"{best[1]:,}",
        "-" if rates is None else f"{rates.median:.1f}",
        f"{seconds[len(seconds) // 2]:.3f}" if seconds else "-",
        f"{seconds[-1 - len(seconds) // 20]:.3f}" if seconds else "-",
        "-" if waits is None else f"{waits.median:.0%}",
    )
