"""The curve of a training run as one picture: loss, learning rate, validation scores."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.io.whole_files import write_bytes
from intarsia.visual.fonts import files_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Sequence[Mapping[str, Any]]

INK, FAINT, GRID = "#212529", "#6c757d", "#e9ecef"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#78603c", "#7570b3")
SCORES = ("mIoU", "IoU", "aAcc", "mAcc", "mDice", "mFscore")
"""Validation scores that are drawn, by the beginning of their name."""


def save_curves(path: PathLike, records: Records, *, title: str = "") -> Path:
    """Draw the lines of metrics.jsonl as PNG: loss terms as logged (faint) and smoothed, learning rate, validation.

    records: "step" and names to numbers, None where a number was not finite. Names with "loss" in them are drawn as
    losses, "val/loss" among them; of the names beginning with "val/" the scores.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    with fonts_for([title]):
        _draw(figure, records, title)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", metadata={"Software": None})
    return write_bytes(path, encoded.getvalue())


@contextmanager
def fonts_for(texts: Sequence[str]) -> Iterator[None]:
    """Within, matplotlib takes letters that its own font does not have from others."""
    files = files_for(texts)
    if not files:
        yield
        return
    import matplotlib
    from matplotlib import font_manager

    for file in files:
        font_manager.fontManager.addfont(str(file))
    names = [font_manager.FontProperties(fname=str(file)).get_name() for file in files]
    with matplotlib.rc_context({"font.family": ["sans-serif", *names]}):
        yield


def _draw(figure: Figure, records: Records, title: str) -> None:
    grid = figure.add_gridspec(2, 2, height_ratios=[3.2, 1], width_ratios=[1.25, 1])
    loss, rate = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    scores = figure.add_subplot(grid[:, 1])
    rate.sharex(loss)
    for axes, name in ((loss, "Loss"), (rate, "Learning rate"), (scores, "Validation")):
        style(axes, name)
    loss.tick_params(labelbottom=False)
    rate.set_xlabel("step", color=FAINT, fontsize=9)
    scores.set_xlabel("step", color=FAINT, fontsize=9)
    _draw_losses(loss, records)
    steps, values = series(records, "lr")
    rate.plot(steps, values, color=INK, linewidth=1.4, marker="." if len(steps) < 3 else "")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    rate.yaxis.get_offset_text().set(color=FAINT, fontsize=8)
    _draw_scores(scores, records)
    if title:
        figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=12)


def style(axes: Axes, title: str) -> None:
    """The look of all plots: a title at the left, a faint grid, whole steps."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", color=INK, fontsize=10.5, pad=8)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#ced4da")
    axes.tick_params(colors=FAINT, labelsize=8.5, length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def series(records: Records, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Steps and values of one name, where it was logged as a number."""
    pairs = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    return np.array([step for step, _ in pairs], float), np.array([value for _, value in pairs], float)


def smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Centred mean over a fifteenth of the series, over less towards its ends."""
    half = len(values) // 30
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, end = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return np.asarray((total[end] - total[first]) / (end - first))


def _names(records: Records) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _draw_losses(axes: Axes, records: Records) -> None:
    terms = [name for name in _names(records) if "loss" in name and not name.startswith(("val/", "fit/"))]
    if len(terms) == 2 and "loss" in terms:
        terms = ["loss"]  # a single term is the whole
    drawn = []
    for colour, name in zip([INK, *COLOURS], terms, strict=False):
        steps, values = series(records, name)
        few = len(steps) < 3
        if len(values) >= 30:
            axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.22)
        axes.plot(
            steps, smoothed(values), color=colour, linewidth=1.7, marker="o" if few else "", markersize=4,
            label="training" if name == "loss" else name,
        )  # fmt: skip
        drawn.append(values)
    steps, values = series(records, "val/loss")
    if len(steps):
        axes.plot(
            steps,
            values,
            color=COLOURS[4],
            linewidth=1.4,
            linestyle="--",
            marker="o",
            markersize=3.5,
            label="validation",
        )
        drawn.append(values)
    if not drawn or not any(len(values) for values in drawn):
        _say(axes, "nothing logged yet")
        return
    # The first steps may be far above everything that follows; they must not flatten the rest.
    everything = np.concatenate(drawn)
    top = min(float(everything.max()), 1.6 * float(np.quantile(everything, 0.97)))
    axes.set_ylim(min(0.0, float(everything.min())), 1.06 * top if top > 0 else None)
    _legend(axes, "upper right")


def _draw_scores(axes: Axes, records: Records) -> None:
    names = [
        name for name in _names(records) if name.removeprefix("val/").startswith(SCORES) and name.startswith("val/")
    ]
    if not names:
        _say(axes, "no evaluation during this run")
        return
    main = next((name for name in names if name == "val/mIoU"), names[0])
    for colour, name in zip(COLOURS, [main, *(name for name in names if name != main)], strict=False):
        steps, values = series(records, name)
        strong = name == main
        axes.plot(
            steps, 100 * values, color=colour, linewidth=2.0 if strong else 1.2, alpha=1.0 if strong else 0.75,
            marker="o", markersize=4.5 if strong else 3, label=name.removeprefix("val/"), zorder=3 if strong else 2,
        )  # fmt: skip
    steps, values = series(records, main.replace("val/", "fit/"))
    if len(values):
        axes.plot(
            steps, 100 * values, color=COLOURS[0], linewidth=1.2, linestyle=":", marker="o", markersize=3,
            label=f"{main.removeprefix('val/')} on training images",
        )  # fmt: skip
    steps, values = series(records, main)
    if len(values):
        best = int(values.argmax())
        axes.set_title(
            f"best {main.removeprefix('val/')} {100 * values[best]:.1f}% at step {int(steps[best]):,}",
            loc="right", color=FAINT, fontsize=9, pad=8,
        )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low - 2), min(100.0, high + 2))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")
    _legend(axes, "lower right")


def _legend(axes: Axes, place: Literal["upper right", "lower right"]) -> None:
    axes.legend(
        loc=place, fontsize=8.5, frameon=True, framealpha=0.9, facecolor="white", edgecolor="none", labelcolor=INK,
        handlelength=1.4,
    )  # fmt: skip


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=10)
    axes.set_yticks([])
