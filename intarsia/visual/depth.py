"""Depths in colours: with a scale of what each colour stands for, or image, truth and prediction side by side."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from intarsia.visual.legend import Entry, font_size
from intarsia.visual.overlay import Picture, enlarged, hatching
from intarsia.visual.panes import IGNORED, composed, fitted
from intarsia.visual.text import FAINT, INK, PAPER, draw_text, line_height, text_width

Depth = npt.NDArray[Any]


def depth_panes(image: Picture, truth: Depth | None, prediction: Depth, *, title: str = "") -> Picture:
    """One picture of the depths that a model found in one image, (H', W', 3) RGB.

    image: (H, W, 3) RGB. truth, prediction: (H, W) depths in one unit; in the truth, 0 is not known. Both have the same
    colours, which go from the nearest to the farthest known depth. Raises ValueError if the sizes differ.
    """
    for name, depth in (("truth", truth), ("prediction", prediction)):
        if depth is not None and depth.shape != image.shape[:2]:
            raise ValueError(f"expected the {name} at the image's size {image.shape[:2]}, found {depth.shape}")
    known = prediction if truth is None or not (truth > 0).any() else truth[truth > 0]
    nearest, farthest = float(known.min()), float(known.max())
    small = fitted(image, np.zeros(prediction.shape, np.uint8))[0]
    shown = [("Image", small)]
    for name, depth in (("Truth", truth), ("Prediction", prediction)):
        if depth is not None:
            picture = coloured_depth(depth, nearest, farthest)
            resized = cv2.resize(picture, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
            shown.append((name, np.asarray(resized, np.uint8)))
    ends = coloured_depth(np.array([[nearest, farthest]]), nearest, farthest)[0].tolist()
    near, far = ((int(r), int(g), int(b)) for r, g, b in ends)
    entries = [Entry(f"{nearest:.3g}", near), Entry(f"{farthest:.3g}", far), Entry("not known", IGNORED)]
    score = "" if truth is None else f"rmse {_rmse(truth, prediction):.3g}"
    return composed(shown, entries, title, score)


def coloured_depth(depth: Depth, nearest: float, farthest: float) -> Picture:
    """Depths (H, W) as colours (H, W, 3) RGB, from bright yellow at `nearest` to black at `farthest`.

    Where it is 0, that is not known, or no number, it is hatched. The colours are perceptually uniform ("inferno").
    """
    shares = (farthest - depth) / max(farthest - nearest, 1e-12)
    steps = (np.clip(np.nan_to_num(shares), 0, 1) * 255).astype(np.uint8)
    picture = np.ascontiguousarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[:, :, ::-1])
    unknown = ~(depth > 0)
    picture[unknown] = hatching(*depth.shape)[unknown]
    return np.asarray(picture, np.uint8)


def with_scale(depth: Depth, nearest: float, farthest: float) -> Picture:
    """Depths (H, W) in colours, and at the right a bar with the depth that each colour stands for, (H', W', 3) RGB.

    Small images are enlarged, so that the numbers are legible.
    """
    shown = coloured_depth(enlarged(None, depth)[1], nearest, farthest)
    height, width = shown.shape[:2]
    size = font_size(height, width)
    gap, line = size, line_height(size)
    bar = _bar(nearest, farthest, max(height - 2 * gap, 4 * line), size)
    canvas = Image.new("RGB", (width + gap + bar.shape[1], max(height, bar.shape[0] + gap)), PAPER)
    canvas.paste(Image.fromarray(shown), (0, 0))
    canvas.paste(Image.fromarray(bar), (width + gap, (canvas.height - bar.shape[0]) // 2))
    return np.array(canvas)


def _bar(nearest: float, farthest: float, length: int, size: int) -> Picture:
    """A bar of so many pixels from the nearest (above) to the farthest, with ticks and their depths at its right."""
    line, wide = line_height(size), round(1.2 * size)
    rows = np.linspace(nearest, farthest, length)[:, None].repeat(wide, axis=1)
    colours = np.full((length, wide, 3), 255, np.uint8)
    if farthest > 0:  # nan where there is no depth at all
        colours = coloured_depth(rows, nearest, farthest)
    depths = dict(_ticks(nearest, farthest, length, line))
    tick = max(3, size // 3)
    room = wide + tick + size // 3 + max((text_width(text, size) for text in depths.values()), default=0) + size
    canvas = Image.new("RGB", (room, length + line), PAPER)
    canvas.paste(Image.fromarray(colours), (0, line // 2))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, line // 2, wide - 1, line // 2 + length - 1), outline=FAINT)
    for position, text in depths.items():
        y = line // 2 + position
        draw.line((wide, y, wide + tick, y), fill=INK)
        draw_text(draw, (wide + tick + size // 3, y), text, size)
    return np.array(canvas)


def _ticks(nearest: float, farthest: float, length: int, line: int) -> list[tuple[int, str]]:
    """Pixels from the bar's upper end, and the depth there: at both ends, and at round numbers that have room."""
    if not farthest > nearest:
        return [(length // 2, f"{nearest:.3g}")] if math.isfinite(nearest) else []
    span = farthest - nearest
    most = max(2, length // (2 * line))
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most)
    digits = max(0, -math.floor(math.log10(step)))
    found = [(0, f"{nearest:.{digits + 1}f}"), (length - 1, f"{farthest:.{digits + 1}f}")]
    for number in range(math.ceil(nearest / step), math.floor(farthest / step) + 1):
        position = round((number * step - nearest) / span * (length - 1))
        if line <= position <= length - 1 - line:
            found.append((position, f"{number * step:.{digits}f}"))
    return found


def _rmse(truth: Depth, prediction: Depth) -> float:
    known = truth > 0
    return float(np.sqrt(np.mean((truth - prediction)[known] ** 2))) if known.any() else 0.0
