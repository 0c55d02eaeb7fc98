"""Text on pictures: fonts that come with the dependencies, the same on every machine."""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

INK = (33, 37, 41)
FAINT = (116, 123, 130)
PAPER = (255, 255, 255)
Font = ImageFont.FreeTypeFont
BASIC = ImageFont.Layout.BASIC
"""Pillow's own layout of letters; the other is not there on every machine and places them differently."""


@cache
def _bundled(size: int) -> Font:
    """Aileron, which is inside Pillow, as far as ASCII goes."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
    return font.font_variant(layout_engine=BASIC)


@cache
def _wide_coverage(size: int) -> Font:
    """DejaVu Sans, which is inside matplotlib and covers most alphabets; found without importing matplotlib."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None, "matplotlib is a dependency"
    folder = Path(found.origin or "").parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / "DejaVuSans.ttf"), size, layout_engine=BASIC)


def font_for(text: str, size: int) -> Font:
    """A font of this size in pixels that has the letters of `text`."""
    return _bundled(size) if text.isascii() else _wide_coverage(size)


def printable(text: str) -> str:
    """The text with blanks for line breaks and other signs that have no picture."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def text_width(text: str, size: int) -> int:
    """Pixels that a line takes."""
    text = printable(text)
    return math.ceil(font_for(text, size).getlength(text))


def line_height(size: int) -> int:
    """Pixels from one line to the next."""
    return round(size * 1.45)


def draw_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    *,
    colour: tuple[int, int, int] = INK,
    anchor: str = "lm",
) -> None:
    """One line; `at` is its left middle ("lm"), right middle ("rm") or centre ("mm")."""
    text = printable(text)
    draw.text(at, text, font=font_for(text, size), fill=colour, anchor=anchor)


def shortened(text: str, size: int, room: int) -> str:
    """The text, cut in its middle ("lef...ght") if it would be wider than `room` pixels."""
    if text_width(text, size) <= room:
        return text
    keep = len(text)
    while keep > 2:
        keep -= 1
        cut = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
        if text_width(cut, size) <= room:
            return cut
    return "..."
