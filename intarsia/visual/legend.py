"""Legends: a swatch, a name and a note for each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from intarsia.visual.overlay import Picture, hatching
from intarsia.visual.text import FAINT, PAPER, draw_text, line_height, shortened, text_width

LONGEST = 16
"""Names are cut beyond this many times the font's size."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One class of a legend. note: what is said about it, such as its share. hatched: as pixels without a class are."""

    name: str
    colour: tuple[int, int, int]
    note: str = ""
    hatched: bool = False


def share_text(share: float) -> str:
    """A share of 1 as text: 41.3%, <0.1%."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def font_size(height: int, width: int) -> int:
    """The size of text that suits a picture."""
    return max(13, min(64, round(math.sqrt(height * width) / 30)))


def with_legend(picture: Picture, entries: Sequence[Entry]) -> Picture:
    """The picture with the entries in columns at its right, (H', W', 3); H' exceeds H only if one line does not fit."""
    height, width = picture.shape[:2]
    size = font_size(height, width)
    line, gap = line_height(size), size
    rows = max(1, (height - gap) // line)
    columns = max(1, -(-len(entries) // rows))
    rows = -(-len(entries) // columns)
    blocks = [entries[start : start + rows] for start in range(0, len(entries), rows)]
    widths = [_block_width(block, size) for block in blocks]
    canvas = Image.new("RGB", (width + sum(widths) + gap * (len(blocks) + 1), max(height, rows * line)), PAPER)
    canvas.paste(Image.fromarray(picture), (0, 0))
    x = width + gap
    for block, block_width in zip(blocks, widths, strict=True):
        for row, entry in enumerate(block):
            _draw_entry(canvas, entry, x, gap // 2 + row * line + line // 2, size, block_width)
        x += block_width + gap
    return np.array(canvas)


def legend_beneath(entries: Sequence[Entry], width: int, size: int) -> Picture:
    """The entries in rows across `width` pixels, columns aligned, (H, width, 3)."""
    line, gap = line_height(size), round(1.4 * size)
    cell = max((_block_width([entry], size) for entry in entries), default=0) + gap
    columns = max(1, min(len(entries), (width + gap) // cell))
    rows = -(-len(entries) // columns)
    columns = -(-len(entries) // max(1, rows))
    canvas = Image.new("RGB", (width, max(1, rows * line)), PAPER)
    for index, entry in enumerate(entries):
        row, column = divmod(index, columns)
        _draw_entry(canvas, entry, column * cell, row * line + line // 2, size, cell - gap)
    return np.array(canvas)


def _swatch(size: int) -> int:
    return round(size * 0.95)


def _block_width(entries: Sequence[Entry], size: int) -> int:
    names = max(text_width(shortened(entry.name, size, LONGEST * size), size) for entry in entries)
    notes = max(text_width(entry.note, size) for entry in entries)
    return _swatch(size) + size // 2 + names + (notes + size if notes else 0)


def _draw_entry(canvas: Image.Image, entry: Entry, x: int, middle: int, size: int, width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    side = _swatch(size)
    top = middle - side // 2
    outline = tuple(round(value * 0.6) for value in entry.colour)
    if entry.hatched:
        canvas.paste(Image.fromarray(hatching(side, side)), (x, top))
    fill = None if entry.hatched else entry.colour
    draw.rectangle((x, top, x + side - 1, top + side - 1), fill=fill, outline=outline)
    name = shortened(entry.name, size, LONGEST * size)
    draw_text(draw, (x + side + size // 2, middle), name, size)
    if entry.note:
        draw_text(draw, (x + width, middle), entry.note, size, colour=FAINT, anchor="rm")
