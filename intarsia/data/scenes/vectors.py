"""Shapes of vector files (GeoJSON, GeoPackage, Shapefile, FlatGeobuf), burnt into windows of scenes.

Pyogrio reads them, and shapely holds them; rasterio, with GDAL's rule, burns them: a pixel belongs to a shape if its
centre lies inside. Where shapes overlap, the later in the file counts.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.gdal import raster_library, without_place
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.header import Header, Stamp, moved, stamp_of

_PIECES = 64
"""Into how many pieces of a scene's extent the edges of shapes are cut that are carried into another system: a straight
line there is none here."""

_AREAL = (3, 6)
"""Shapely's numbers of polygons and of several polygons."""


def vector_library(name: str) -> Any:
    """Pyogrio or shapely, or a module of them. Raises ValueError naming the extra if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f'vector files need {name}: pip install "intarsia[raster]" ({error})') from None


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a vector file. shapes: shapely's, (n,), of which those without area are left out; rows: their places
    in the file, from 0. columns: name -> values (n,). passed_over: shapes without area.
    """

    path: Path
    crs: Any
    shapes: npt.NDArray[Any]
    rows: npt.NDArray[np.intp]
    columns: dict[str, npt.NDArray[Any]]
    passed_over: int

    def column(self, name: str) -> npt.NDArray[Any]:
        """Raises ValueError, with those that there are, for a column that is missing."""
        if name not in self.columns:
            raise ValueError(
                f"{self.path}: expected a column {name!r}, found {', '.join(self.columns) or 'no columns'}; correct "
                "the name in the description"
            )
        return self.columns[name]


def read_layer(path: Path, layer: str = "") -> Layer:
    """The shapes of a file, of its only layer or the one that is named.

    Raises ValueError naming the file if it cannot be read, has several layers and none is named, or holds no areas.
    """
    return _layer(path, layer, stamp_of(path))


@lru_cache(maxsize=16)
def _layer(path: Path, layer: str, stamp: Stamp) -> Layer:
    del stamp
    pyogrio, shapely = vector_library("pyogrio"), vector_library("shapely")
    try:
        names = [str(name) for name, _ in pyogrio.list_layers(path)]
        if layer not in names and (layer or len(names) != 1):
            wanted = f"the layer {layer!r}" if layer else "one layer, or `layer: NAME` in the description"
            raise ValueError(f"{path}: expected {wanted}, found {', '.join(names) or 'none'}")
        meta, _, geometry, fields = vector_library("pyogrio.raw").read(path, layer=layer or None, force_2d=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise ValueError(f"{path}: cannot be read as a vector file: {error}") from None
    shapes = shapely.from_wkb(geometry, on_invalid="ignore")
    areal = np.isin(shapely.get_type_id(shapes), _AREAL) & ~shapely.is_empty(shapes)
    if not areal.any():
        raise ValueError(f"{path}: expected polygons, found {len(shapes)} shapes without area")
    crs = raster_library("crs").CRS.from_user_input(meta["crs"]) if meta["crs"] else None
    columns = {str(name): values[areal] for name, values in zip(meta["fields"], fields, strict=True)}
    return Layer(path, crs, shapes[areal], np.flatnonzero(areal), columns, int((~areal).sum()))


@dataclass(frozen=True, eq=False)
class Placed:
    """Shapes (n,) near a scene, in its pixels: x to the right and y down from its upper left corner, and the places
    (n,) in their layer. tree: shapely's, for looking up.
    """

    shapes: npt.NDArray[Any]
    chosen: npt.NDArray[np.intp]
    tree: Any

    def touching(self, area: Area) -> npt.NDArray[np.intp]:
        """Which of `shapes` may have a pixel in an area, in their order."""
        box = vector_library("shapely").box(area.left, area.top, area.left + area.width, area.top + area.height)
        return np.sort(self.tree.query(box, predicate="intersects"))

    def burnt(
        self, area: Area, values: npt.NDArray[np.integer[Any]], *, only: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int32]:
        """(H, W) of an area: the value of the last shape that covers a pixel's centre, 0 elsewhere.

        values: of the shapes of the layer. only: which of them are burnt.
        """
        found = np.zeros((area.height, area.width), np.int32)
        which = self.touching(area)
        which = which if only is None else which[only[self.chosen[which]]]
        if not len(which):
            return found
        pairs = [(self.shapes[one], int(values[self.chosen[one]])) for one in which]
        shift = raster_library("transform").Affine.translation(area.left, area.top)
        with without_place():
            raster_library("features").rasterize(pairs, out=found, transform=shift)
        return found


def extent(layer: Layer) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of all shapes, in their own system."""
    left, bottom, right, top = vector_library("shapely").total_bounds(layer.shapes).tolist()
    return left, bottom, right, top


def placed(layer: Layer, header: Header) -> Placed:
    """The shapes near a scene in its pixels. Raises ValueError if one of both lies nowhere."""
    shapely, crs = vector_library("shapely"), _system(layer)
    scene_crs, transform = header.place_for(layer.path)
    left, bottom, right, top = header.bounds_in(crs)
    near = np.flatnonzero(shapely.intersects(layer.shapes, shapely.box(left, bottom, right, top)))
    shapes = layer.shapes[near]
    if crs != scene_crs:
        shapes = shapely.segmentize(shapes, max(right - left, top - bottom) / _PIECES)
    inverse = ~transform

    def to_pixels(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        xs, ys = points[:, 0], points[:, 1]
        if crs != scene_crs:
            xs, ys = (np.asarray(part) for part in raster_library("warp").transform(crs, scene_crs, xs, ys))
        columns, rows = moved(inverse, xs, ys)
        return np.stack([columns, rows], axis=1)

    shapes = shapely.transform(shapes, to_pixels) if len(shapes) else shapes
    finite = np.isfinite(shapely.bounds(shapes)).all(axis=1) if len(shapes) else np.zeros(0, bool)
    return Placed(shapes[finite], near[finite], shapely.STRtree(shapes[finite]))


def check_overlap(layer: Layer, header: Header) -> None:
    """Raises ValueError, with both extents, if all shapes lie beside a scene."""
    crs = _system(layer)
    header.place_for(layer.path)
    mine, theirs = header.bounds_in(crs), extent(layer)
    if mine[0] >= theirs[2] or theirs[0] >= mine[2] or mine[1] >= theirs[3] or theirs[1] >= mine[3]:
        raise apart(layer.path, header.path, theirs, mine, crs)


class ApartError(ValueError):
    """Labels that lie beside their scene."""


def apart(labels: Path, scene: Path, theirs: Sequence[float], mine: Sequence[float], crs: Any) -> ApartError:
    """What is said of such labels. theirs, mine: extents in `crs`."""
    shown = [", ".join(f"{number:.6g}" for number in extent) for extent in (theirs, mine)]
    return ApartError(
        f"{labels}: expected labels that overlap the scene {scene}, found them beside it: left, bottom, right, top are "
        f"{shown[0]}, the scene's {shown[1]} ({crs.to_string()}); correct the coordinate system of one of them, list "
        "the scene under `exclude`, or write `missing: skip`"
    )


def _system(layer: Layer) -> Any:
    if layer.crs is None:
        raise ValueError(
            f"{layer.path}: expected shapes with a coordinate system, found none; assign it with ogr2ogr -a_srs "
            "EPSG:CODE"
        )
    return layer.crs
