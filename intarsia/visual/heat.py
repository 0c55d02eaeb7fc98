"""Heat over an image, and the maps of single channels as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.visual.contact_sheet import Tile, contact_sheet
from intarsia.visual.legend import Entry
from intarsia.visual.overlay import Label, Mask, Picture, blend, contours
from intarsia.visual.panes import composed, fitted

Heat = npt.NDArray[np.float32]

OUTLINE = (255, 255, 255)
"""The colour around the pixels that a map is of."""


def heat_colours(heat: Heat) -> Picture:
    """Numbers from 0 (black) over violet and orange to 1 (bright yellow), (H, W, 3) RGB."""
    steps = np.round(np.clip(np.nan_to_num(heat), 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[:, :, ::-1], np.uint8)


def heat_over(image: Picture, heat: Heat, region: Mask) -> Picture:
    """Heat (H, W), 0 to 1, over the image in greys, the more opaque the hotter; with an outline of a region (H, W)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[:, :, None].repeat(3, axis=2)
    opacity = 0.85 * np.sqrt(np.clip(heat, 0, 1))[:, :, None]
    picture = 0.75 * (1 - opacity) * grey + opacity * heat_colours(heat)
    picture[contours(region.astype(np.uint8))] = OUTLINE
    return np.round(picture).astype(np.uint8)


def heat_panes(
    image: Picture,
    label: Label,
    maps: Sequence[tuple[str, Heat, Mask]],
    *,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    title: str = "",
    note: str = "",
) -> Picture:
    """One picture: the image, its prediction, and a pane for each (title, heat (H, W), region (H, W)).

    The legend has the classes of the prediction and the colours of heat. title, note: above, at the left and the right.
    """
    small, small_label = fitted(image, label)
    shown = [("Image", small), ("Prediction", blend(small, small_label, palette))]
    height, width = small_label.shape
    for name, heat, region in maps:
        larger = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
        inside = cv2.resize(region.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        if (region.any() and not inside.any()) or region.sum() == 1:
            inside = _spot(region, (height, width))
        shown.append((name, heat_over(small, np.asarray(larger, np.float32), inside > 0)))
    entries = [Entry(classes[index], palette[index]) for index in np.unique(label).tolist() if index < len(classes)]
    for text, value in (("nothing", 0.0), ("half", 0.5), ("most", 1.0)):
        red, green, blue = heat_colours(np.full((1, 1), value, np.float32))[0, 0].tolist()
        entries.append(Entry(f"heat: {text}", (red, green, blue)))
    entries.append(Entry("outline: of these pixels", OUTLINE))
    return composed(shown, entries, title, note)


def _spot(region: Mask, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A disc where a region of one pixel is, so that its outline can be seen."""
    y, x = (int(axis[0]) for axis in np.nonzero(region))
    place = (int((x + 0.5) * size[1] / region.shape[1]), int((y + 0.5) * size[0] / region.shape[0]))
    spot = np.zeros(size, np.uint8)
    cv2.circle(spot, place, max(4, round(max(size) / 80)), 1, thickness=-1)
    return spot


def channel_sheet(
    image: Picture, maps: Sequence[tuple[str, npt.NDArray[Any]]], *, heading: Sequence[str] = ()
) -> Picture:
    """The image, then each map (h, w) with its caption, from its least value (black) to its largest (yellow).

    Maps are enlarged to the image without smoothing, so that their own pixels show.
    """
    small, _ = fitted(image, np.zeros(image.shape[:2], np.uint8))
    size = (small.shape[1], small.shape[0])
    tiles = [Tile(small, None, "image")]
    for caption, values in maps:
        low, high = float(values.min()), float(values.max())
        shares = np.asarray((values - low) / max(high - low, 1e-12), np.float32)
        picture = cv2.resize(heat_colours(shares), size, interpolation=cv2.INTER_NEAREST)
        tiles.append(Tile(np.asarray(picture, np.uint8), None, f"{caption}: {low:.3g} to {high:.3g}"))
    return contact_sheet(tiles, classes=(), palette=(), heading=heading)
