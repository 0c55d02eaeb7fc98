"""A region of an image, its label and its prediction, with its outline marked; and many of them on a sheet."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from intarsia.contracts import IGNORE_INDEX
from intarsia.visual.legend import Entry
from intarsia.visual.overlay import Label, Picture, blend
from intarsia.visual.panes import composed
from intarsia.visual.text import PAPER

SIDE = 300
"""Pixels of a pane."""

MARKED = "white and black"
"""The colours of the mark."""

_AROUND, _LEAST = 2.0, 64


def marked(
    image: Picture,
    truth: Label,
    prediction: Label,
    box: tuple[int, int, int, int],
    labelled: int,
    predicted: int,
    *,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    ignore_index: int = IGNORE_INDEX,
    title: str = "",
    note: str = "",
) -> Picture:
    """Three panes (H', W', 3) of what lies around a region: image, label and prediction.

    image (H, W, 3) RGB, truth and prediction (H, W); box: (top, left, bottom, right) of the region, whose pixels have
    the values `labelled` and `predicted`. title, note: above, at the left and the right.
    Raises ValueError if the sizes differ.
    """
    for name, label in (("truth", truth), ("prediction", prediction)):
        if label.shape != image.shape[:2]:
            raise ValueError(f"expected the {name} at the image's size {image.shape[:2]}, found {label.shape}")
    rows, columns = window(box, image.shape[:2])
    region = np.zeros(truth.shape, np.uint8)
    within = slice(box[0], box[2]), slice(box[1], box[3])
    region[within] = (truth[within] == labelled) & (prediction[within] == predicted)
    scale = SIDE / max(rows.stop - rows.start, columns.stop - columns.start)
    size = (
        max(1, round((columns.stop - columns.start) * scale)),
        max(1, round((rows.stop - rows.start) * scale)),
    )
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(image[rows, columns], size, interpolation=smooth), np.uint8)
    truth, prediction = _nearest(truth[rows, columns], size), _nearest(prediction[rows, columns], size)
    mask = _nearest(region[rows, columns], size).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    panes = [
        ("Image", picture),
        (f"Label: {classes[labelled]}", blend(picture, truth, palette, opacity=0.6, ignore_index=ignore_index)),
        (f"Prediction: {classes[predicted]}", blend(picture, prediction, palette, opacity=0.6, ignore_index=None)),
    ]
    shown = []
    for name, pane in panes:
        drawn = np.full((SIDE, SIDE, 3), PAPER, np.uint8)
        part = np.ascontiguousarray(pane)
        cv2.drawContours(part, outlines, -1, (0, 0, 0), 4)
        cv2.drawContours(part, outlines, -1, (255, 255, 255), 2)
        drawn[: part.shape[0], : part.shape[1]] = part
        shown.append((name, drawn))
    values = [int(value) for value in np.union1d(truth, prediction) if 0 <= value < len(classes)]
    return composed(shown, [Entry(classes[v], palette[v]) for v in values if v != ignore_index], title, note)


def window(box: tuple[int, int, int, int], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns around a box: twice its longer side, square, as far as the image reaches."""
    side = max(_LEAST, round(_AROUND * max(box[2] - box[0], box[3] - box[1])))
    found = []
    for begin, end, length in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        extent = min(side, length)
        start = min(max(0, (begin + end - extent) // 2), length - extent)
        found.append(slice(start, start + extent))
    return found[0], found[1]


def sheet(rows: Sequence[Picture]) -> Picture:
    """Pictures one below the other, on paper as wide as the widest."""
    width = max(row.shape[1] for row in rows)
    padded = []
    for row in rows:
        paper = np.full((row.shape[0], width, 3), PAPER, np.uint8)
        paper[:, : row.shape[1]] = row
        padded.append(paper)
    return np.concatenate(padded)


def _nearest(label: Label, size: tuple[int, int]) -> Label:
    rows = np.arange(size[1]) * label.shape[0] // size[1]
    columns = np.arange(size[0]) * label.shape[1] // size[0]
    return np.ascontiguousarray(label[rows[:, None], columns])
