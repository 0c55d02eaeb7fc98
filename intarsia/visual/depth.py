"""Depths in colours: image, truth and prediction side by side."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.visual.legend import Entry
from intarsia.visual.overlay import Picture, hatching
from intarsia.visual.panes import IGNORED, composed, fitted

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

    Where it is 0, that is not known, it is hatched.
    """
    shares = (farthest - depth) / max(farthest - nearest, 1e-12)
    steps = (np.clip(shares, 0, 1) * 255).astype(np.uint8)
    picture = np.ascontiguousarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[:, :, ::-1])
    unknown = depth <= 0
    picture[unknown] = hatching(*depth.shape)[unknown]
    return np.asarray(picture, np.uint8)


def _rmse(truth: Depth, prediction: Depth) -> float:
    known = truth > 0
    return float(np.sqrt(np.mean((truth - prediction)[known] ** 2))) if known.any() else 0.0
