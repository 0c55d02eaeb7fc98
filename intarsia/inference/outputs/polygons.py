"""Label maps as polygons, which `geojson` writes, and as areas of classes (CSV).

Polygons follow the edges of pixels exactly: rasterised again they give the label map. Rasterio finds them, for plain
images too (`rasterio.features.shapes`, GDAL's polygonize): OpenCV's contours run through the centres of pixels, lose
lines one pixel wide, and do not give the map back. Regions are connected over the sides of pixels, not over corners.

Simplification is Douglas and Peucker's, by OpenCV, ring by ring, so that neighbours may overlap or leave slivers.

A label map here is an array (H, W) or a band of an open raster, which is read in pieces. Coordinates are (x, y) in
pixels, from the top left corner of the top left pixel, until `ground.Ground` places them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.data.gdal import raster_library
from intarsia.inference.outputs.ground import LONGEST_EDGE, Ground, Ring, signed_area, through
from intarsia.io.whole_files import write_text
from intarsia.label_sets import has

AT_ONCE = 16 * 2**20
"""Pixels of a label map that are looked at together."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A label map of any size. source: an array (H, W), or an open dataset of rasterio, whose first band it is.

    bit: of a label map of sets (`label_sets`), the class that is looked at: what is read is 1 where it is, and 0
    elsewhere and at `nothing`.
    """

    source: Any
    bit: int | None = None
    nothing: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.source.shape[0], self.source.shape[1]

    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """A part of it."""
        if isinstance(self.source, np.ndarray):
            part: npt.NDArray[Any] = self.source[top:bottom, left:right]
        else:
            window = raster_library("windows").Window(left, top, right - left, bottom - top)
            part = self.source.read(1, window=window)
        if self.bit is None:
            return part
        known = np.True_ if self.nothing is None else part != self.nothing
        return np.asarray(has(part, self.bit) * known, np.uint8)

    def planes(self, num_classes: int, *, nothing: int | None) -> list[Labels]:
        """Of a label map of sets, where each class is."""
        return [replace(self, bit=k, nothing=nothing) for k in range(num_classes)]

    def in_pixels(self, ring: Ring) -> Ring:
        """The corners of pixels (n, 2), given in the source's own coordinates."""
        return ring if isinstance(self.source, np.ndarray) else np.rint(through(~self.source.transform, ring))

    def rows(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """(n, W) from top to bottom, each with its first row."""
        height, width = self.size
        step = max(AT_ONCE // width // 512, 1) * 512
        for top in range(0, height, step):
            yield top, self.read(top, min(top + step, height), 0, width)

    def columns(self) -> Iterator[npt.NDArray[Any]]:
        """(H, n) from left to right."""
        height, width = self.size
        step = max(AT_ONCE // height // 512, 1) * 512
        for left in range(0, width, step):
            yield self.read(0, height, left, min(left + step, width))


# --- Polygons -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """A connected region of one class. rings: its outline, then its holes. pixels: how many lie in it."""

    value: int
    rings: tuple[Ring, ...]
    pixels: int


def polygons(labels: Labels, *, nothing: int | None, min_area: int = 0, simplify: float = 0.0) -> Iterator[Polygon]:
    """The connected regions of a label map, exactly, or simplified.

    nothing: a value of which there are none. min_area: pixels of those that are given; smaller ones leave gaps.
    simplify: how far, in pixels, outlines may lie from the true ones.
    """
    source = labels.source
    if not isinstance(source, np.ndarray):
        source = raster_library().band(source, 1)  # which is read row by row, and gives its own coordinates
    elif source.dtype not in (np.uint8, np.uint16, np.int16, np.int32):
        raise ValueError(f"label map: expected integers of 8 or 16 bits, found {source.dtype}")
    for geometry, value in raster_library("features").shapes(source, connectivity=4):
        if int(value) == nothing:
            continue
        rings = [labels.in_pixels(np.array(ring[:-1], np.float64)) for ring in geometry["coordinates"]]
        pixels = round(abs(signed_area(rings[0])) - sum(abs(signed_area(ring)) for ring in rings[1:]))
        if pixels < min_area:
            continue
        if simplify > 0:
            rings = _simplified(rings, simplify)
        yield Polygon(int(value), tuple(rings), pixels)


def _simplified(rings: Sequence[Ring], tolerance: float) -> list[Ring]:
    """Holes that shrink to a line are filled; an outline that does stays as it is."""
    fewer = [cv2.approxPolyDP(ring.astype(np.float32), tolerance, True)[:, 0].astype(np.float64) for ring in rings]
    outline = fewer[0] if len(fewer[0]) > 2 else rings[0]
    return [outline, *(ring for ring in fewer[1:] if len(ring) > 2)]


def polygons_of_sets(
    labels: Labels, num_classes: int, *, nothing: int | None, min_area: int = 0, simplify: float = 0.0
) -> Iterator[Polygon]:
    """The connected regions of each class of a label map of sets, class by class; each is in memory whole meanwhile."""
    for k, plane in enumerate(labels.planes(num_classes, nothing=nothing)):
        whole = Labels(plane.read(0, plane.size[0], 0, plane.size[1]))
        for polygon in polygons(whole, nothing=0, min_area=min_area, simplify=simplify):
            yield replace(polygon, value=k)


# --- Areas --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClassArea:
    """share: of the pixels that have a class, in fractions of 1. square_metres: None if nothing is known about them."""

    value: int
    name: str
    pixels: int
    share: float
    square_metres: float | None


def areas(
    labels: Labels, *, classes: Sequence[str], ground: Ground | None, nothing: int | None = None, sets: bool = False
) -> list[ClassArea]:
    """What each class covers; values beyond the classes count for nothing.

    sets: the labels are sets of classes. Shares are of the pixels that are not `nothing` then, and do not add up to 1.
    """
    if sets:
        known = sum(part.size if nothing is None else np.count_nonzero(part != nothing) for _, part in labels.rows())
        found = [
            areas(plane, classes=("", name), ground=ground)[1]
            for name, plane in zip(classes, labels.planes(len(classes), nothing=nothing), strict=True)
        ]
        return [replace(area, value=k, share=area.pixels / max(known, 1)) for k, area in enumerate(found)]
    width, count = labels.size[1], len(classes)
    pixels = np.zeros(count, np.int64)
    metres: npt.NDArray[np.float64] | None = None if ground is None else np.zeros(count)
    for top, part in labels.rows():
        for start in range(0, len(part), LONGEST_EDGE):
            some = part[start : start + LONGEST_EDGE]
            pixels += np.bincount(some.ravel(), minlength=count)[:count]
            each = None if ground is None else ground.pixel_areas(top + start, top + start + len(some), width)
            if metres is None or each is None:
                metres = None
                continue
            metres += np.bincount(some.ravel(), weights=each.ravel(), minlength=count)[:count]
    total = max(int(pixels.sum()), 1)
    return [
        ClassArea(value, name, pixels[value].item(), pixels[value].item() / total, area)
        for value, (name, area) in enumerate(
            zip(classes, [None] * count if metres is None else metres.tolist(), strict=True)
        )
    ]


def write_areas(path: Path, found: Sequence[ClassArea]) -> None:
    """Write areas as CSV, a line for each class; square metres are left empty where they are unknown."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(["class", "name", "pixels", "share", "square_metres"])
    for area in found:
        metres = "" if area.square_metres is None else f"{area.square_metres:.3f}"
        lines.writerow([area.value, area.name, area.pixels, f"{area.share:.8f}", metres])
    write_text(path, text.getvalue())
