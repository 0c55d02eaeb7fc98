"""Label rasters, as they lie on a scene: on the same pixels, or carried onto them by nearest neighbour."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.gdal import raster_library, without_place
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.header import Header, header_of, moved
from intarsia.data.scenes.vectors import apart

_SAME = 0.01
"""Pixels by which the corners of two grids may differ that are the same."""

_EXACT = 0.001
"""Pixels by which GDAL may be off where it carries places from one system into another; by itself an eighth."""


class LabelRaster:
    """The labels of one scene from a raster. Threads may share it; they wait for each other.

    Raises ValueError naming both files if it cannot be read, holds no labels, or cannot be laid on the scene.
    """

    def __init__(self, path: Path, scene: Header) -> None:
        own = header_of(path)
        self.path, self._lock = path, threading.Lock()
        self.warped = not same_grid(own, scene)
        if self.warped:
            check_raster_overlap(own, scene)
        with without_place():
            self._source = raster_library().open(path)
        kinds = {np.dtype(kind).kind for kind in self._source.dtypes}
        if not kinds <= set("iuf") or self._source.count not in (1, 3, 4) or ("f" in kinds and self._source.count > 1):
            raise ValueError(
                f"{path}: expected labels: one band of whole numbers, or three of colours; found {self._source.count} "
                f"bands of {', '.join(sorted(set(self._source.dtypes)))}"
            )
        self.mode = f"{self._source.dtypes[0]} x {self._source.count}"
        self._bands = [1, 2, 3] if self._source.count > 1 else [1]
        self._read_from = self._warped(scene) if self.warped else self._source

    def _warped(self, scene: Header) -> Any:
        height, width = scene.size
        return raster_library("vrt").WarpedVRT(
            self._source, crs=scene.crs, transform=scene.transform, height=height, width=width,
            resampling=raster_library("enums").Resampling.nearest,
            src_nodata=None, nodata=None, add_alpha=self._source.count < 4, tolerance=_EXACT,
        )  # fmt: skip

    @property
    def nodata(self) -> int | None:
        """The value that the file itself declares as no data."""
        value = self._source.nodata
        return int(value) if value is not None and float(value).is_integer() else None

    def read(self, area: Area) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """What is stored, (H, W) integers or (H, W, 3) colours, and where there is something, (H, W)."""
        window = raster_library("windows").Window(area.left, area.top, area.width, area.height)
        with self._lock:
            try:
                stored = self._read_from.read(self._bands, window=window)
                known = self._known(window)
            except raster_library("errors").RasterioError as error:
                raise ValueError(f"{self.path}: {error}") from None
        if stored.dtype.kind == "f":
            stored = self._whole(stored, known)
        return (stored[0] if len(self._bands) == 1 else np.ascontiguousarray(np.moveaxis(stored, 0, 2))), known

    def _known(self, window: Any) -> npt.NDArray[np.bool_]:
        """Where the raster lies; values that mean no data are left to the label table."""
        source = self._read_from
        if source.count > len(self._bands):  # an alpha band
            return np.asarray(source.read(source.count, window=window) > 0)
        return np.ones((int(window.height), int(window.width)), np.bool_)

    def _whole(self, stored: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        known &= np.isfinite(stored[0])
        stored = np.where(known, stored, 0)
        if (stored != np.rint(stored)).any():
            raise ValueError(f"{self.path}: expected whole numbers as labels, found {stored[stored % 1 != 0][0]:g}")
        return stored.astype(np.int64)


def same_grid(own: Header, scene: Header) -> bool:
    """Whether the pixels of a label raster are those of its scene: equal sizes, and no other place."""
    if own.size != scene.size:
        return False
    if not own.is_placed or not scene.is_placed:
        return True
    if own.crs != scene.crs:
        return False
    height, width = scene.size
    here = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    there = np.stack(moved(~scene.transform, *moved(own.transform, here[:, 0], here[:, 1])), axis=1)
    return bool((abs(there - here) < _SAME).all())


def check_raster_overlap(own: Header, scene: Header) -> None:
    """Raises ValueError if a label raster and a scene cannot be laid on each other, or do not meet."""
    if not own.is_placed:
        raise ValueError(
            f"{own.path}: expected a label raster of the size of its scene {scene.path} ({_size(scene)}), or one with "
            f"a coordinate system; found {_size(own)} pixels without one"
        )
    scene.place_for(own.path)
    mine, theirs = scene.bounds_in(scene.crs), own.bounds_in(scene.crs)
    if mine[0] >= theirs[2] or theirs[0] >= mine[2] or mine[1] >= theirs[3] or theirs[1] >= mine[3]:
        raise apart(own.path, scene.path, theirs, mine, scene.crs)


def _size(header: Header) -> str:
    return f"{header.size[1]} x {header.size[0]}"
