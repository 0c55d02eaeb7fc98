"""``intarsia plot``: training runs compared, as a table and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLES = """
[bold]Two runs side by side[/]:   intarsia plot runs/first runs/second -o comparison.png

[bold]Every run in a folder[/]:   intarsia plot runs/* --metric loss
"""


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs; a running one is fine.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, a PNG file.")] = Path("comparison.png"),
    metric: Annotated[str, typer.Option("--metric", help="Validation score: mIoU, aAcc, loss ...")] = "mIoU",
) -> None:
    """Compare training runs: a table of what they reached, and their curves in one picture."""
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out} must end in .png")
    from intarsia.engine.training.log import MetricsFile
    from intarsia.terminal import out as results
    from intarsia.terminal import say, table
    from intarsia.visual.comparison import save_comparison

    logs: dict[str, list[dict[str, Any]]] = {}
    for run in dict.fromkeys(runs):
        lines = MetricsFile(run / "metrics.jsonl").read()
        if not lines:
            raise ValueError(f"{run} holds no log of a training (metrics.jsonl); give folders that --out made")
        logs[str(run)] = lines
    known = sorted(
        {name.removeprefix("val/") for lines in logs.values() for e in lines for name in e if "val/" in name}
    )
    if known and metric not in known:
        raise ValueError(f"no run logged {metric!r} on validation images; there are: {', '.join(known)}")
    columns = ("run", "steps", "loss", f"best {metric}", "at step", "images/s")
    results().print(table("", columns, [_row(run, lines, metric) for run, lines in logs.items()]))
    say(f"curves: {save_comparison(out, logs, metric=metric)}")


def _row(run: str, lines: list[dict[str, Any]], metric: str) -> tuple[str, ...]:
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    scores = [(line[f"val/{metric}"], line["step"]) for line in lines if line.get(f"val/{metric}") is not None]
    rates = sorted(line["images_per_second"] for line in lines if line.get("images_per_second"))
    best = (min(scores) if metric == "loss" else max(scores)) if scores else None
    return (
        run,
        f"{lines[-1]['step']:,}",
        f"{losses[-1]:.4f}" if losses else "-",
        "-" if best is None else f"{best[0]:.4f}",
        "-" if best is None else f"{best[1]:,}",
        f"{rates[len(rates) // 2]:.1f}" if rates else "-",
    )
