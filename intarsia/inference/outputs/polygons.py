"""Label maps as polygons (GeoJSON), as run lengths (COCO JSON), and as areas of classes (CSV).

Polygons follow the edges of pixels exactly: rasterised again they give the label map. Rasterio finds them, for plain
images too (`rasterio.features.shapes`, GDAL's polygonize): OpenCV's contours run through the centres of pixels, lose
lines one pixel wide, and do not give the map back. Regions are connected over the sides of pixels, not over corners.

Simplification is Douglas and Peucker's, by OpenCV, ring by ring, so that neighbours may overlap or leave slivers.

A label map here is an array (H, W) or a band of an open raster, which is read in pieces. Coordinates are (x, y) in
pixels, from the top left corner of the top left pixel, until `Ground` places them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.data.gdal import raster_library
from intarsia.visual.files import aside_name, write_encoded

Ring = npt.NDArray[np.float64]
"""(n, 2) corners x, y; the last is not the first again."""

LONGEST_EDGE = 64
"""Pixels of an edge at most where a map projection is left, in which straight lines are not straight."""

EQUAL_AREA = "EPSG:6933"
"""Cylindrical: a rectangle of meridians and parallels stays one, and areas are those on the ellipsoid."""

_PARALLEL_ROWS = ("merc", "webmerc", "eqc")
"""PROJ's names of projections in which rows are parallels, but not of one area: Mercator's, and plate carree."""

AT_ONCE = 16 * 2**20
"""Pixels of a label map that are looked at together."""


def _through(transform: Any, ring: Ring) -> Ring:
    """Points (n, 2) through an affine map; `affine` itself writes this in another way in every version."""
    matrix = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    moved: Ring = ring @ matrix.T + (transform.c, transform.f)
    return moved


@dataclass(frozen=True, slots=True)
class Labels:
    """A label map of any size. source: an array (H, W), or an open dataset of rasterio, whose first band it is."""

    source: Any

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.source.shape[0], self.source.shape[1]

    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """A part of it."""
        if isinstance(self.source, np.ndarray):
            return self.source[top:bottom, left:right]
        window = raster_library("windows").Window(left, top, right - left, bottom - top)
        part: npt.NDArray[Any] = self.source.read(1, window=window)
        return part

    def in_pixels(self, ring: Ring) -> Ring:
        """The corners of pixels (n, 2), given in the source's own coordinates."""
        return ring if isinstance(self.source, np.ndarray) else np.rint(_through(~self.source.transform, ring))

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


# --- Where pixels are on the ground -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ground:
    """The place of a raster on Earth, in the types of rasterio: a coordinate system, and pixels -> its coordinates."""

    crs: Any
    transform: Any

    @classmethod
    def of(cls, dataset: Any) -> Ground | None:
        """The place of an open dataset, None if it does not say one."""
        return cls(dataset.crs, dataset.transform) if dataset.crs and not dataset.transform.is_identity else None

    def lonlat(self, ring: Ring) -> Ring:
        """Longitude and latitude (WGS 84) of pixel coordinates (n, 2)."""
        return self._moved(ring, "EPSG:4326")

    def square_metres(self, ring: Ring) -> float | None:
        """The area inside of pixel coordinates, None if nothing is known about lengths.

        On the ellipsoid where rows are parallels (longitude and latitude, Mercator's projection, whose plane is far
        too large away from the equator), else in the plane.
        """
        if self._rows_are_parallels:
            return abs(_signed_area(self._moved(ring, EQUAL_AREA)))
        return abs(_signed_area(ring)) * self._plane if self.crs.is_projected else None

    def of_rows(self, height: int) -> npt.NDArray[np.float64] | None:
        """Square metres of a pixel of each row (H,), as `square_metres` measures them."""
        if self._rows_are_parallels:
            rows = np.arange(height + 1, dtype=np.float64)
            left, right = (self._moved(np.stack([np.full_like(rows, x), rows], axis=1), EQUAL_AREA) for x in (0, 1))
            areas: npt.NDArray[np.float64] = np.abs((right[:1, 0] - left[:1, 0]) * np.diff(left[:, 1]))
            return areas
        return np.full(height, self._plane) if self.crs.is_projected else None

    @property
    def _plane(self) -> float:
        return float(abs(self.transform.determinant) * self.crs.linear_units_factor[1] ** 2)

    @property
    def _rows_are_parallels(self) -> bool:
        upright = self.transform.b == 0 and self.transform.d == 0
        return bool(upright and (self.crs.is_geographic or self.crs.to_dict().get("proj") in _PARALLEL_ROWS))

    def _moved(self, ring: Ring, crs: str) -> Ring:
        x, y = _through(self.transform, ring).T
        return np.stack(raster_library("warp").transform(self.crs, crs, x, y), axis=1)


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
        pixels = round(abs(_signed_area(rings[0])) - sum(abs(_signed_area(ring)) for ring in rings[1:]))
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


def _signed_area(ring: Ring) -> float:
    x, y = (ring - ring[0]).T  # far from the origin, products of coordinates would lose what matters
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _split(ring: Ring) -> Ring:
    """The ring with corners on its long edges."""
    after = np.roll(ring, -1, axis=0)
    counts = np.maximum(np.ceil(np.abs(after - ring).max(axis=1) / LONGEST_EDGE).astype(int), 1)
    start = np.repeat(np.arange(len(ring)), counts)
    share = (np.arange(len(start)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[start]
    split: Ring = ring[start] + share[:, None] * (after - ring)[start]
    return split


def write_geojson(
    path: Path,
    shapes: Iterable[Polygon],
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    ground: Ground | None,
) -> int:
    """Write polygons as GeoJSON (RFC 7946), one feature each with class, name and area; gives their number.

    With `ground`, coordinates are longitude and latitude; without, pixels, y downwards. Outlines turn counter-clockwise
    in these coordinates, holes clockwise. The area is in square metres where they are known, and always in pixels.
    The file appears when it is complete.
    """
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(aside_name())
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write('{"type": "FeatureCollection", "features": [')
            for polygon in shapes:
                file.write(",\n" if count else "\n")
                json.dump(_feature(polygon, classes, palette, ground), file, ensure_ascii=False, allow_nan=False)
                count += 1
            file.write("\n]}\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _feature(
    polygon: Polygon, classes: Sequence[str], palette: Sequence[Sequence[int]], ground: Ground | None
) -> dict[str, Any]:
    red, green, blue = palette[polygon.value]
    properties: dict[str, Any] = {
        "class": polygon.value,
        "name": classes[polygon.value],
        "pixels": polygon.pixels,
        "fill": f"#{red:02x}{green:02x}{blue:02x}",  # of the simplestyle specification, which viewers know
    }
    rings = list(polygon.rings)
    if ground is not None:
        areas = [ground.square_metres(ring) for ring in rings]
        if areas[0] is not None:
            properties["square_metres"] = round(areas[0] - sum(area or 0.0 for area in areas[1:]), 3)
        rings = [ground.lonlat(_split(ring)) for ring in rings]
    coordinates = []
    for number, ring in enumerate(rings):
        turned = ring if (_signed_area(ring) > 0) == (number == 0) else ring[::-1]
        closed = np.concatenate([turned, turned[:1]])
        coordinates.append(np.round(closed, 10).tolist())  # of a degree: a hundredth of a millimetre
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": coordinates},
    }


# --- Run lengths --------------------------------------------------------------------------------------------------


def write_coco(
    path: Path, labels: Labels, *, classes: Sequence[str], image: str, nothing: int | None, image_id: int = 1
) -> int:
    """Write a label map as COCO JSON: for each class that appears an annotation with its mask as compressed RLE.

    Categories are numbered by class index. Gives the number of annotations. Raises ValueError for more than 2^32 - 1
    pixels, which the format cannot count.
    """
    height, width = labels.size
    if height * width > 2**32 - 1:
        raise ValueError(f"{width} x {height} pixels are more than COCO's run lengths of 32 bits can count")
    values, lengths = _runs(labels)
    stops = np.cumsum(lengths)
    annotations: list[dict[str, Any]] = []
    for value in np.unique(values).tolist():
        if value == nothing:
            continue
        chosen = values == value
        stop, length = stops[chosen], lengths[chosen]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": value,
                "iscrowd": 1,  # a region of a class, not one thing
                "area": int(length.sum()),
                "bbox": _box(stop - length, stop, height),
                "segmentation": {"size": [height, width], "counts": _compressed(_counts(stop, length, height * width))},
            }
        )
    document = {
        "images": [{"id": image_id, "file_name": image, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in enumerate(classes)],
    }
    write_encoded(path, json.dumps(document, ensure_ascii=False).encode())
    return len(annotations)


def rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed RLE: {"size": [H, W], "counts": "..."}."""
    values, lengths = _runs(Labels(mask))
    stop, length = np.cumsum(lengths)[values], lengths[values]
    return {"size": list(mask.shape), "counts": _compressed(_counts(stop, length, mask.size))}


def _runs(labels: Labels) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The values of a label map down its columns, left to right, as runs: value and length of each."""
    every_value, every_length = [], []
    for part in labels.columns():
        flat = part.T.ravel()
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        every_value.append(flat[starts])
        every_length.append(np.diff(starts, append=len(flat)))
    values, lengths = np.concatenate(every_value), np.concatenate(every_length)
    first = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])  # runs go on from part to part
    return values[first], np.add.reduceat(lengths, first)


def _counts(stop: npt.NDArray[np.int64], length: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Lengths of background and mask in turn, from the runs of the mask; the first may be 0."""
    gaps = stop - length - np.concatenate([[0], stop[:-1]])
    counts = np.stack([gaps, length], axis=1).ravel()
    rest = total - (int(stop[-1]) if len(stop) else 0)
    return np.append(counts, rest) if rest else counts


def _compressed(counts: npt.NDArray[np.int64]) -> str:
    """COCO's text for run lengths: from the fourth on the difference to the last but one, in digits of five bits."""
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    digits = np.zeros((len(numbers), 8), np.uint8)
    used = np.zeros((len(numbers), 8), np.bool_)
    open_ = np.ones(len(numbers), np.bool_)
    for place in range(8):
        used[:, place] = open_
        digit = numbers & 0x1F
        numbers >>= 5  # arithmetic: -1 stays -1
        open_ = open_ & np.where(digit & 0x10, numbers != -1, numbers != 0)
        digits[:, place] = digit + 0x20 * open_ + 48
    return digits[used].tobytes().decode("ascii")


def _box(start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64], height: int) -> list[int]:
    """x, y, width, height around runs down the columns."""
    left, right = int(start[0]) // height, int(stop[-1] - 1) // height + 1
    crosses = (start // height) != ((stop - 1) // height)  # ends in another column, so that it passes bottom and top
    top = 0 if crosses.any() else int((start % height).min())
    bottom = height if crosses.any() else int(((stop - 1) % height).max()) + 1
    return [left, top, right - left, bottom - top]


# --- Areas --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClassArea:
    """share: of the pixels that have a class, in fractions of 1. square_metres: None if nothing is known about them."""

    value: int
    name: str
    pixels: int
    share: float
    square_metres: float | None


def areas(labels: Labels, *, classes: Sequence[str], ground: Ground | None) -> list[ClassArea]:
    """What each class covers; values beyond the classes count for nothing."""
    per_row = None if ground is None else ground.of_rows(labels.size[0])
    pixels = np.zeros(len(classes), np.int64)
    metres = np.zeros(len(classes))
    for top, part in labels.rows():
        for row, line in enumerate(part, top):
            counts = np.bincount(line, minlength=len(classes))[: len(classes)]
            pixels += counts
            metres += counts * (0.0 if per_row is None else per_row[row])
    total = max(int(pixels.sum()), 1)
    return [
        ClassArea(value, name, count, count / total, None if per_row is None else area)
        for value, (name, count, area) in enumerate(zip(classes, pixels.tolist(), metres.tolist(), strict=True))
    ]


def write_areas(path: Path, found: Sequence[ClassArea]) -> None:
    """Write areas as CSV, a line for each class; square metres are left empty where they are unknown."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(["class", "name", "pixels", "share", "square_metres"])
    for area in found:
        metres = "" if area.square_metres is None else f"{area.square_metres:.3f}"
        lines.writerow([area.value, area.name, area.pixels, f"{area.share:.8f}", metres])
    write_encoded(path, text.getvalue().encode())
