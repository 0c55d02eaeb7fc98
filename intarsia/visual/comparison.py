"""Pictures beyond one run's curve: several runs compared, and a sweep of the learning rate."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intarsia.contracts import PathLike
from intarsia.io.whole_files import write_bytes
from intarsia.visual.curves import COLOURS, FAINT, INK, Records, fonts_for, series, smoothed, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.26
"""Inches that a run takes in the legend below."""


def save_comparison(path: PathLike, runs: Mapping[str, Records], *, metric: str = "mIoU") -> Path:
    """Draw the logs of several runs as PNG: training loss (smoothed) on the left, a validation score on the right.

    runs: name -> lines of metrics.jsonl. metric: name of the score, without "val/". A run has the same colour on both
    sides; runs that never logged the score are only on the left.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4 + ROW * len(runs)), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    with fonts_for(list(runs)):
        _draw(figure, runs, metric)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", metadata={"Software": None})
    return write_bytes(path, encoded.getvalue())


def _draw(figure: Figure, runs: Mapping[str, Records], metric: str) -> None:
    loss, score = figure.subplots(1, 2)
    style(loss, "Training loss")
    style(score, f"Validation {metric}")
    for number, (name, records) in enumerate(runs.items()):
        colour, dashes = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
        steps, values = series(records, "loss")
        loss.plot(steps, smoothed(values) if len(values) else values, color=colour, linestyle=dashes, label=name)
        steps, values = series(records, f"val/{metric}")
        score.plot(steps, values, color=colour, linestyle=dashes, marker="o", markersize=3.5)
        if len(values):
            best = int(np.argmin(values) if metric == "loss" else np.argmax(values))
            score.plot(steps[best], values[best], marker="o", markersize=8, fillstyle="none", color=colour)
    for axes in (loss, score):
        axes.set_xlabel("step", color=FAINT, fontsize=9)
        _keep_the_first_steps_from_flattening(axes)
    if metric != "loss":
        score.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    figure.legend(loc="outside lower left", fontsize=8.5, frameon=False, labelcolor=INK, ncols=1)


def save_sweep(path: PathLike, rates: Sequence[float], losses: Sequence[float], suggestion: float) -> Path:
    """Draw losses over rising learning rates as PNG, with the suggested rate marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    style(axes, "Loss under a rising learning rate")
    axes.set_xscale("log")
    axes.plot(rates, losses, color=COLOURS[0], linewidth=1.7)
    axes.axvline(suggestion, color=COLOURS[4], linewidth=1.4, linestyle="--")
    axes.annotate(f" {suggestion:.2g}", (suggestion, max(losses)), color=COLOURS[4], fontsize=10, va="top", ha="left")
    axes.set_xlabel("learning rate", color=FAINT, fontsize=9)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", metadata={"Software": None})
    return write_bytes(path, encoded.getvalue())


def _keep_the_first_steps_from_flattening(axes: Axes) -> None:
    values = [y for line in axes.get_lines() for y in np.asarray(line.get_ydata(), float)]
    if not values:
        axes.text(0.5, 0.5, "nothing logged", transform=axes.transAxes, ha="center", color=FAINT)
        return
    low, high = min(values), max(values)
    top = min(high, 1.6 * float(np.quantile(values, 0.97))) if high > 0 else high
    margin = 0.05 * (top - low) or 0.05
    axes.set_ylim(low - margin, top + margin)
