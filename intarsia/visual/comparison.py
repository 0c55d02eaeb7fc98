"""Pictures beyond one run's curve: several runs compared, and a sweep of the learning rate."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intarsia.contracts import PathLike
from intarsia.io.whole_files import write_bytes
from intarsia.visual.curves import COLOURS, FAINT, INK, SCORES, Records, fonts_for, series, smoothed, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXACT = ("lr", "base_lr", "momentum")
"""Names whose values follow a schedule: nothing to smooth."""

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


def save_series(path: PathLike, runs: Mapping[str, Records], keys: Sequence[str]) -> Path:
    """Draw a panel for each key over the steps, as PNG, with a curve for each run that has logged it.

    runs: name -> lines of metrics.jsonl. keys: names as they stand there; shares of validation scores are drawn in
    percent, and what is logged at every line (losses, rates, times) smoothed over its faint values.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)
    size = (5.5 * columns, 3.6 * rows + 0.3 + ROW * len(runs))
    figure = Figure(figsize=size, dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    with fonts_for([*runs, *keys]):
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes, key in zip(panels.flat, keys, strict=False):
            style(axes, f"Validation {key.removeprefix('val/')}" if key.startswith("val/") else key)
            for number, (name, records) in enumerate(runs.items()):
                _draw_series(axes, records, key, name, number)
            axes.set_xlabel("step", color=FAINT, fontsize=9)
            _keep_the_first_steps_from_flattening(axes)
            if key.startswith("val/") and key.removeprefix("val/").startswith(SCORES):
                axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
        for axes in list(panels.flat)[len(keys) :]:
            axes.set_axis_off()
        handles, names = [], []
        for axes in panels.flat:
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                if name not in names:
                    handles.append(handle)
                    names.append(name)
        figure.legend(
            handles, names, loc="outside lower left", fontsize=8.5, frameon=False, labelcolor=INK, ncols=1
        )  # fmt: skip
        encoded = io.BytesIO()
        figure.savefig(encoded, format="png", metadata={"Software": None})
    return write_bytes(path, encoded.getvalue())


def _draw_series(axes: Axes, records: Records, key: str, name: str, number: int) -> None:
    steps, values = series(records, key)
    if not len(values):
        return
    colour, dashes = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
    if key.startswith("val/") or len(values) < 30 or key in EXACT:
        marker = "o" if len(values) < 60 and key not in EXACT else ""
        axes.plot(steps, values, color=colour, linestyle=dashes, marker=marker, markersize=3.5, label=name)
        return
    axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.22)
    axes.plot(steps, smoothed(values), color=colour, linestyle=dashes, label=name)


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
