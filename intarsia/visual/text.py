"""Text on pictures, in any script that a font is found for."""

from __future__ import annotations

import math

from PIL import ImageDraw

from intarsia.visual.fonts import pieces

INK = (33, 37, 41)
FAINT = (116, 123, 130)
PAPER = (255, 255, 255)


def printable(text: str) -> str:
    """The text with blanks for line breaks and other signs that have no picture."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def text_width(text: str, size: int) -> int:
    """Pixels that a line takes."""
    return math.ceil(sum(font.getlength(part) for part, font in pieces(printable(text), size)))


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
    parts = pieces(printable(text), size)
    if len(parts) == 1:
        ((part, font),) = parts
        draw.text(at, part, font=font, fill=colour, anchor=anchor)
        return
    widths = [font.getlength(part) for part, font in parts]
    x = at[0] - {"l": 0.0, "m": sum(widths) / 2, "r": sum(widths)}[anchor[0]]
    ascent, descent = parts[0][1].getmetrics()
    baseline = at[1] + (ascent - descent) / 2  # where the middle of the first font puts it
    for (part, font), width in zip(parts, widths, strict=True):
        draw.text((x, baseline), part, font=font, fill=colour, anchor="ls")
        x += width


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
