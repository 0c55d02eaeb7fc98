"""Images of a report: truth, prediction, errors and confidence side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from intarsia.visual.overlay import Picture, blend, void_mask
from intarsia.visual.panes import errors
from intarsia.visual.report.content import Example, ReportContent, Values
from intarsia.visual.report.markup import colour, percent, picture, swatch, text

OPACITY = 0.65
STEPS = 9
"""Colours in the key of the confidence."""


def example_list(examples: Sequence[Example], content: ReportContent) -> str:
    """Each image in a row of pictures, with the classes in it."""
    return "\n".join(_example(example, content) for example in examples)


def _example(example: Example, content: ReportContent) -> str:
    name, ignored = example.entry.name, content.ignore_index
    pictures = {
        "image": example.image,
        "truth": blend(example.image, example.truth, content.palette, opacity=OPACITY, ignore_index=ignored),
        "prediction": blend(example.image, example.prediction, content.palette, opacity=OPACITY, ignore_index=ignored),
        "errors": errors(example.image, example.truth, example.prediction, len(content.classes), ignore_index=ignored),
    }
    if example.confidence is not None:
        pictures["confidence"] = confidence_picture(example.confidence)
    figures = "".join(
        f"<figure>{picture(drawn, f'{kind} of {name}')}<figcaption>{kind}</figcaption></figure>"
        for kind, drawn in pictures.items()
    )
    scores = f"mIoU {percent(example.entry.iou)} %, {percent(example.entry.accuracy)} % of the pixels right"
    return (
        f'<article><header><h3>{text(name)}</h3><p class="note">{scores}</p></header>\n'
        f'<div class="panes">{figures}</div>{_legend(example, content)}</article>'
    )


def _legend(example: Example, content: ReportContent) -> str:
    count = len(content.classes)
    values = np.concatenate([np.unique(example.truth), np.unique(example.prediction)])
    present = sorted(set(values[~void_mask(values, count, ignore_index=content.ignore_index)].tolist()))
    items = "".join(f"<li>{swatch(content.palette[k])}{text(content.classes[k])}</li>" for k in present)
    return f'<ul class="legend">{items}</ul>'


def confidence_picture(confidence: Values) -> Picture:
    """Confidences (H, W) in 0..1 as colours (H, W, 3): dark where the network is sure, bright where it is not."""
    uncertainty = 1 - np.nan_to_num(confidence.astype(np.float32), nan=0.0).clip(0, 1)
    coloured = cv2.applyColorMap((uncertainty * 255).round().astype(np.uint8), cv2.COLORMAP_CIVIDIS)
    return np.ascontiguousarray(coloured[..., ::-1]).astype(np.uint8)


def confidence_key() -> str:
    """What the colours of a confidence picture mean."""
    ramp = confidence_picture(np.linspace(0, 1, STEPS)[None, :])[0]
    stops = ",".join(colour(rgb) for rgb in ramp)
    return (
        '<p class="key"><span class="ramp">confidence 0 %<i style="background:linear-gradient(90deg,'
        f'{stops})"></i>100 %;</span> errors in red, ignored pixels hatched</p>'
    )
