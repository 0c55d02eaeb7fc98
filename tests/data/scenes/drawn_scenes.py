"""Small scenes with shapes on them, drawn for the tests of scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

UTM = "EPSG:32633"
LEFT, TOP, PIXEL = 400_000.0, 5_500_000.0, 0.5

Ring = Sequence[tuple[float, float]]
Shape = tuple[Ring, dict[str, Any]]
"""Corners as (column, row) in pixels of a scene at LEFT, TOP; and the columns of its row."""


def grid(*, left: float = LEFT, top: float = TOP, pixel: float = PIXEL) -> Any:
    return from_origin(left, top, pixel, pixel)


def write_scene(
    path: Path,
    image: np.ndarray,
    *,
    crs: str | None = UTM,
    transform: Any = None,
    names: Sequence[str] = (),
    **more: Any,
) -> Path:
    """image: (C, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if crs is None else {"crs": crs, "transform": grid() if transform is None else transform}
    bands, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=image.dtype, tiled=True,
        blockxsize=64, blockysize=64, **place, **more,
    ) as target:  # fmt: skip
        target.write(image)
        for number, name in enumerate(names, 1):
            target.set_band_description(number, name)
    return path


def noise(height: int, width: int, bands: int = 3, *, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    high = 256 if dtype == "uint8" else 10_000
    return np.random.default_rng(seed).integers(1, high, (bands, height, width)).astype(dtype)


def on_earth(ring: Ring, transform: Any = None) -> list[list[float]]:
    a, b, c, d, e, f = tuple(grid() if transform is None else transform)[:6]
    return [[a * x + b * y + c, d * x + e * y + f] for x, y in [*ring, ring[0]]]


def write_shapes(path: Path, shapes: Sequence[Shape], *, crs: str | None = UTM, transform: Any = None) -> Path:
    """A GeoJSON file."""
    features = [
        {
            "type": "Feature",
            "properties": columns,
            "geometry": {"type": "Polygon", "coordinates": [on_earth(ring, transform)]},
        }
        for ring, columns in shapes
    ]
    document: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs is not None:
        document["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{crs.replace(':', '::')}"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_package(path: Path, layers: dict[str, Sequence[Shape]], *, crs: str | None = UTM) -> Path:
    """A GeoPackage."""
    import pyogrio.raw
    import shapely

    for number, (layer, shapes) in enumerate(layers.items()):
        polygons = shapely.to_wkb([shapely.Polygon(on_earth(ring)) for ring, _ in shapes])
        fields = list(shapes[0][1])
        columns = [np.array([row[name] for _, row in shapes], None) for name in fields]
        pyogrio.raw.write(
            path, polygons, columns, fields, layer=layer, driver="GPKG", geometry_type="Polygon", crs=crs,
            append=number > 0,
        )  # fmt: skip
    return path


def triangles(count: int, height: int, width: int, *, seed: int = 0) -> list[Shape]:
    """Slanted shapes that overlap, with a text and a number in their columns."""
    rng = np.random.default_rng(seed)
    found: list[Shape] = []
    for number in range(count):
        centre = rng.random(2) * (width, height)
        corners = centre + rng.normal(0, height / 6, (3, 2))
        kind = ("roof", "pool")[number % 2]
        found.append(([(float(x), float(y)) for x, y in corners], {"kind": kind, "code": number % 2 + 1}))
    return found
