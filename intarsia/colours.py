"""Colours for classes that come without: as far apart as the eye allows, the same on every machine."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]

FIRST = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (120, 94, 60),
    (117, 112, 179),
    (153, 204, 51),
)  # fmt: skip
"""The first seven: Okabe and Ito, "Color Universal Design" (2008), made for all common colour deficiencies."""

MOST = 2048
"""Classes that can be told apart at all."""


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """`count` colours, all different; a longer palette begins with the shorter one.

    The first ten are for colour-blind readers too. The others are chosen greedily, each as far as possible from all
    before it and from black and white, by distance in CIE Lab. Raises ValueError for more than `MOST`.
    """
    if not 0 <= count <= MOST:
        raise ValueError(f"expected a number of classes from 0 to {MOST}, found {count}; give the palette yourself")
    if count <= len(FIRST):
        return FIRST[:count]
    return _farthest(1 << (count - 1).bit_length())[:count]


@cache
def _farthest(count: int) -> tuple[Colour, ...]:
    steps = np.arange(0, 256, 15, dtype=np.int64)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(grid)
    neither_dark_nor_pale = (lab[:, 0] > 25) & (lab[:, 0] < 93)
    grid, lab = grid[neither_dark_nor_pale], lab[neither_dark_nor_pale]
    chosen: list[Colour] = list(FIRST)
    apart = np.full(len(grid), np.inf)
    for seen in _lab(np.array([*FIRST, (0, 0, 0), (255, 255, 255)])):
        apart = np.minimum(apart, ((lab - seen) ** 2).sum(axis=1))
    while len(chosen) < count:
        best = int(apart.argmax())
        red, green, blue = grid[best].tolist()
        chosen.append((red, green, blue))
        apart = np.minimum(apart, ((lab - lab[best]) ** 2).sum(axis=1))
    return tuple(chosen)


def _lab(rgb: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """CIE Lab (D65) of sRGB values in 0..255, (n, 3)."""
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    ratio = xyz / np.array([0.9505, 1.0, 1.089])
    curve = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = curve.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
