"""What annotation tools store of an image: areas with a name, in the order in which they are laid over each other.

Coordinates are (x, y) in pixels; (0, 0) is the outer corner of the top left pixel, whose centre is (0.5, 0.5). Tools
that count pixels instead (Supervisely) are drawn by their reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.headers import MAX_PIXELS

Ring = npt.NDArray[np.float64]
"""Corners (n, 2) of a closed outline."""

MOST_POINTS = 1_000_000
"""Corners of one shape at most."""
FARTHEST = 1e7
"""Pixels from the corner of the image; what lies outside of the image is cut off, what lies farther is a mistake."""

SizeOf = Callable[[], Size]
"""Gives the size (height, width) of the image itself, for tools that do not store it."""


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Polygons, each of one ring and perhaps rings of holes; pixels in an odd number of rings belong to it."""

    polygons: tuple[tuple[Ring, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """Pixels one by one. mask: (h, w), laid at row `top` and column `left`, which may lie outside of the image."""

    mask: npt.NDArray[np.bool_]
    top: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """An area. name: of its class, as the tool has it. where: what to call the shape in messages.

    ignored: nobody said what its pixels are (a crowd), so that they count for nothing.
    """

    name: str
    area: Outline | Bitmap
    where: str
    ignored: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """The annotations of one image. size: as the tool has it, None where it does not say.

    shapes: the later lie over the earlier. passed_over: what has no area (points, lines, mere boxes), in words.
    """

    size: Size | None
    shapes: tuple[Shape, ...]
    passed_over: tuple[str, ...] = ()


def ring_of(values: Any, where: str) -> Ring:
    """A ring from [[x, y], ...] or [x, y, x, y, ...].

    Raises ValueError, naming the shape, for what is no list of pairs of numbers, or lies nowhere near an image.
    """
    try:
        points = np.asarray(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{where}: expected the corners of a polygon, found {_short(values)}") from None
    if points.ndim == 1 and len(points) % 2 == 0:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{where}: expected pairs of x and y, found {_short(values)}")
    if len(points) > MOST_POINTS:
        raise ValueError(f"{where}: {len(points):,} corners; at most {MOST_POINTS:,} are drawn")
    return checked(points, where)


def checked(points: Ring, where: str) -> Ring:
    """The corners themselves. Raises ValueError, naming the shape, for nan and for what lies nowhere near an image."""
    wrong = ~(np.abs(points) <= FARTHEST).all(axis=1)
    if wrong.any():
        x, y = points[int(np.argmax(wrong))].tolist()
        raise ValueError(f"{where}: its corner ({x:g}, {y:g}) is no place in an image; correct or remove the shape")
    return points


def box(left: float, top: float, right: float, bottom: float, where: str, degrees: float = 0.0) -> Ring:
    """The four corners of a rectangle, turned around its centre (clockwise as seen on the image)."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    return checked(turned(corners, np.array([(left + right) / 2, (top + bottom) / 2]), degrees), where)


def ellipse(x: float, y: float, across: float, down: float, where: str, degrees: float = 0.0) -> Ring:
    """An ellipse by its centre and radii as a polygon that lies less than a hundredth of a pixel from it."""
    largest = min(max(abs(across), abs(down), 1.0), FARTHEST) if np.isfinite(across + down) else 1.0
    count = int(np.clip(np.ceil(np.pi / np.arccos(1 - min(0.01 / largest, 0.5))), 16, 100_000))
    angle = np.arange(count) * (2 * np.pi / count)
    points = np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], axis=1)
    return checked(turned(points, np.array([x, y], np.float64), degrees), where)


def turned(points: Ring, centre: npt.NDArray[np.float64], degrees: float) -> Ring:
    """Points turned around a centre, clockwise as seen on the image."""
    if not degrees:
        return points
    angle = np.deg2rad(degrees)
    x, y = (points - centre).T
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=1) + centre


def number(value: Any, what: str) -> float:
    """A finite number, also one that is written as text. Raises ValueError saying what it should be."""
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = float("nan")
    if isinstance(value, bool) or not np.isfinite(result):
        raise ValueError(f"{what}: expected a number, found {_short(value)}")
    return result


def stated_size(height: Any, width: Any, what: str) -> Size:
    """A size that a tool has stored. Raises ValueError if it is none, or larger than any image that is read."""
    size = number(height, f"{what}, its height"), number(width, f"{what}, its width")
    if not all(side >= 1 and side == int(side) for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{what}: {_short(width)} x {_short(height)} (width x height) is no size of an image")
    return int(size[0]), int(size[1])


def _short(value: Any) -> str:
    is_long = isinstance(value, Sequence) and len(value) > 20
    text = f"{type(value).__name__} of {len(value)}" if is_long else repr(value)
    return text if len(text) < 80 else text[:77] + "..."
