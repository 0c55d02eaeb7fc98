"""A canvas on which picture and truth are painted together, at four times the final size.

Every stroke sets colour and class at the same pixels. `develop` then shrinks both: the picture by averaging, which
smooths its edges, the truth by counting, so that each pixel gets the class that covers it, or none where no class
covers enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[float, float, float]
"""RGB, each 0-255."""
Point = tuple[float, float]
"""x to the right, y downwards, in pixels of the canvas."""
Mask = npt.NDArray[np.bool_]

FACTOR = 4
"""Canvas pixels along one side of a final pixel."""

VOID_BELOW = 0.8
"""A pixel is ignored when no class covers at least this share of it, or a neighbour is of another class."""


class Canvas:
    """Picture (H, W, 3) uint8 and truth (H, W) uint8 in canvas pixels, and the strokes that fill them."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height * FACTOR, width * FACTOR
        self.picture = np.zeros((self.height, self.width, 3), np.uint8)
        self.truth = np.zeros((self.height, self.width), np.uint8)

    def polygon(self, points: Sequence[Point], colour: Colour, label: int | None = None) -> None:
        """Fill a polygon. Without a label it is a marking on whatever is there."""
        corners = np.round(np.asarray(points, float)).astype(np.int32)
        cv2.fillPoly(self.picture, [corners], colour)
        if label is not None:
            cv2.fillPoly(self.truth, [corners], label)

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: Colour, label: int | None = None
    ) -> None:
        """Fill an upright rectangle."""
        self.polygon(((left, top), (right, top), (right, bottom), (left, bottom)), colour, label)

    def ellipse(
        self, centre: Point, radii: tuple[float, float], colour: Colour, label: int | None = None, angle: float = 0.0
    ) -> None:
        """Fill an ellipse, turned clockwise by `angle` degrees."""
        middle = (round(centre[0]), round(centre[1]))
        axes = (max(round(radii[0]), 1), max(round(radii[1]), 1))
        cv2.ellipse(self.picture, middle, axes, angle, 0, 360, colour, -1)
        if label is not None:
            cv2.ellipse(self.truth, middle, axes, angle, 0, 360, label, -1)

    def line(self, points: Sequence[Point], width: float, colour: Colour, label: int | None = None) -> None:
        """A broken line with round ends."""
        corners = [np.round(np.asarray(points, float)).astype(np.int32)]
        cv2.polylines(self.picture, corners, False, colour, max(round(width), 1))
        if label is not None:
            cv2.polylines(self.truth, corners, False, label, max(round(width), 1))

    def shadow(self, centre: Point, radii: tuple[float, float], strength: float) -> None:
        """Darken softly around a point of the ground; the truth stays."""
        x0, x1 = _span(centre[0], 1.5 * radii[0], self.width)
        y0, y1 = _span(centre[1], 1.5 * radii[1], self.height)
        if x0 >= x1 or y0 >= y1:
            return
        y, x = np.ogrid[y0:y1, x0:x1]
        distance = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
        light = 1 - strength * np.clip(1.5 - distance, 0, 1)
        part = self.picture[y0:y1, x0:x1]
        part[:] = (part * light[..., None]).astype(np.uint8)

    def paste(self, texture: npt.NDArray[np.uint8], shape: Mask, corners: Sequence[Point], label: int) -> None:
        """Paint a texture (h, w, 3) where `shape` (h, w) says so into a quadrilateral, clockwise from its top left."""
        h, w = texture.shape[:2]
        target = np.asarray(corners, np.float32)
        matrix = cv2.getPerspectiveTransform(np.asarray([(0, 0), (w, 0), (w, h), (0, h)], np.float32), target)
        x0, x1 = _span_of(target[:, 0], self.width)
        y0, y1 = _span_of(target[:, 1], self.height)
        if x0 >= x1 or y0 >= y1:
            return
        shift = np.asarray([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]], np.float64)
        size = (x1 - x0, y1 - y0)
        warped = cv2.warpPerspective(texture, shift @ matrix, size, flags=cv2.INTER_LINEAR)
        inside = cv2.warpPerspective(shape.astype(np.uint8), shift @ matrix, size, flags=cv2.INTER_NEAREST) > 0
        self.picture[y0:y1, x0:x1][inside] = warped[inside]
        self.truth[y0:y1, x0:x1][inside] = label

    def develop(self, num_classes: int, ignore_index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Picture (h, w, 3) and truth (h, w) at the final size; `ignore_index` along outlines."""
        size = (self.width // FACTOR, self.height // FACTOR)
        picture = cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA)
        cover = np.stack(
            [
                cv2.resize((self.truth == label).astype(np.float32), size, interpolation=cv2.INTER_AREA)
                for label in range(num_classes)
            ]
        )
        truth = cover.argmax(axis=0).astype(np.uint8)
        around = np.ones((3, 3), np.uint8)
        border = cv2.dilate(truth, around) != cv2.erode(truth, around)  # some neighbour belongs to another class
        truth[border | (cover.max(axis=0) < VOID_BELOW)] = ignore_index
        return np.asarray(picture, np.uint8), truth


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> npt.NDArray[np.float32]:
    """Smooth noise (height, width) around 0 with unit spread; `cell` is the size of its blobs in pixels."""
    coarse = rng.standard_normal((max(round(height / cell), 2), max(round(width / cell), 2))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` of `second` in it."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def _span(middle: float, reach: float, limit: int) -> tuple[int, int]:
    return max(int(middle - reach), 0), min(int(middle + reach) + 1, limit)


def _span_of(values: npt.NDArray[np.float32], limit: int) -> tuple[int, int]:
    return max(int(values.min()), 0), min(int(values.max()) + 2, limit)
