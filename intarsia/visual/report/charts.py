"""Charts as SVG inside the page: drawn with the page's own colours, so that they follow it into the dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.visual.report.content import Bins
from intarsia.visual.report.markup import colour, number, percent, text

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 44
"""Margins of the plot in its picture, where axes are labelled."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A class in a scatter plot; x and y in fractions of 1."""

    x: float
    y: float
    name: str
    rgb: tuple[int, int, int]


def histogram(values: Sequence[float], *, bins: int = 20, unit: str = "images") -> str:
    """How many values (fractions of 1) are in each bin, with the median and the mean marked."""
    finite = np.array([value for value in values if math.isfinite(value)])
    counts, edges = np.histogram(finite.clip(0, 1), bins=bins, range=(0, 1))
    most = max(1, int(counts.max()))
    top = _nice(most)
    drawn = [_grid([(y / top, number(y)) for y in _ticks(top)]), _axis_below("mIoU of an image, %", unit)]
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            said = f"{percent(low, 0)} to {percent(high, 0)} %: {number(count)} {text(unit)}"
            drawn.append(_bar(low, high, 0, count / top, "bar-of", said))
    if len(finite):
        marks = {"median": float(np.median(finite)), "mean": float(finite.mean())}
        for kind, value in marks.items():
            x = _x(value)
            drawn.append(f'<line class="mark {kind}" x1="{x}" x2="{x}" y1="{_y(0)}" y2="{_y(1)}"/>')
            drawn.append(_beside_lines(marks.values(), f"{kind} {percent(value)} %", kind))
    return _svg(drawn, "Histogram of the mIoU of single images")


def reliability(bins: Bins) -> str:
    """Share of right pixels over confidence, the diagonal that it should lie on, and where the pixels are."""
    drawn = [_grid([(y / 5, percent(y / 5, 0)) for y in range(6)]), _axis_below("confidence, %", "right pixels, %")]
    edges = np.linspace(0, 1, len(bins.pixels) + 1)
    total = max(1, int(bins.pixels.sum()))
    for low, high, pixels, right, sure in zip(
        edges[:-1], edges[1:], bins.pixels, bins.accuracy, bins.confidence, strict=True
    ):
        if pixels:
            said = (
                f"confidence {percent(sure)} %, right {percent(right)} %; "
                f"{percent(pixels / total, 2)} % of the pixels ({number(pixels)})"
            )
            drawn.append(_bar(low, high, 0, float(right), "bar-of", said))
            bottom, top = sorted((float(right), float(sure)))
            drawn.append(_bar(low, high, bottom, top, "gap", said))
    drawn.append(f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    return _svg(drawn, "Reliability diagram")


def pixel_shares(bins: Bins) -> str:
    """How many of the pixels have which confidence."""
    shares = bins.pixels / max(1, int(bins.pixels.sum()))
    drawn = [_grid([(y / 5, percent(y / 5, 0)) for y in range(6)]), _axis_below("confidence, %", "share of pixels, %")]
    edges = np.linspace(0, 1, len(shares) + 1)
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        said = f"{percent(low, 0)} to {percent(high, 0)} %: {percent(float(share), 2)} % of the pixels"
        drawn.append(_bar(low, high, 0, float(share), "bar-of", said))
    return _svg(drawn, "Confidence of the pixels")


def scatter(dots: Iterable[Dot], *, x: str, y: str, curves: bool = False) -> str:
    """Classes by two scores. curves: lines of equal F-score; else the diagonal."""
    drawn = [_grid([(value / 5, percent(value / 5, 0)) for value in range(6)]), _axis_below(f"{x}, %", f"{y}, %")]
    if curves:
        for score in (0.2, 0.4, 0.6, 0.8):
            half = score / 2  # recall = half * p / (p - half), from where it is 1
            points = [(half + p, half * (half + p) / p) for p in np.geomspace(half**2 / (1 - half), 1 - half, 40)]
            path = " ".join(f"{_x(p)},{_y(r)}" for p, r in points)
            drawn.append(f'<polyline class="curve" points="{path}"/>')
            label_at = (_x(1) - 4, _y(points[-1][1]) - 4)
            drawn.append(f'<text class="faint end" x="{label_at[0]}" y="{label_at[1]}">F {percent(score, 0)}</text>')
    else:
        drawn.append(f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    for dot in dots:
        if math.isfinite(dot.x) and math.isfinite(dot.y):
            said = f"{text(dot.name)}: {text(x)} {percent(dot.x)} %, {text(y)} {percent(dot.y)} %"
            drawn.append(
                f'<circle class="dot" cx="{_x(dot.x)}" cy="{_y(dot.y)}" r="5.5" fill="{colour(dot.rgb)}">'
                f"<title>{said}</title></circle>"
            )
    return _svg(drawn, f"{y} over {x} by class")


# --- Parts of a chart ---------------------------------------------------------------------------------------------


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _svg(drawn: Iterable[str], title: str) -> str:
    inside = "\n".join(drawn)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}">'
        f"<title>{text(title)}</title>\n{inside}\n</svg>"
    )


def _grid(ticks: Iterable[tuple[float, str]]) -> str:
    """Faint horizontal lines with their numbers at the left. ticks: (height as a share, text)."""
    drawn = []
    for share, shown in ticks:
        y = _y(share)
        drawn.append(f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{y}" y2="{y}"/>')
        drawn.append(f'<text class="faint end" x="{_x(0) - 6}" y="{y + 4}">{shown}</text>')
    return "".join(drawn)


def _axis_below(x: str, y: str) -> str:
    """Percent from left to right, and what both axes are."""
    numbers = "".join(
        f'<text class="faint middle" x="{_x(value / 5)}" y="{_y(0) + 16}">{20 * value}</text>' for value in range(6)
    )
    middle = _y(0.5)
    return (
        f'<line class="axis" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(0)}" y2="{_y(0)}"/>{numbers}'
        f'<text class="middle" x="{_x(0.5)}" y="{HEIGHT - 8}">{text(x)}</text>'
        f'<text class="middle" x="12" y="{middle}" transform="rotate(-90 12 {middle})">{text(y)}</text>'
    )


def _bar(left: float, right: float, bottom: float, top: float, kind: str, said: str) -> str:
    x, y = _x(left) + 0.5, _y(top)
    width, height = max(0.5, round(_x(right) - x - 0.5, 1)), round(_y(bottom) - y, 1)
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"><title>{said}</title></rect>'


def _beside_lines(lines: Iterable[float], said: str, kind: str) -> str:
    """Words beside the upper ends of vertical lines; those of the mean stand below those of the median."""
    first, *_, last = sorted(lines)
    side, x = ("end", _x(first) - 6) if first > 0.5 else ("start", _x(last) + 6)
    below = 10 if kind == "median" else 26
    return f'<text class="{kind} {side}" x="{x}" y="{_y(1) + below}">{said}</text>'


def _nice(most: int) -> int:
    """The end of an axis for counts up to `most`: 1, 2, 5, 10, 20 ..."""
    step: int = 10 ** (len(str(most)) - 1)
    return next(step * factor for factor in (1, 2, 5, 10) if step * factor >= most)


def _ticks(top: int) -> list[int]:
    parts = 5 if top % 5 == 0 else top
    return [top * part // parts for part in range(parts + 1)]
