"""A contact sheet: many samples with their labels on one page, for looking through a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from intarsia.contracts import IGNORE_INDEX
from intarsia.visual.legend import Entry, legend_beneath, share_text
from intarsia.visual.overlay import Label, Picture, blend, void_mask
from intarsia.visual.panes import IGNORED
from intarsia.visual.text import FAINT, INK, PAPER, draw_text, line_height, shortened


@dataclass(frozen=True, slots=True)
class Tile:
    """One sample. image: (H, W, 3) uint8 RGB. label: (H, W) class indices or None. caption: its file name, say."""

    image: Picture
    label: Label | None
    caption: str = ""


def contact_sheet(
    tiles: Sequence[Tile],
    *,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    columns: int = 4,
    tile_width: int = 320,
    opacity: float = 0.5,
    ignore_index: int = IGNORE_INDEX,
    heading: Sequence[str] = (),
) -> Picture:
    """Tiles in rows, each an overlay with its caption, and a legend of the classes in them with their share, beneath.

    Images of other proportions are fitted into the tile. heading: lines of text above, cut to the width of the sheet.
    Raises ValueError for an empty list.
    """
    if not tiles:
        raise ValueError("expected at least one sample to show, found none")
    columns = max(1, min(columns, len(tiles)))
    shapes = sorted(tile.image.shape[0] / tile.image.shape[1] for tile in tiles)
    tile_height = round(tile_width * min(1.5, shapes[len(shapes) // 2]))
    size = max(13, tile_width // 24)
    margin, gap, line = round(1.4 * size), size, line_height(size)
    inner = columns * tile_width + (columns - 1) * gap
    rows = -(-len(tiles) // columns)
    legend = legend_beneath(_entries(tiles, classes, palette, ignore_index), inner, size)
    top = margin + (len(heading) * line + gap if heading else 0)
    bottom = top + rows * (tile_height + line + gap)
    canvas = Image.new("RGB", (inner + 2 * margin, bottom + legend.shape[0] + margin), PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, words in enumerate(heading):
        place = (margin, margin + index * line + line // 2)
        draw_text(draw, place, shortened(words, size, inner), size, colour=INK if index == 0 else FAINT)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        x, y = margin + column * (tile_width + gap), top + row * (tile_height + line + gap)
        picture = _tile(tile, palette, tile_height, tile_width, opacity, ignore_index)
        canvas.paste(Image.fromarray(picture), (x + (tile_width - picture.shape[1]) // 2, y))
        draw_text(draw, (x, y + tile_height + line // 2), shortened(tile.caption, size, tile_width), size, colour=FAINT)
    canvas.paste(Image.fromarray(legend), (margin, bottom))
    return np.array(canvas)


def _tile(
    tile: Tile, palette: Sequence[Sequence[int]], height: int, width: int, opacity: float, ignore_index: int
) -> Picture:
    """The overlay of a sample at the largest size that fits."""
    scale = min(height / tile.image.shape[0], width / tile.image.shape[1])
    size = (max(1, round(tile.image.shape[1] * scale)), max(1, round(tile.image.shape[0] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = np.asarray(cv2.resize(tile.image, size, interpolation=interpolation), np.uint8)
    if tile.label is None:
        return image
    rows = (np.arange(size[1]) * tile.label.shape[0]) // size[1]
    columns = (np.arange(size[0]) * tile.label.shape[1]) // size[0]
    return blend(image, tile.label[rows[:, None], columns], palette, opacity=opacity, ignore_index=ignore_index)


def _entries(
    tiles: Sequence[Tile], classes: Sequence[str], palette: Sequence[tuple[int, int, int]], ignore_index: int
) -> list[Entry]:
    counts = np.zeros(len(classes), np.int64)
    ignored = 0
    for label in (tile.label for tile in tiles if tile.label is not None):
        void = void_mask(label, len(classes), ignore_index=ignore_index)
        counts += np.bincount(label[~void], minlength=len(classes))
        ignored += int(void.sum())
    total = max(1, int(counts.sum()) + ignored)
    entries = [
        Entry(name, colour, share_text(count / total))
        for name, colour, count in zip(classes, palette, counts.tolist(), strict=True)
        if count
    ]
    return entries + ([Entry("ignored", IGNORED, share_text(ignored / total))] if ignored else [])
