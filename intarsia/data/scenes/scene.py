"""Scenes: georeferenced images that are read window by window, as what a network expects.

Rasterio (the extra ``intarsia[raster]``) does the reading: GeoTIFF, JPEG 2000, VRT, and whatever else its GDAL knows.
What bands and values mean is decided by `data.image_reader`, as for images.

Shape letters: C channels that the network takes; B bands of the file; H, W height and width of an area.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.bands import PALETTE, FileBands, brightness, looked_up, upright
from intarsia.data.exif import orientation_of
from intarsia.data.gdal import file_bands, palette, raster_library, without_place, word
from intarsia.data.headers import JPEG, PNG
from intarsia.data.image_reader import ImageReader
from intarsia.data.scenes.georeference import Area, Turn, georeference, is_local
from intarsia.data.tiff import peek_header
from intarsia.terminal import Notice

CACHE = 128 * 2**20
"""Bytes of decoded blocks that GDAL keeps. Its own choice is a twentieth of the machine's memory."""

SAMPLE, SAMPLES = 256, 4
"""What is looked at before anything is computed: so many squares in a row and a column, of so many pixels a side."""

MOST_PIXELS = 2**42
"""Of a raster: the whole land of the Earth at six metres, or a header that lies."""

MOST_BETWEEN = 0.1
"""Share of an alpha band's pixels that may be neither clear nor opaque; with more of them it is no mask."""

REMOTE = {
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_LOW_SPEED_TIME": 60,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}
"""For rasters behind URLs: a server that does not answer is an error, and is not asked for other files beside them."""

Alpha = Literal["auto", "mask", "band"]


def endpoint() -> dict[str, str]:
    """Where S3 is, in GDAL's words, if that is said in those of AWS's own tools alone (AWS_ENDPOINT_URL)."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    scheme, _, host = url.rstrip("/").rpartition("://")
    return {
        "AWS_S3_ENDPOINT": host, "AWS_HTTPS": "NO" if scheme == "http" else "YES", "AWS_VIRTUAL_HOSTING": "FALSE",
    }  # fmt: skip


def gdal_environment() -> Any:
    """A context in which GDAL's cache is small and scenes without coordinates are no reason for a warning."""
    return raster_library().Env(GDAL_CACHEMAX=CACHE)


class Scene:
    """A raster of any size. Threads may share it; they wait for each other.

    location: a file, or what GDAL takes in place of one: a URL, s3://..., /vsi..., a subdataset.
    reader: what the network expects of bands and values. nodata: a value that marks pixels without data if all their
    bands have it, besides what the file says itself (nodata, masks, alpha, nan).
    alpha: whether a band that the file calls alpha and the network does not read is a "mask", or just a "band"; "auto":
    a mask, unless many of its pixels are neither clear nor opaque, as of near infrared that GDAL took for alpha.

    Raises ValueError if the file cannot be read, or its bands, type or values do not fit the network.
    """

    def __init__(
        self, location: str | Path, reader: ImageReader, *, nodata: float | None = None, alpha: Alpha = "auto"
    ) -> None:
        self.location, self._reader, self._nodata = str(location), reader, nodata
        self._lock = threading.Lock()
        self._remote = {} if is_local(self.location) else REMOTE | endpoint()
        with raster_library().Env(**self._remote):
            self._source = _opened(self.location)
        try:
            self._prepare(alpha)
        except ValueError as error:
            self._source.close()
            raise ValueError(f"{self.location}: {str(error).removeprefix(f'{self.location}: ')}") from None
        except BaseException:
            self._source.close()
            raise

    def _prepare(self, alpha: Alpha) -> None:
        source, reader = self._source, self._reader
        file = file_bands(source)
        if reader.bands == "rgb":
            file = replace(file, orientation=_orientation(self.location))
        self._turn = Turn(file.orientation, (source.height, source.width))
        self.size: Size = self._turn.size
        if self.size[0] * self.size[1] > MOST_PIXELS:
            raise ValueError(
                f"its header says {self.size[1]:,} x {self.size[0]:,} pixels, more than {MOST_PIXELS:,}, "
                "for which nobody could wait; if it is meant, cut it into parts"
            )
        self._table = palette(source) if file.roles[0] == PALETTE else None
        self._stored = file
        if self._table is not None:
            _, file = looked_up(np.zeros((1, 1, len(file.roles)), np.uint8), file, self._table)
        self._bands = reader.select(file)
        self._type = np.dtype(np.uint8) if self._table is not None else self._type_of(self._bands)
        self._has_nan = self._type.kind == "f"
        self._mask_kind = self._kind_of_mask(file, alpha)
        self._check_values()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # a thread that reads ahead may still be at it
            self._source.close()

    @property
    def name(self) -> str:
        """Of the file, for messages and results: the last part of its location."""
        return re.split(r"[/\\:]", self.location.partition("?")[0].rstrip("/"))[-1] or "scene"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the bands that are read, "" where the file does not say it."""
        if self._table is not None:
            return ("",) * len(self._bands)
        names = self._stored.names
        return tuple(names[band] for band in self._bands)

    @property
    def channels(self) -> int:
        """How many the network sees."""
        return len(self._bands) + len(self._reader.spec.indices)

    @property
    def bytes(self) -> int:
        """Of one stored pixel with its mask."""
        return len(self._bands) * self._type.itemsize + 1

    @property
    def place(self) -> dict[str, Any]:
        """Where the scene lies, in the words of rasterio's profiles."""
        return georeference(self._source, self._turn)

    @property
    def described(self) -> dict[str, str]:
        """What must not change while a run is interrupted."""
        path = Path(self.location)
        file = path.stat() if is_local(self.location) and path.exists() else None
        stamp = f", {file.st_size} bytes, of {file.st_mtime_ns}" if file else ""
        return {
            "scene": f"{self.name}{stamp}",
            "scene's size": "x".join(map(str, self.size)),
            "bands": ",".join(str(band + 1) for band in self._bands),
            **({"indices": repr(self._reader.spec.indices)} if self._reader.spec.indices else {}),
            "scale": repr(self._reader.scale),
            "nodata": repr(self._nodata),
            "mask": self._mask_kind,
        }

    # --- Pixels ---

    def read(self, area: Area) -> npt.NDArray[Any] | None:
        """Pixels (H, W, C) as the network expects them, those without data 0; None if there are no others."""
        image, valid = self.pixels(area)
        return image if valid.any() else None

    def pixels(self, area: Area, *, stored: bool = False) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Pixels (H, W, C) as the network expects them, those without data 0, and where there is data (H, W).

        stored: in the numbers that the file has.
        """
        place = self._turn.stored(area)
        with self._lock:
            valid = self._mask(place)
            shape = (*valid.shape, len(self._bands))
            samples = self._samples(place) if valid.any() else np.zeros(shape, self._type)
        valid &= self._meaningful(samples)
        bits = max(self._stored.bits, 8) if self._stored.bits else 0
        image = samples if stored else self._reader.in_range(samples, bits)
        if image is samples:
            image = image.copy()
        image[~valid] = 0
        turn = self._turn.orientation
        return np.ascontiguousarray(upright(image, turn)), np.ascontiguousarray(upright(valid, turn))

    def valid(self, area: Area) -> npt.NDArray[np.bool_]:
        """(H, W): where there is data."""
        stored = self._turn.stored(area)
        with self._lock:
            valid = self._mask(stored)
            if (self._nodata is not None or self._has_nan) and valid.any():
                valid &= self._meaningful(self._samples(stored))
        return upright(valid, self._turn.orientation)

    def _samples(self, area: Area) -> npt.NDArray[Any]:
        """The network's bands (H, W, C) of a stored area, as they are stored but for palettes and black and white."""
        if self._table is not None:
            samples, _ = looked_up(self._read(area, range(self._source.count)), self._stored, self._table)
            return samples[:, :, list(self._bands)]
        return brightness(self._read(area, self._bands), self._stored)

    def _read(self, area: Area, bands: Any) -> npt.NDArray[Any]:
        with self._reading(area):
            pixels = self._source.read([band + 1 for band in bands], window=_window(area))
        samples = np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
        return samples.astype(np.float32) if samples.dtype.kind == "f" else samples

    @contextmanager
    def _reading(self, area: Area) -> Iterator[None]:
        """Errors of the file are told of it and of the place."""
        try:
            with raster_library().Env(**self._remote):
                yield
        except raster_library("errors").RasterioError as error:
            raise ValueError(f"{self.location}: rows from {area.top}, columns from {area.left}: {error}") from None

    def _meaningful(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """(H, W): where the values of (H, W, C) themselves mean something."""
        valid: npt.NDArray[np.bool_] = np.ones(samples.shape[:2], np.bool_)
        if self._has_nan:
            valid &= np.isfinite(samples).all(axis=2)
        if self._nodata is not None:
            valid &= (samples != self._nodata).any(axis=2)
        return valid

    def _type_of(self, bands: tuple[int, ...]) -> np.dtype[Any]:
        found = np.result_type(*{self._source.dtypes[band] for band in bands})
        return np.dtype(np.float32) if found.kind == "f" else found

    # --- What is no data ---

    def _kind_of_mask(self, file: FileBands, alpha: Alpha) -> str:
        """Where the file says what is no data: "none", "alpha", "file" (a mask of its own) or "nodata" (values)."""
        flags = {word(flag) for band in self._source.mask_flag_enums for flag in band}
        if flags <= {"all_valid"}:
            return "none"
        if "alpha" not in flags:
            return "file" if "per_dataset" in flags else "nodata"
        # A palette's own alpha is one of the bands that were looked up; the file's comes after them.
        beside = file.alpha_beside(self._bands)
        if beside is None or alpha == "band":
            return "none"
        if alpha == "auto" and (between := self._between_clear_and_opaque()) > MOST_BETWEEN:
            warnings.warn(
                f"{self.location}: the file calls a band alpha in which {between:.0%} of the pixels are neither clear "
                "nor opaque: it is taken for a band like others, and masks nothing; if it is a mask, say --alpha mask",
                Notice,
                stacklevel=2,
            )
            return "none"
        return "alpha"

    def _between_clear_and_opaque(self) -> float:
        band = self._alpha_band()
        opaque = np.iinfo(self._source.dtypes[band]).max if np.dtype(self._source.dtypes[band]).kind in "iu" else 1
        values = np.concatenate([self._read(area, [band]).ravel() for area in self._sample_areas()])
        return float(((values > 0) & (values < opaque)).mean())

    def _alpha_band(self) -> int:
        return [word(meaning) for meaning in self._source.colorinterp].index("alpha")

    def _mask(self, area: Area) -> npt.NDArray[np.bool_]:
        """(H, W): where the file says that a stored area holds data."""
        window = _window(area)
        if self._mask_kind == "none":
            return np.ones((area.height, area.width), np.bool_)
        if self._mask_kind == "alpha":
            return self._read(area, [self._alpha_band()])[:, :, 0] > 0
        if self._mask_kind == "file":
            with self._reading(area):
                mask: npt.NDArray[np.uint8] = self._source.read_masks(1, window=window)
            return mask > 0
        # A pixel is missing if all bands say so, whichever of them the network reads.
        with self._reading(area):
            masks: npt.NDArray[np.uint8] = self._source.read_masks(window=window)
        valid: npt.NDArray[np.bool_] = np.asarray(masks.any(axis=0))
        return valid

    # --- What is looked at before anything is computed ---

    def _sample_areas(self) -> Iterator[Area]:
        """Squares all over the stored raster, or all of a small one."""
        height, width = self._source.height, self._source.width
        for top in _spread(height):
            for left in _spread(width):
                yield Area(top, left, min(SAMPLE, height - top), min(SAMPLE, width - left))

    def _check_values(self) -> None:
        nothing = np.zeros((1, len(self._bands)), self._type)
        found = [nothing[:0]]
        for area in self._sample_areas() if self._reader.needs_values(self._type) else ():
            samples = self._samples(area)
            found.append(samples[self._mask(area) & self._meaningful(samples)])
        values = np.concatenate(found)  # (n, C)
        self._reader.check(
            values if len(values) else nothing, self._stored.bits if self._stored.bits > 8 else 0, strict=True
        )
        if self._reader.depends_on_image:
            self._reader = self._reader.of_values(values)


def _spread(length: int) -> list[int]:
    """Where sampled squares begin along one side."""
    if length <= SAMPLE * SAMPLES:
        return list(range(0, length, SAMPLE))
    return [index * (length - SAMPLE) // (SAMPLES - 1) for index in range(SAMPLES)]


def _opened(location: str) -> Any:
    rasterio, errors = raster_library(), raster_library("errors")
    try:
        with without_place():
            source = rasterio.open(location)
    except errors.RasterioError as error:
        reason = "no such file" if is_local(location) and not Path(location).exists() else str(error)
        raise ValueError(f"{location}: cannot be read as a raster: {reason.removeprefix(f'{location}: ')}") from None
    if source.count == 0:
        parts = source.subdatasets
        source.close()
        raise ValueError(
            f"{location}: it holds {len(parts)} rasters and none by itself; name one of them: {', '.join(parts[:3])}"
        )
    if len(source.subdatasets) > 1:
        warnings.warn(
            f"{location}: it holds {len(source.subdatasets)} rasters, of which the first is predicted; others by name: "
            f"{source.subdatasets[1]}",
            Notice,
            stacklevel=3,
        )
    return source


def _orientation(location: str) -> int:
    """How a local file of a format with orientations is to be turned."""
    path = Path(location)
    if not is_local(location) or not path.is_file():
        return 1
    with open(path, "rb") as file:
        front = file.read(12)
    if front.startswith((JPEG, PNG, b"RIFF")):
        return orientation_of(path.read_bytes())
    header = peek_header(path)
    return 1 if header is None else header.file.orientation


def _window(area: Area) -> Any:
    return raster_library("windows").Window(area.left, area.top, area.width, area.height)
