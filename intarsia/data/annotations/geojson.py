"""GeoJSON of images that lie nowhere on Earth (QuPath, and `predict --save polygons`): a file for each, in its pixels.

x runs to the right and y down from the outer corner of the top left pixel. Polygons may have holes; lines and points
have no area. The class is what QuPath calls `classification`, or else the first text among `label`, `class_name`,
`category`, `name`, `class`; without one it is `object`.

Format: RFC 7946; https://qupath.readthedocs.io (exporting annotations)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.contracts import Size
from intarsia.data.annotations.json_parts import read_json
from intarsia.data.annotations.per_image import FolderOfFiles, any_size
from intarsia.data.annotations.shapes import Drawing, Outline, Ring, Shape, SizeOf, ring_of

OBJECT = "object"
"""The class of shapes that say none."""

_NAMES = ("label", "class_name", "category", "name", "class")
_SLACK = 0.05
"""Parts of the longer side by which outlines may leave the image: what is drawn by hand at its border does."""
_FEATURE = re.compile(r'"type"\s*:\s*"Feature(Collection)?"')


class GeoJson:
    """The format."""

    name = "geojson"
    title = "GeoJSON outlines in pixels"
    suffix = ".geojson"
    per_image = True
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether it has features, and names no system of coordinates on Earth."""
        return _FEATURE.search(text) is not None and '"crs"' not in text

    def look_through(self, path: Path, names: Path | None) -> FolderOfFiles:
        """List the files of a folder."""
        return FolderOfFiles(path, self.suffix, _read)


def _read(path: Path, size: SizeOf) -> Drawing:
    found = read_json(path)
    _check_system(found)
    drawn, without = [], []
    for number, feature in enumerate(_features(found), 1):
        where = f"feature {number}"
        if not isinstance(feature, dict):
            raise ValueError(f"{where}: expected a feature, found {str(feature)[:40]!r}")
        geometry = feature.get("geometry")
        if geometry is None:
            continue
        name = _name(feature.get("properties") or {})
        where = f"{where} ({name})"
        polygons = tuple(_polygons(geometry, where))
        if polygons:
            drawn.append(Shape(name, Outline(polygons), where))
        else:
            kind = geometry.get("type") if isinstance(geometry, dict) else None
            without.append(f"{where} is a {str(kind)[:40]}")
    if drawn and size is not any_size:
        _check_place(drawn, size())
    return Drawing(None, tuple(drawn), tuple(without))


def _features(found: Any) -> list[Any]:
    """Those of a collection, of a list, or the only one."""
    if isinstance(found, list):
        return found
    kind = found.get("type") if isinstance(found, dict) else None
    if kind == "Feature":
        return [found]
    features = found.get("features") if kind == "FeatureCollection" else None
    if not isinstance(features, list):
        raise ValueError("has no list of features; expected a FeatureCollection of GeoJSON")
    return features


def _check_system(found: Any) -> None:
    if isinstance(found, dict) and found.get("crs"):
        raise ValueError(
            f"its `crs` says that it lies on Earth ({str(found['crs'])[:120]}), and the image lies nowhere: give the "
            "image its place (a GeoTIFF; then both are scenes, and no annotations), or remove `crs` if these are pixels"
        )


def _name(properties: Any) -> str:
    if not isinstance(properties, Mapping):
        return OBJECT
    found = properties.get("classification")
    if isinstance(found, Mapping):
        several = found.get("names")
        found = ": ".join(map(str, several)) if isinstance(several, list) and several else found.get("name")
    for value in (found, *(properties.get(key) for key in _NAMES)):
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return OBJECT


def _polygons(geometry: Any, where: str) -> Iterator[tuple[Ring, ...]]:
    """The polygons of a geometry, each of its outline and holes; none of what has no area."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        for part in geometry.get("geometries") or ():
            yield from _polygons(part, where)
        return
    if kind not in ("Polygon", "MultiPolygon"):
        return
    given = geometry.get("coordinates")
    for rings in [given] if kind == "Polygon" else given if isinstance(given, list) else [given]:
        if not isinstance(rings, list):
            raise ValueError(f"{where}: expected the rings of a polygon, found {str(rings)[:40]!r}")
        yield tuple(_ring(ring, where) for ring in rings)


def _ring(values: Any, where: str) -> Ring:
    """A ring, heights left out and the repeated last corner too."""
    if isinstance(values, list) and all(isinstance(corner, list) for corner in values):
        values = [corner[:2] for corner in values]
    points = ring_of(values, where)
    return points[:-1] if len(points) > 1 and (points[0] == points[-1]).all() else points


def _check_place(shapes: list[Shape], size: Size) -> None:
    """Raises ValueError for coordinates that are no pixels of the image."""
    corners = [ring for shape in shapes for rings in _rings_of(shape) for ring in rings if len(ring)]
    points = np.concatenate(corners) if corners else np.zeros((1, 2))
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    height, width = size
    slack = _SLACK * max(height, width)
    said = f"x from {left:g} to {right:g} and y from {top:g} to {bottom:g}"
    if left < -slack or top < -slack or right > width + slack or bottom > height + slack:
        raise ValueError(
            f"expected pixels of the image ({width} x {height}), found {said}: is it another image's, or of the image "
            "at another size, or does it lie on Earth? Then the image must say where (a GeoTIFF)"
        )
    if corners and max(right - left, bottom - top) < 1:
        raise ValueError(
            f"expected pixels of the image, found {said}, less than a pixel in all: are they degrees? Then the image "
            "must say where it lies (a GeoTIFF)"
        )


def _rings_of(shape: Shape) -> tuple[tuple[Ring, ...], ...]:
    assert isinstance(shape.area, Outline)
    return shape.area.polygons
