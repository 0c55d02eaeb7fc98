"""Where the pixels of a raster lie on Earth: longitudes, latitudes, and areas on the ellipsoid.

Areas are those of WGS 84's ellipsoid in every coordinate system that leads to longitude and latitude, whatever its
plane does to them: Web Mercator's is four times too large at 60 degrees north, turned grids included. Only a system
that leads nowhere, such as a building site's own, is measured in its plane.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.gdal import raster_library

Ring = npt.NDArray[np.float64]
"""(n, 2) corners x, y; the last is not the first again."""

LONGEST_EDGE = 64
"""Pixels of an edge at most where a map projection is left, in which straight lines are not straight."""

FINE, COARSE = 0.02, 0.1
"""Pixels by which edges may be off where areas are measured, and where outlines are written."""

SHORT_WAY = 50_000.0
"""Metres over which the Earth may be taken for flat: areas are off by less than a hundred-thousandth."""

LONLAT = "EPSG:4326"

# WGS 84 (EPSG:7030): semi-major axis in metres, and first eccentricity.
AXIS = 6_378_137.0
ECCENTRICITY = math.sqrt((2 - 1 / 298.257223563) / 298.257223563)


@dataclass(frozen=True, slots=True)
class Ground:
    """The place of a raster, in the types of rasterio: a coordinate system, and pixels -> its coordinates.

    on_earth: whether every pixel has a longitude and a latitude. Not so in local systems, and beyond the edge of the
    Earth as a geostationary satellite sees it.
    """

    crs: Any
    transform: Any
    on_earth: bool = True

    @classmethod
    def of(cls, dataset: Any) -> Ground | None:
        """The place of an open dataset, None if it does not say one."""
        if not dataset.crs or dataset.transform.is_identity:
            return None
        ground = cls(dataset.crs, dataset.transform)
        height, width = dataset.shape
        grid = np.stack(np.meshgrid(np.linspace(0, width, 17), np.linspace(0, height, 17)), axis=-1).reshape(-1, 2)
        return cls(dataset.crs, dataset.transform, bool(np.isfinite(ground.lonlat(grid)).all()))

    def own(self, ring: Ring) -> Ring:
        """The raster's own coordinates of pixel coordinates (n, 2)."""
        return through(self.transform, ring)

    def lonlat(self, ring: Ring) -> Ring:
        """Longitude and latitude (WGS 84) of pixel coordinates (n, 2), not finite where there are none."""
        x, y = self.own(ring).T
        try:
            moved = raster_library("warp").transform(self.crs, LONLAT, x, y)
        except _gdal_errors():  # no way leads from there to Earth
            return np.full_like(ring, np.nan)
        return np.stack(moved, axis=1)

    def pixel_of(self, lon: float, lat: float) -> Ring | None:
        """The pixel coordinates (1, 2) of a place, None if the coordinate system does not reach it."""
        try:
            x, y = raster_library("warp").transform(LONLAT, self.crs, [lon], [lat])
        except _gdal_errors():
            return None
        place = through(~self.transform, np.array([[x[0], y[0]]]))
        return place if np.isfinite(place).all() else None

    def square_metres(self, ring: Ring) -> float | None:
        """The area inside of pixel coordinates, None if nothing is known about lengths."""
        if not self.on_earth:
            return None if self._plane is None else abs(signed_area(ring)) * self._plane
        fine = self.refined(ring, FINE)
        both = np.stack([fine, (fine + np.roll(fine, -1, axis=0)) / 2], axis=1).reshape(-1, 2)  # corners and middles
        lonlat = self.lonlat(both)
        lon = np.unwrap(np.deg2rad(np.append(lonlat[:, 0], lonlat[0, 0])))
        x, y = (lon - lon[0]) * AXIS, authalic(np.append(lonlat[:, 1], lonlat[0, 1]))
        area = _under_parabolas(x, y)
        if abs(lon[-1] - lon[0]) > math.pi:
            pole = authalic(np.array([self._pole(ring, lonlat)]))[0]
            area += x[-1] * (pole - y[0])  # there and back along a meridian
        return float(abs(area))

    def on_sphere(self, ring: Ring) -> Ring:
        """Longitudes and latitudes of a ring in pixels: without jumps, with corners where a straight line would be off.

        A ring around a pole goes there and back along a meridian, so that it is closed in this plane.
        """
        lonlat = self.lonlat(self.refined(ring, COARSE))
        lon = np.rad2deg(np.unwrap(np.deg2rad(np.append(lonlat[:, 0], lonlat[0, 0]))))
        found = np.stack([lon[:-1], lonlat[:, 1]], axis=1)
        if abs(lon[-1] - lon[0]) < 180:
            return found
        pole = self._pole(ring, lonlat)
        return np.concatenate([found, [[lon[-1], lonlat[0, 1]], [lon[-1], pole], [lon[0], pole]]])

    def refined(self, ring: Ring, tolerance: float) -> Ring:
        """The ring with more corners, in pixels.

        tolerance: how far a straight line of longitude and latitude may lie from an edge, in pixels.
        """
        fine = split(ring)
        for _ in range(12):
            after = np.roll(fine, -1, axis=0)
            bent = self._bend(fine, after) > tolerance
            if not bent.any():
                break
            index = np.flatnonzero(bent)
            fine = np.insert(fine, index + 1, (fine[index] + after[index]) / 2, axis=0)
        return fine

    def _bend(self, start: Ring, end: Ring) -> npt.NDArray[np.float64]:
        """How far the middle of each edge lies from that of its straight line of longitude and latitude, in pixels."""
        first, middle, last = (self.lonlat(points) for points in (start, (start + end) / 2, end))
        across = np.stack([_turn(last[:, 0] - first[:, 0]), last[:, 1] - first[:, 1]])
        off = np.stack([_turn(middle[:, 0] - first[:, 0]), middle[:, 1] - first[:, 1]]) - across / 2
        width = np.cos(np.deg2rad(middle[:, 1]))
        length = np.hypot(across[0] * width, across[1])
        pixels = np.hypot(*(end - start).T)
        found: npt.NDArray[np.float64] = np.hypot(off[0] * width, off[1]) / np.maximum(length, 1e-12) * pixels
        return found

    def _pole(self, ring: Ring, lonlat: Ring) -> float:
        """The latitude of the pole that a ring goes around."""
        for lat in (90.0, -90.0):
            place = self.pixel_of(0.0, lat)
            if place is not None and _inside(ring, place[0]):
                return lat
        return math.copysign(90.0, float(lonlat[:, 1].mean()))

    def pixel_areas(self, top: int, bottom: int, width: int) -> npt.NDArray[np.float64] | None:
        """Square metres of the pixels of some rows (bottom - top, width), the same for neighbours in a row.

        None if nothing is known about lengths.
        """
        if not self.on_earth:
            return None if self._plane is None else np.full((bottom - top, width), self._plane)
        block = self._block(width, top)
        ends = np.unique(np.append(np.arange(0, width, block), width)).astype(np.float64)
        rows = np.arange(top, bottom + 1, dtype=np.float64)
        grid = np.stack(np.meshgrid(ends, rows), axis=-1)
        points = _on_authalic_sphere(self.lonlat(grid.reshape(-1, 2))).reshape(*grid.shape[:2], 3)
        falling, rising = points[1:, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, 1:]  # the diagonals
        areas = np.linalg.norm(np.cross(falling, rising), axis=-1) / 2
        counts = np.diff(ends).astype(int)
        found: npt.NDArray[np.float64] = np.repeat(areas / counts, counts, axis=1)
        return found

    def _block(self, width: int, row: int) -> int:
        """How many pixels of a row are measured together: `SHORT_WAY` metres at most, for which the Earth is flat."""
        columns = np.array([0, 1, width / 2, width / 2 + 1, width - 1, width])
        points = _on_authalic_sphere(self.lonlat(np.stack([columns, np.full(6, float(row))], axis=1)))
        longest = np.linalg.norm(points[1::2] - points[0::2], axis=1).max()
        return int(np.clip(SHORT_WAY // max(longest, 1e-6), 1, LONGEST_EDGE))

    @property
    def _plane(self) -> float | None:
        """Square metres of a pixel in the plane of the coordinate system, None for one of degrees."""
        units = re.findall(r'UNIT\["[^"]*",\s*([\d.eE+-]+)', self.crs.to_wkt())
        if self.crs.is_geographic or not units or "proj=geos" in self.crs.to_string():
            return None
        metres = float(units[-1])  # that of the axes comes last; rasterio names it for projections alone
        return float(abs(self.transform.determinant) * metres**2)


def area_inside(lonlat: Ring) -> float:
    """Square metres inside of straight lines of longitude and latitude, in degrees, on the ellipsoid."""
    return abs(signed_area(np.stack([np.deg2rad(lonlat[:, 0]) * AXIS, authalic(lonlat[:, 1])], axis=1)))


def _under_parabolas(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """The integral of x dy along a line of corners and middles in turn, through each three of which goes a parabola."""
    x0, xm, x1 = x[:-1:2], x[1::2], x[2::2]
    y0, ym, y1 = y[:-1:2], y[1::2], y[2::2]
    start, end = -3 * y0 + 4 * ym - y1, y0 - 4 * ym + 3 * y1  # dy at both ends; Simpson's rule is exact for cubics
    return float((x0 * start + 4 * xm * (y1 - y0) + x1 * end).sum()) / 6


def _on_authalic_sphere(lonlat: Ring) -> npt.NDArray[np.float64]:
    """Points (n, 3) in metres on the sphere whose areas are those of the ellipsoid."""
    pole = authalic(np.array([90.0]))[0]
    radius = math.sqrt(AXIS * pole)
    sine = authalic(lonlat[:, 1]) / pole
    lon, cosine = np.deg2rad(lonlat[:, 0]), np.sqrt(np.maximum(0, 1 - sine * sine))
    found: npt.NDArray[np.float64] = radius * np.stack([cosine * np.cos(lon), cosine * np.sin(lon), sine], axis=1)
    return found


def _turn(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Differences of longitudes, the short way around."""
    short: npt.NDArray[np.float64] = (degrees + 180) % 360 - 180
    return short


def _gdal_errors() -> tuple[type[Exception], ...]:
    """What rasterio raises where there is no transformation; it passes GDAL's own errors on, whose class is private."""
    return (ValueError, raster_library("errors").RasterioError, raster_library("_err").CPLE_BaseError)


def through(transform: Any, ring: Ring) -> Ring:
    """Points (n, 2) through an affine map; `affine` itself writes this in another way in every version."""
    matrix = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    moved: Ring = ring @ matrix.T + (transform.c, transform.f)
    return moved


def split(ring: Ring) -> Ring:
    """The ring with corners on its long edges."""
    after = np.roll(ring, -1, axis=0)
    counts = np.maximum(np.ceil(np.abs(after - ring).max(axis=1) / LONGEST_EDGE).astype(int), 1)
    start = np.repeat(np.arange(len(ring)), counts)
    share = (np.arange(len(start)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[start]
    found: Ring = ring[start] + share[:, None] * (after - ring)[start]
    return found


def signed_area(ring: Ring) -> float:
    """The area of a ring, positive where it turns counter-clockwise with y upwards."""
    x, y = (ring - ring[0]).T  # far from the origin, products of coordinates would lose what matters
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def authalic(lat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Latitudes in degrees -> y in metres of the cylinder of the same area as the ellipsoid.

    Snyder, Map Projections: A Working Manual, USGS 1395, 1987, equations 3-12 and 10-15 at a true scale of 0 degrees.
    """
    sine = np.sin(np.deg2rad(lat))
    e = ECCENTRICITY
    es = e * sine
    q = (1 - e * e) * (sine / (1 - es * es) - np.log((1 - es) / (1 + es)) / (2 * e))
    found: npt.NDArray[np.float64] = AXIS * q / 2
    return found


def _inside(ring: Ring, point: npt.NDArray[np.float64]) -> bool:
    """Whether a point lies inside of a ring: a ray to the right crosses it an odd number of times."""
    after = np.roll(ring, -1, axis=0)
    crosses = (ring[:, 1] > point[1]) != (after[:, 1] > point[1])
    share = (point[1] - ring[crosses, 1]) / (after[crosses, 1] - ring[crosses, 1])
    return bool(np.count_nonzero(ring[crosses, 0] + share * (after[crosses, 0] - ring[crosses, 0]) > point[0]) % 2)
