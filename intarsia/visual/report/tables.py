"""The tables of a report: classes, confusions, images, facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from intarsia.visual.report.content import Counts, ImageEntry, ReportContent
from intarsia.visual.report.markup import bar, cell, interval, number, percent, swatch, table, text

MOST_CLASSES = 160
"""A matrix of more classes shows those with the most pixels."""

WRITTEN_OUT = 24
"""A matrix of at most so many classes has numbers in its cells; a larger one has colours alone."""

MOST_CONFUSIONS = 30
MOST_IMAGES = 1000
FAINTEST = 0.0005
"""Cells with a smaller share of their row stay empty."""

HEADINGS = {
    "IoU": "IoU",
    "BoundaryIoU": "boundary IoU",
    "Precision": "precision",
    "Recall": "recall",
    "Fscore": "F",
    "Fscore_mmseg": "F (MMSeg)",
    "Precision_mmseg": "precision (MMSeg)",
}
"""Columns of the table of classes, if the scores are there."""


def class_table(content: ReportContent) -> str:
    """Every class with its scores as bars."""
    labelled = content.matrix.sum(axis=1)
    total = max(1, int(labelled.sum()))
    shown = [name for name in HEADINGS if name in content.scores]
    rows = []
    for index, (name, rgb) in enumerate(zip(content.classes, content.palette, strict=True)):
        share = int(labelled[index]) / total
        absent = "" if labelled[index] else ' <span class="note">not in the labels</span>'
        cells = [f'<th scope="row">{swatch(rgb)}{text(name)}{absent}</th>', cell(percent(share, 2), share)]
        for score in shown:
            note = _interval(content.class_intervals, index) if score == "IoU" else ""
            cells.append(bar(float(content.scores[score][index]), note))
        rows.append("".join(cells))
    return table(["class", "share of pixels", *(HEADINGS[name] for name in shown)], rows, kind="sortable classes")


def _interval(intervals: np.ndarray | None, index: int) -> str:
    if intervals is None or not np.isfinite(intervals[:, index]).all():
        return ""
    low, high = intervals[:, index]
    return f' <span class="note">{interval(float(low), float(high))}</span>'


# --- Confusions ---------------------------------------------------------------------------------------------------


def matrix_table(content: ReportContent) -> str:
    """The confusion matrix as a heat map: every row shows where the pixels of a true class went."""
    chosen = matrix_classes(content.matrix)
    whole = np.maximum(content.matrix.sum(axis=1), 1)
    names = [text(content.classes[index]) for index in chosen]
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    rows = []
    for name, truth in zip(names, chosen, strict=True):
        shares = content.matrix[truth, chosen] / whole[truth]
        cells = [
            _matrix_cell(float(share), name, other, truth == predicted, len(chosen))
            for share, other, predicted in zip(shares, names, chosen, strict=True)
        ]
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    left_out = len(content.classes) - len(chosen)
    said = f"<p>{left_out} classes with the fewest pixels are left out.</p>" if left_out else ""
    kind = "matrix numbers" if len(chosen) <= WRITTEN_OUT else "matrix"
    body = "\n".join(rows)
    return (
        f'{said}<div class="scroll" tabindex="0"><table class="{kind}"><thead><tr><th class="corner">truth ↓ '
        f"predicted →</th>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def matrix_classes(matrix: Counts) -> list[int]:
    """The classes that a matrix shows, in order: all, or the `MOST_CLASSES` with the most pixels on either side."""
    pixels = matrix.sum(axis=0) + matrix.sum(axis=1)
    most = np.argsort(-pixels, kind="stable")[:MOST_CLASSES]
    return sorted(int(index) for index in most)


def _matrix_cell(share: float, truth: str, predicted: str, right: bool, count: int) -> str:
    if share < FAINTEST:
        return '<td class="hit"></td>' if right else "<td></td>"
    depth = math.sqrt(min(share, 1.0))  # small confusions must show, too
    shown = percent(share, 0) if count <= WRITTEN_OUT and share >= 0.005 else ""
    kind = ("hit" if right else "miss") + (" deep" if depth > 0.7 else "")
    title = f"{percent(share, 2)} % of {truth}" + ("" if right else f" predicted as {predicted}")
    return f'<td class="{kind}" style="--depth:{depth:.2f}" title="{title}">{shown}</td>'


def confusion_table(content: ReportContent) -> str:
    """The pairs of classes that cost the most pixels."""
    wrong = content.matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    labelled, total = content.matrix.sum(axis=1), max(1, int(content.matrix.sum()))
    rows = []
    for place in order:
        truth, predicted = divmod(int(place), len(content.classes))
        count = int(wrong[truth, predicted])
        if count:
            share, of_all = count / int(labelled[truth]), count / total
            rows.append(
                cell(swatch(content.palette[truth]) + text(content.classes[truth]), kind="words")
                + cell(swatch(content.palette[predicted]) + text(content.classes[predicted]), kind="words")
                + cell(number(count), count)
                + cell(percent(share), share)
                + cell(percent(of_all, 2), of_all)
            )
    columns = ["truth", "predicted", "pixels", "% of the true class", "% of all pixels"]
    return table(columns, rows, left=2) if rows else "<p>No pixel is wrong.</p>"


# --- Images and facts ---------------------------------------------------------------------------------------------


def quantile_table(values: Sequence[float]) -> str:
    """Quantiles of the images' scores."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return "<p>No image has a labelled pixel.</p>"
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    names = ("lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest")
    cells = [cell(percent(float(value))) for value in np.quantile(finite, shares)]
    return table(["mean", *names], [cell(percent(float(finite.mean()))) + "".join(cells)], kind="plain", left=0)


def image_table(images: Sequence[ImageEntry]) -> str:
    """All images with their scores, the worst first, folded away."""
    ordered = sorted(images, key=lambda entry: (math.isnan(entry.iou), entry.iou, entry.name))
    rows = [
        f'<th scope="row">{text(entry.name)}</th>' + bar(entry.iou) + bar(entry.accuracy)
        for entry in ordered[:MOST_IMAGES]
    ]
    many = f", the {number(MOST_IMAGES)} worst" if len(images) > MOST_IMAGES else ""
    head = f"<summary>All {number(len(images))} images by name{many}</summary>"
    return f"<details>{head}{table(['image', 'mIoU', 'right pixels'], rows)}</details>"


def fact_list(facts: Mapping[str, Mapping[str, str]]) -> str:
    """Headed lists of names and values."""
    blocks = []
    for heading, entries in facts.items():
        items = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in entries.items())
        blocks.append(f"<div><h3>{text(heading)}</h3><dl>{items}</dl></div>")
    return f'<div class="facts">{"".join(blocks)}</div>'
