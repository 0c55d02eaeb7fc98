"""A confusion matrix as a picture and as tables: where the pixels of each true class went."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.io.whole_files import write_bytes, write_text
from intarsia.visual.curves import FAINT, INK, fonts_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Counts = npt.NDArray[np.integer[Any]]

RIGHT, WRONG, ABSENT = (0, 90, 160), (200, 60, 0), (238, 238, 238)
"""Colours of a whole row of pixels on the diagonal and beside it, and of classes that no label has."""

WRITTEN_OUT = 24
"""A matrix of at most so many classes has percents in its cells."""

LONGEST = 28
"""Letters of a name; longer ones are cut."""


def row_shares(matrix: Counts) -> npt.NDArray[np.float64]:
    """Each row (K, K) divided by its sum: the share of a true class that was taken for each class; nan without any."""
    whole = matrix.sum(axis=1, keepdims=True).astype(np.float64)
    return np.asarray(np.divide(matrix, whole, out=np.full(matrix.shape, np.nan), where=whole > 0))


def save_matrix_tables(path: PathLike, matrix: Counts, classes: Sequence[str]) -> tuple[Path, Path]:
    """Write the counts (K, K) as CSV, and beside it, with "_shares" in its name, those of each row as shares of 1.

    Rows are true classes, columns predicted ones. A class without labelled pixels has empty shares.
    """
    path = Path(path)
    beside = path.with_name(f"{path.stem}_shares{path.suffix}")
    shares = [["" if np.isnan(value) else f"{value:.6f}" for value in row] for row in row_shares(matrix)]
    write_text(path, _table(matrix.tolist(), classes))
    write_text(beside, _table(shares, classes))
    return path, beside


def _table(rows: Sequence[Sequence[object]], classes: Sequence[str]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["truth / predicted", *classes])
    table.writerows([name, *row] for name, row in zip(classes, rows, strict=True))
    return text.getvalue()


def save_matrix_picture(path: PathLike, matrix: Counts, classes: Sequence[str], *, title: str = "") -> Path:
    """Draw counts (K, K) as PNG, each row in shares of its true class: blue on the diagonal, orange beside it.

    Rows are true classes with their share of all labelled pixels, columns predicted ones. Colours grow with the root of
    a share, so that small confusions show. All names are readable, whatever K is: the picture grows with it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(classes)
    written = count <= WRITTEN_OUT
    cell = 0.46 if written else 0.15  # inches; a line of small type is 0.12 high
    side = max(count * cell, 2.0)
    size = 9.0 if written else 7.5
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in classes]
    above = 0.095 * size / 9 * max(map(len, names), default=0) + 0.7
    left = above + 0.095 * size / 9 * len("  99.9%")
    figure = Figure(figsize=(side + left + 0.5, side + above + 0.95), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    width, height = figure.get_size_inches()
    with fonts_for([*names, title]):
        axes = figure.add_axes((left / width, 0.75 / height, side / width, side / height))
        _draw(axes, matrix, names, size, written=written)
        figure.text(0.15 / width, 1 - 0.28 / height, title, color=INK, fontsize=12, va="center")
        figure.text(0.15 / width, 0.25 / height, _said(matrix), color=FAINT, fontsize=8.5, va="center")
        encoded = io.BytesIO()
        figure.savefig(encoded, format="png", metadata={"Software": None})
    return write_bytes(path, encoded.getvalue())


def _draw(axes: Axes, matrix: Counts, names: Sequence[str], size: float, *, written: bool) -> None:
    shares, total = row_shares(matrix), max(1, int(matrix.sum()))
    count = len(names)
    axes.imshow(matrix_colours(shares), interpolation="nearest", aspect="equal", extent=(0, count, count, 0))
    places = np.arange(count) + 0.5
    rows = [f"{name}  {int(own) / total:.1%}" for name, own in zip(names, matrix.sum(axis=1), strict=True)]
    axes.set_xticks(places, names, rotation=90, fontsize=size, color=INK)
    axes.set_yticks(places, rows, fontsize=size, color=INK)
    axes.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    axes.set_xlabel("predicted class", color=FAINT, fontsize=9)
    axes.set_ylabel("true class, and its share of the labels", color=FAINT, fontsize=9)
    lines, thin = np.arange(count + 1), 0.8 if written else 0.3
    axes.hlines(lines, 0, count, colors="white", linewidth=thin)
    axes.vlines(lines, 0, count, colors="white", linewidth=thin)
    axes.set(xlim=(0, count), ylim=(count, 0))
    for side in axes.spines.values():
        side.set_visible(False)
    if written:
        for row, column in np.argwhere(np.nan_to_num(shares) >= 0.005):
            share = shares[row, column]
            colour = "white" if np.sqrt(share) > 0.6 else INK
            axes.text(column + 0.5, row + 0.5, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)


def matrix_colours(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Shares (K, K) of rows -> (K, K, 3) RGB."""
    depth = np.sqrt(np.clip(shares, 0, 1))[:, :, None]
    full = np.where(np.eye(len(shares), dtype=bool)[:, :, None], RIGHT, WRONG)
    picture = 255 + depth * (full - 255.0)
    picture[np.isnan(shares)] = ABSENT
    return np.round(picture).astype(np.uint8)


def _said(matrix: Counts) -> str:
    absent = int((matrix.sum(axis=1) == 0).sum())
    classes = "1 class" if absent == 1 else f"{absent} classes"
    note = f"; grey: {classes} without labelled pixels" if absent else ""
    return f"percent of each row's pixels; blue right, orange wrong{note}"
