"""Polygons as GeoJSON as RFC 7946 has it: longitude and latitude, nothing across the 180th meridian, poles enclosed.

A raster without a way to longitude and latitude (a local system, a satellite's view beyond the edge of the Earth) keeps
its own coordinates, and one without any place keeps pixels, y downwards. Readers are told by a member `crs` of the
file, as GeoJSON had it before the RFC.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from intarsia.inference.outputs.ground import Ground, Ring, signed_area
from intarsia.inference.outputs.polygons import Polygon
from intarsia.io.whole_files import write_whole

Rings = list[Ring]


def write_geojson(
    path: Path,
    shapes: Iterable[Polygon],
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    ground: Ground | None,
) -> int:
    """Write polygons, one feature each with class, name and area; gives their number.

    Outlines turn counter-clockwise in these coordinates, holes clockwise. The area is in square metres where they are
    known, and always in pixels. The file appears when it is complete.
    """
    count = 0

    def write(file: IO[bytes]) -> None:
        nonlocal count
        file.write(b'{"type": "FeatureCollection", ' + _system(ground).encode() + b'"features": [')
        for polygon in shapes:
            feature = json.dumps(_feature(polygon, classes, palette, ground), ensure_ascii=False, allow_nan=False)
            file.write(f"{',' if count else ''}\n{feature}".encode())
            count += 1
        file.write(b"\n]}\n")

    write_whole(path, write)
    return count


def coordinates_in_words(ground: Ground | None) -> str:
    """What the coordinates of the polygons are."""
    if ground is None:
        return "in pixels: the raster says no place"
    return "in longitude and latitude" if ground.on_earth else "in the raster's own coordinates: not all are on Earth"


def _system(ground: Ground | None) -> str:
    if ground is None or ground.on_earth:
        return ""
    name = json.dumps({"type": "name", "properties": {"name": ground.crs.to_wkt()}}, ensure_ascii=False)
    return f'"crs": {name}, '


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
    parts: list[Rings] = [list(polygon.rings)]
    if ground is not None:
        areas = [ground.square_metres(ring) for ring in polygon.rings]
        if areas[0] is not None:
            properties["square_metres"] = round(areas[0] - sum(area or 0.0 for area in areas[1:]), 3)
        parts = _on_earth(polygon.rings, ground) if ground.on_earth else [[ground.own(ring) for ring in polygon.rings]]
    coordinates = [[_closed(ring, outline=number == 0) for number, ring in enumerate(rings)] for rings in parts]
    several = len(coordinates) > 1
    geometry = {
        "type": "MultiPolygon" if several else "Polygon",
        "coordinates": coordinates if several else coordinates[0],
    }
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _closed(ring: Ring, *, outline: bool) -> list[list[float]]:
    turned = ring if (signed_area(ring) > 0) == outline else ring[::-1]
    closed = np.concatenate([turned, turned[:1]])
    rounded: list[list[float]] = np.round(closed, 10).tolist()  # of a degree: a hundredth of a millimetre
    return rounded


# --- The 180th meridian, and the poles ----------------------------------------------------------------------------


def _on_earth(rings: Sequence[Ring], ground: Ground) -> list[Rings]:
    """Polygons of longitude and latitude within -180 to 180 degrees: one, or those on both sides of the meridian."""
    found = [ground.on_sphere(ring) for ring in rings]
    middle = found[0][:, 0].mean()
    for ring in found[1:]:  # holes lie in the same turn of the Earth as their outline
        ring[:, 0] += 360 * round((middle - ring[:, 0].mean()) / 360)
    west, east = min(ring[:, 0].min() for ring in found), max(ring[:, 0].max() for ring in found)
    first, last = math.floor((west + 180) / 360), math.ceil((east + 180) / 360) - 1
    if first >= last:
        for ring in found:
            ring[:, 0] -= 360 * first
        return [found]
    return _cut(found, range(first, last + 1))


def _cut(rings: Rings, turns: Iterable[int]) -> list[Rings]:
    """Cut along the 180th meridian. turns: of the Earth, of 360 degrees each, that the rings reach into."""
    try:
        import shapely
    except ImportError as error:
        raise ValueError("polygons across the 180th meridian need shapely: pip install 'intarsia[raster]'") from error

    whole = shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))
    parts: list[Rings] = []
    for turn in turns:
        west = 360 * turn - 180
        piece = shapely.intersection(whole, shapely.box(west, -90, west + 360, 90))
        for part in shapely.get_parts(piece):
            if part.geom_type == "Polygon" and not part.is_empty:
                edges = [part.exterior, *part.interiors]
                parts.append([np.asarray(edge.coords)[:-1, :2] - (360 * turn, 0) for edge in edges])
    return parts
