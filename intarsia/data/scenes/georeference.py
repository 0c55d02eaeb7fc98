"""Where a raster lies on Earth, which way up it is read, and whether a name stands for one behind a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.contracts import Size
from intarsia.data.gdal import raster_library
from intarsia.data.tiff import peek_header

_REMOTE = re.compile(r"/vsi[a-z0-9_]+[/?]|[A-Za-z][A-Za-z0-9+.-]+://|[A-Z][A-Za-z0-9_]+:\"?[^\\]")
"""GDAL's own file systems, URLs (also s3://, gs://, zip://), and names of drivers before a subdataset (NETCDF:...). A
drive letter of Windows is one letter only."""

_WORLD_FILES = (".tfw", ".tifw", ".wld")


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of a raster, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Turn:
    """From how a raster is stored to how it is to be seen. orientation: of EXIF and TIFF. stored_size: of the file."""

    orientation: int
    stored_size: Size

    @property
    def size(self) -> Size:
        """As it is to be seen."""
        height, width = self.stored_size
        return (width, height) if self._transposed else (height, width)

    @property
    def _transposed(self) -> bool:
        return self.orientation in (5, 6, 7, 8)

    @property
    def _flips(self) -> tuple[bool, bool]:
        """Whether rows, and columns, come from the other end."""
        return self.orientation in (3, 4, 7, 8), self.orientation in (2, 3, 6, 7)

    def stored(self, area: Area) -> Area:
        """Where an area of the upright raster is stored."""
        (height, width), (rows, columns) = self.size, self._flips
        top = height - area.top - area.height if rows else area.top
        left = width - area.left - area.width if columns else area.left
        if self._transposed:
            return Area(left, top, area.width, area.height)
        return Area(top, left, area.height, area.width)

    def transform(self, transform: Any) -> Any:
        """From pixels of the upright raster to the world, given that from stored ones."""
        (height, width), (rows, columns) = self.size, self._flips
        affine = raster_library("transform").Affine
        flip = affine(-1 if columns else 1, 0, width if columns else 0, 0, -1 if rows else 1, height if rows else 0)
        swap = affine(0, 1, 0, 1, 0, 0) if self._transposed else affine.identity()
        return transform * swap * flip

    def point(self, row: float, column: float) -> tuple[float, float]:
        """Row and column in the upright raster of a stored place."""
        (height, width), (rows, columns) = self.size, self._flips
        if self._transposed:
            row, column = column, row
        return (height - row if rows else row), (width - column if columns else column)


def georeference(source: Any, turn: Turn) -> dict[str, Any]:
    """Where an open dataset lies, in the words of rasterio's profiles: crs and transform, or control points, and RPCs.

    Raises ValueError for a raster that is turned and placed by polynomials, which nobody turns with it.
    """
    found: dict[str, Any] = {}
    if source.rpcs is not None:
        if turn.orientation != 1:
            raise ValueError(
                "it is placed by rational polynomials and stored turned (its TIFF orientation is "
                f"{turn.orientation}); write it upright first, with gdal_translate"
            )
        found["rpcs"] = source.rpcs
    points, crs = source.gcps
    if points and source.transform.is_identity:
        control = raster_library("control").GroundControlPoint
        turned = []
        for point in points:
            row, column = turn.point(point.row, point.col)
            turned.append(control(row, column, point.x, point.y, point.z, point.id, point.info))
        return {**found, "crs": crs, "gcps": turned}
    if source.transform.is_identity and turn.orientation == 1:
        return {**found, "crs": source.crs} if source.crs else found
    return {**found, "crs": source.crs, "transform": turn.transform(source.transform)}


def is_local(location: str) -> bool:
    """Whether a name is a path of this machine's own file system, and not something that only GDAL can open."""
    return _REMOTE.match(location) is None


def is_placed(path: Path) -> bool:
    """Whether a TIFF lies somewhere on Earth, by its tags or a world file beside it; rasterio is not needed for
    that.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    header = peek_header(path)
    return header is not None and (header.placed or any(path.with_suffix(end).is_file() for end in _WORLD_FILES))
