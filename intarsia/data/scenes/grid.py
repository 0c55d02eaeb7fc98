"""Blocks, cells and windows of a scene: arithmetic of rectangles, in pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from intarsia.contracts import Size
from intarsia.data.scenes.georeference import Area


def blocks(size: Size, side: int) -> Iterator[tuple[str, Area]]:
    """(name, area) of blocks of at least `side` pixels a side, or of the whole scene for 0; they tile it."""
    whole = Area(0, 0, *size)
    if not side:
        yield "0_0", whole
        return
    rows, columns = (max(1, length // side) for length in size)
    for row, (top, height) in enumerate(_parts(size[0], rows)):
        for column, (left, width) in enumerate(_parts(size[1], columns)):
            yield f"{row}_{column}", Area(top, left, height, width)


def cells(block: Area, most: int) -> Iterator[Area]:
    """Areas of at most `most` pixels a side, of nearly equal size, that tile a block row by row."""
    for top, height in _parts(block.height, -(-block.height // most)):
        for left, width in _parts(block.width, -(-block.width // most)):
            yield Area(block.top + top, block.left + left, height, width)


def _parts(length: int, count: int) -> list[tuple[int, int]]:
    """(start, length) of so many parts of a side, as equal as whole pixels can be."""
    ends = [length * number // count for number in range(count + 1)]
    return [(start, end - start) for start, end in itertools.pairwise(ends)]


def around(cell: Area, size: Size, window: int) -> Area:
    """The window that has the cell in its middle, moved into the scene where it would leave it.

    Of a scene that is smaller than a window, all.
    """
    top, height = _placed(cell.top + cell.height / 2, window, 0, size[0])
    left, width = _placed(cell.left + cell.width / 2, window, 0, size[1])
    return Area(top, left, height, width)


def drawn(cell: Area, block: Area, window: int, rng: np.random.Generator) -> Area:
    """A window whose centre is drawn in the cell, moved into the block where it would leave it."""
    row, column = rng.random(2)
    top, height = _placed(cell.top + row * cell.height, window, block.top, block.height)
    left, width = _placed(cell.left + column * cell.width, window, block.left, block.width)
    return Area(top, left, height, width)


def _placed(centre: float, window: int, start: int, length: int) -> tuple[int, int]:
    """(start, length) of a window's side around a centre, within (start, length)."""
    side = min(window, length)
    return int(np.clip(round(centre - side / 2), start, start + length - side)), side


def grown(area: Area, by: int) -> Area:
    """An area with so many pixels more on each side, also beyond the scene."""
    return Area(area.top - by, area.left - by, area.height + 2 * by, area.width + 2 * by)


def overlap(first: Area, second: Area) -> Area | None:
    """What two areas have in common; None for nothing."""
    top, left = max(first.top, second.top), max(first.left, second.left)
    bottom = min(first.top + first.height, second.top + second.height)
    right = min(first.left + first.width, second.left + second.width)
    return Area(top, left, bottom - top, right - left) if bottom > top and right > left else None


def within(area: Area, window: Area) -> tuple[slice, slice]:
    """The rows and columns of an area in the pixels of a window that holds it."""
    top, left = area.top - window.top, area.left - window.left
    return slice(top, top + area.height), slice(left, left + area.width)
