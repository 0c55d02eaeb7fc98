"""Image, truth, prediction and errors side by side, with titles, a score and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from intarsia.contracts import IGNORE_INDEX
from intarsia.visual.legend import Entry, legend_beneath
from intarsia.visual.overlay import Label, Picture, blend, enlarged, hatching, void_mask
from intarsia.visual.text import FAINT, INK, PAPER, draw_text, line_height, shortened, text_width

WRONG = (228, 30, 38)
"""The colour of wrong pixels, but where a class that is shown has nearly the same."""

_WRONG_INSTEAD = ((255, 0, 220), (255, 210, 0), (0, 200, 255))
_APART = 90
"""How far the colour lies from those of the classes, as the sum of the differences in red, green and blue."""

IGNORED = (130, 130, 130)
"""The colour that stands for ignored pixels in a legend; in pictures they are hatched in two greys around it."""

WIDEST = 640
"""Panes of larger images are reduced to this width."""


def errors(
    image: Picture,
    truth: Label,
    prediction: Label,
    num_classes: int,
    *,
    ignore_index: int = IGNORE_INDEX,
    colour: tuple[int, int, int] = WRONG,
) -> Picture:
    """Where the prediction is right, the image grey and dimmed; where wrong, of a colour; ignored pixels hatched."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    picture = np.repeat((grey * 0.5 + 70)[:, :, None], 3, axis=2)
    void = void_mask(truth, num_classes, ignore_index=ignore_index)
    wrong = (truth != prediction) & ~void
    picture[wrong] = 0.25 * picture[wrong] + 0.75 * np.array(colour)
    picture[void] = hatching(*truth.shape)[void]
    return picture.astype(np.uint8)


def panes(
    image: Picture,
    truth: Label | None,
    prediction: Label,
    *,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    title: str = "",
    score: str | None = None,
    opacity: float = 0.6,
    ignore_index: int = IGNORE_INDEX,
) -> Picture:
    """One picture of what a model did to one image, (H', W', 3) RGB.

    image: (H, W, 3) RGB. truth, prediction: (H, W) class indices; without truth there are two panes. title: above, at
    the left. score: above, at the right; by default the share of labelled pixels that are right. The legend lists the
    classes present in truth or prediction. Raises ValueError if the sizes differ.
    """
    for name, label in (("truth", truth), ("prediction", prediction)):
        if label is not None and label.shape != image.shape[:2]:
            raise ValueError(f"expected the {name} at the image's size {image.shape[:2]}, found {label.shape}")
    if score is None and truth is not None:
        score = _accuracy_text(truth, prediction, len(classes), ignore_index)
    present, has_void = _present(truth, prediction, len(classes), ignore_index)
    small_image, prediction = fitted(image, prediction)
    shown = [("Image", small_image)]
    predicted = blend(small_image, prediction, palette, opacity=opacity, ignore_index=ignore_index)
    entries = [Entry(classes[index], palette[index]) for index in present]
    if truth is not None:
        _, truth = fitted(image, truth)
        shown.append(("Truth", blend(small_image, truth, palette, opacity=opacity, ignore_index=ignore_index)))
        colour = _unlike([entry.colour for entry in entries])
        wrong = errors(small_image, truth, prediction, len(classes), ignore_index=ignore_index, colour=colour)
        shown += [("Prediction", predicted), ("Errors", wrong)]
        entries += [Entry("wrong", colour)] + ([Entry("ignored", IGNORED)] if has_void else [])
    else:
        shown.append(("Prediction", predicted))
    return composed(shown, entries, title, score or "")


def _unlike(shown: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """A colour for what is wrong that no class has."""

    def nearest(colour: tuple[int, int, int]) -> int:
        return min((sum(abs(a - b) for a, b in zip(colour, own, strict=True)) for own in shown), default=_APART)

    choices = (WRONG, *_WRONG_INSTEAD)
    return next((colour for colour in choices if nearest(colour) >= _APART), max(choices, key=nearest))


def _accuracy_text(truth: Label, prediction: Label, num_classes: int, ignore_index: int) -> str:
    valid = ~void_mask(truth, num_classes, ignore_index=ignore_index)
    if not valid.any():
        return "no labelled pixel"
    return f"{(truth == prediction)[valid].mean():.1%} of pixels correct"


def _present(truth: Label | None, prediction: Label, num_classes: int, ignore_index: int) -> tuple[list[int], bool]:
    values = set(np.unique(prediction).tolist()) | (set() if truth is None else set(np.unique(truth).tolist()))
    inside = sorted(value for value in values if 0 <= value < num_classes and value != ignore_index)
    return inside, len(inside) < len(values)


def fitted(image: Picture, label: Label) -> tuple[Picture, Label]:
    """Both at a width that suits a pane: small ones enlarged by a whole factor, large ones reduced."""
    height, width = label.shape
    if width <= WIDEST:
        larger, label = enlarged(image, label, width=WIDEST // 2)
        assert larger is not None
        return larger, label
    size = (WIDEST, max(1, round(height * WIDEST / width)))
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    rows = (np.arange(size[1]) * height) // size[1]
    columns = (np.arange(size[0]) * width) // size[0]
    return np.asarray(picture, np.uint8), label[rows[:, None], columns]


def composed(shown: Sequence[tuple[str, Picture]], entries: Sequence[Entry], title: str, score: str) -> Picture:
    """Panes (H, W, 3) of one size with their names, title and score above and a legend beneath."""
    height, width = shown[0][1].shape[:2]
    size = max(14, min(22, round(width / 26)))
    margin, gap, line = round(1.2 * size), round(0.7 * size), line_height(size)
    inner = len(shown) * width + (len(shown) - 1) * gap
    legend = legend_beneath(entries, inner, size)
    headed = line + gap // 2 if title or score else 0
    top = margin + headed + line
    canvas = Image.new("RGB", (inner + 2 * margin, top + height + gap + legend.shape[0] + margin), PAPER)
    draw = ImageDraw.Draw(canvas)
    if headed:
        large = round(1.15 * size)
        middle = margin + line // 2 - size // 4
        room = inner - (text_width(score, size) + 2 * size if score else 0)
        draw_text(draw, (margin, middle), shortened(title, large, room), large, colour=INK)
        draw_text(draw, (margin + inner, middle), score, size, colour=INK, anchor="rm")
    for index, (name, picture) in enumerate(shown):
        x = margin + index * (width + gap)
        draw_text(draw, (x, top - line // 2 - size // 8), name, size, colour=FAINT)
        canvas.paste(Image.fromarray(picture), (x, top))
    canvas.paste(Image.fromarray(legend), (margin, top + height + gap))
    return np.array(canvas)
