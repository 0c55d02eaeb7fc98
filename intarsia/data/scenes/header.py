"""Where a scene lies and how large it is, from its header."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from intarsia.contracts import Size
from intarsia.data.gdal import raster_library, without_place
from intarsia.data.tiff import peek_header

Stamp = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Header:
    """path: of the scene. crs: rasterio's, or None. transform: pixels (column, row) -> coordinates of the crs."""

    path: Path
    size: Size
    crs: Any
    transform: Any

    @property
    def is_placed(self) -> bool:
        """Whether labels with coordinates can be laid on it."""
        return self.crs is not None and not self.transform.is_identity

    def place_for(self, labels: Path) -> tuple[Any, Any]:
        """(crs, transform). Raises ValueError, naming both files, for a scene that lies nowhere."""
        if not self.is_placed:
            what = "coordinate system" if self.crs is None else "transform from pixels to coordinates"
            raise ValueError(
                f"{self.path}: expected a scene that lies on Earth, to lay {labels} on it; found one without a {what}. "
                "Give it one (gdal_edit.py -a_srs EPSG:CODE, a world file), or warp it, if it has control points "
                "(gdalwarp)"
            )
        return self.crs, self.transform

    def bounds_in(self, crs: Any) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in another system."""
        height, width = self.size
        bounds = raster_library("transform").array_bounds(height, width, self.transform)
        if self.crs == crs:
            return bounds  # type: ignore[no-any-return]  # of a library without types
        return raster_library("warp").transform_bounds(self.crs, crs, *bounds)  # type: ignore[no-any-return]


def moved(transform: Any, xs: Any, ys: Any) -> tuple[Any, Any]:
    """Points, or arrays of them, through an affine transform."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * xs + b * ys + c, d * xs + e * ys + f


def stamp_of(path: Path) -> Stamp:
    """What changes with a file. Raises ValueError if there is none."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    return found.st_mtime_ns, found.st_size


def header_of(path: Path) -> Header:
    """Raises ValueError naming the file if it cannot be read as a raster, or is stored turned."""
    return _header(path, stamp_of(path))


@lru_cache(maxsize=4096)
def _header(path: Path, stamp: Stamp) -> Header:
    del stamp  # a file that has changed is read again
    peeked = peek_header(path)
    if peeked is not None and peeked.file.orientation != 1:
        raise ValueError(
            f"{path}: expected a scene that is stored upright, found the TIFF orientation {peeked.file.orientation}; "
            "write it anew with gdal_translate"
        )
    try:
        with without_place(), raster_library().open(path) as source:
            return Header(path, (source.height, source.width), source.crs, source.transform)
    except raster_library("errors").RasterioError as error:
        raise ValueError(f"{path}: cannot be read as a raster: {error}") from None
