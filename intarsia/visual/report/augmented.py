"""A page of what training sees: images as they are, and as they come out of the training pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from intarsia.contracts import IGNORE_INDEX, PathLike
from intarsia.io.whole_files import write_text
from intarsia.visual.overlay import Label, Picture, blend, void_mask
from intarsia.visual.report.markup import picture, section, swatch, text
from intarsia.visual.report.page import document

LONGEST = 360
"""Pixels of a picture's longer side at most."""

OPACITY = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture. image: (H, W, 3) uint8 RGB. label: (H, W) class indices or None. caption: beneath it."""

    image: Picture
    label: Label | None
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class AugmentedContent:
    """What is on the page.

    steps: (name, arguments) of each transform, in order. images: name -> its views.
    """

    title: str
    subtitle: str
    steps: Sequence[tuple[str, str]]
    images: Mapping[str, Sequence[View]]
    classes: Sequence[str]
    palette: Sequence[tuple[int, int, int]]
    ignore_index: int = IGNORE_INDEX


def save_augmented_page(path: PathLike, content: AugmentedContent) -> None:
    """Write the page, one file that needs no other."""
    write_text(path, augmented_page(content))


def augmented_page(content: AugmentedContent) -> str:
    """The whole page as text."""
    steps = "".join(f"<li>{text(name)} <code>{text(arguments)}</code></li>" for name, arguments in content.steps)
    said = f'<ol class="steps">{steps}</ol>' if steps else "<p>Nothing: images come as they are.</p>"
    switch = '<p><label><input type="checkbox" id="labels" checked> show labels</label></p>'
    articles = "\n".join(_article(name, views, content) for name, views in content.images.items())
    return document(
        content.title,
        content.subtitle,
        {
            "steps": ("Transforms, in order", section("steps", "Transforms, in order", said)),
            "images": ("Images", section("images", "Images", switch, articles)),
        },
    )


def _article(name: str, views: Sequence[View], content: AugmentedContent) -> str:
    figures = "".join(_figure(name, view, content) for view in views)
    found = sorted({value for view in views for value in _present(view, content)})
    legend = "".join(f"<li>{swatch(content.palette[k])}{text(content.classes[k])}</li>" for k in found)
    return (
        f"<article><header><h3>{text(name)}</h3></header>\n"
        f'<div class="panes">{figures}</div><ul class="legend">{legend}</ul></article>'
    )


def _figure(name: str, view: View, content: AugmentedContent) -> str:
    image, label = fitted(view.image, view.label)
    shown = picture(image, f"{view.caption} of {name}")
    if label is not None:
        over = blend(image, label, content.palette, opacity=OPACITY, ignore_index=content.ignore_index)
        shown += picture(over, f"labels of {view.caption} of {name}")
    return f'<figure><div class="stack">{shown}</div><figcaption>{text(view.caption)}</figcaption></figure>'


def fitted(image: Picture, label: Label | None) -> tuple[Picture, Label | None]:
    """Both with their longer side at `LONGEST` pixels at most; labels keep values that they have."""
    height, width = image.shape[:2]
    factor = LONGEST / max(height, width)
    if factor >= 1:
        return image, label
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    smaller = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    if label is None:
        return smaller, None
    rows, columns = ((np.arange(new) * old) // new for new, old in zip(size, (height, width), strict=True))
    return smaller, label[rows[:, None], columns]


def _present(view: View, content: AugmentedContent) -> list[int]:
    if view.label is None:
        return []
    values = np.unique(view.label)
    found: list[int] = values[~void_mask(values, len(content.classes), ignore_index=content.ignore_index)].tolist()
    return found
