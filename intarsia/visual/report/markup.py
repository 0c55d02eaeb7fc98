"""Text, numbers and pictures as HTML. Whatever comes from outside goes through `text`."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from intarsia.visual.overlay import Picture

QUALITIES = (88, 78, 65, 50, 35)
"""Of JPEG, tried in this order until a picture is small enough."""

PICTURE_BYTES = 48 * 1024
"""Bytes of one picture at most, before they are written as text, which makes them a third more."""


def text(value: object) -> str:
    """Any text as HTML: nothing in it is markup, and signs that have no picture become a replacement sign."""
    return html.escape("".join(letter if letter.isprintable() else "\ufffd" for letter in str(value)))


def percent(value: float, digits: int = 1) -> str:
    """A fraction of 1 as a number of percent, a dash where there is none."""
    return f"{100 * value:.{digits}f}" if math.isfinite(value) else "\u2013"


def interval(low: float, high: float) -> str:
    """Two fractions of 1 as a range in percent."""
    return f"{percent(low)}\u2013{percent(high)}"


def number(value: float) -> str:
    """A count with its thousands apart."""
    return f"{int(value):,}".replace(",", "\u202f")


def colour(rgb: Sequence[int]) -> str:
    """A colour of three parts from 0 to 255 as CSS writes it."""
    red, green, blue = (int(part) for part in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


def swatch(rgb: Sequence[int]) -> str:
    """A little square of a colour."""
    return f'<i class="swatch" style="background:{colour(rgb)}"></i>'


def cell(shown: str, value: float | None = None, *, kind: str = "", style: str = "") -> str:
    """A cell of a table. value: what it is sorted by, if not by its text; nan comes last. shown: HTML."""
    key = "" if value is None else f' data-value="{value:.9g}"' if math.isfinite(value) else ' data-value=""'
    attributes = (f' class="{kind}"' if kind else "") + (f' style="{style}"' if style else "")
    return f"<td{key}{attributes}>{shown}</td>"


def bar(value: float, note: str = "") -> str:
    """A cell with a score in percent over a bar of that length."""
    style = f"--share:{100 * value:.2f}%" if math.isfinite(value) else ""
    return cell(percent(value) + note, value, kind="bar" if style else "", style=style)


def table(columns: Sequence[str], rows: Iterable[str], *, kind: str = "sortable", left: int = 1) -> str:
    """A table in a box that scrolls. columns: HTML; rows: of `cell`s, without their tr. left: columns of words."""
    head = "".join(f'<th scope="col"{_words(number < left)}>{column}</th>' for number, column in enumerate(columns))
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _words(is_text: bool) -> str:
    return ' class="words"' if is_text else ""


def level(share: float) -> str:
    """A thin bar, as long as a fraction of 1."""
    return f'<i class="level" style="--share:{100 * min(max(share, 0.0), 1.0):.2f}%"></i>'


def section(identity: str, title: str, *parts: str) -> str:
    """A part of the page with a heading. title: plain text; parts: HTML."""
    return f'<section id="{identity}"><h2>{text(title)}</h2>\n' + "\n".join(filter(None, parts)) + "\n</section>"


def picture(image: Picture, description: str) -> str:
    """An image (H, W, 3) RGB inside the page, as JPEG of `PICTURE_BYTES` at most."""
    encoded = base64.b64encode(jpeg(image)).decode("ascii")
    height, width = image.shape[:2]
    source = f"data:image/jpeg;base64,{encoded}"
    return f'<img src="{source}" alt="{text(description)}" width="{width}" height="{height}" loading="lazy">'


def jpeg(image: Picture, most: int = PICTURE_BYTES) -> bytes:
    """An image as JPEG: as good as `most` bytes allow, in the end at half the size."""
    reversed_bands = np.ascontiguousarray(image[:, :, ::-1])
    for quality in QUALITIES:
        data = cv2.imencode(".jpg", reversed_bands, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= most:
            return data
    height, width = image.shape[:2]
    if min(height, width) < 2:
        return data
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return jpeg(np.asarray(half, np.uint8), most)
