"""Scenes: georeferenced images that are read window by window, as what a network expects.

Rasterio (the extra ``intarsia[raster]``) does the reading: GeoTIFF, JPEG 2000, VRT, and whatever else its GDAL knows.

Shape letters: C channels that the network takes; H, W height and width of a window.
"""

from __future__ import annotations

import importlib
import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size

CACHE = 128 * 2**20
"""Bytes of decoded blocks that GDAL keeps. Its own choice is a twentieth of the machine's memory."""

SUGGESTION = 1024
"""Side of the square in the middle of a scene whose values a message about scaling is taken from."""

_COLOURS = ("red", "green", "blue")


def raster_library(part: str = "") -> Any:
    """Rasterio, or a module of it. Raises ValueError naming the extra if it is not installed."""
    try:
        return importlib.import_module(f"rasterio.{part}" if part else "rasterio")
    except ImportError as error:
        raise ValueError(f'rasters and polygons need rasterio: pip install "intarsia[raster]" ({error})') from None


def quiet() -> Any:
    """A context in which GDAL's cache is small and scenes without coordinates are no reason for a warning."""
    return raster_library().Env(GDAL_CACHEMAX=CACHE)


@dataclass(frozen=True, slots=True)
class Scale:
    """From stored values to 0..255: linearly between low and high, clipped and rounded.

    low, high: one number each for all channels, or one for each. "training" in place of them, `as_training`, drops the
    lower eight of sixteen bits, which is what becomes of images of 16 bits when a model is trained on them.
    """

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    as_training: bool = False

    @classmethod
    def parse(cls, text: str) -> Scale:
        """From "MIN,MAX", "MIN,MAX,MIN,MAX,..." with a pair for each channel, or "training"; else ValueError."""
        if text == "training":
            return cls(as_training=True)
        try:
            numbers = [float(word) for word in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or len(numbers) % 2 or not np.isfinite(numbers).all():
            raise ValueError(f"--scale takes MIN,MAX, or a pair for each band, or 'training'; found {text!r}")
        scale = cls(tuple(numbers[::2]), tuple(numbers[1::2]))
        if any(low >= high for low, high in zip(scale.low, scale.high, strict=True)):
            raise ValueError(f"--scale: each MIN must be below its MAX, found {text!r}")
        return scale

    def __call__(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Stored values (C, H, W) -> 0..255."""
        if self.as_training:
            return (pixels >> 8).astype(np.uint8)
        low, high = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (self.low, self.high))
        scaled = (pixels.astype(np.float32) - low) * (255 / (high - low))
        with np.errstate(invalid="ignore"):  # nan is nodata, and replaced by who asks
            scaled = np.nan_to_num(np.rint(np.clip(scaled, 0, 255)))
        return scaled.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of a scene, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Scene:
    """A raster of any size. Threads may share it; they wait for each other.

    channels: how many the network takes. bands: which of the scene these are, counted from 1, in order; by default
    its colours if `expects` is "colour", or all but an alpha band. scale: see `Scale`. nodata: a value that marks
    pixels without data if all their bands have it, besides what the file says itself (nodata, masks, alpha, nan).
    expects: "colour" for a network trained on 8-bit colours, "stored" for one that saw stored values.

    Raises ValueError if the file cannot be read, or its bands or type do not fit the network.
    """

    def __init__(
        self,
        path: Path,
        *,
        channels: int,
        expects: Literal["colour", "stored"] = "colour",
        bands: Sequence[int] | None = None,
        scale: Scale | None = None,
        nodata: float | None = None,
    ) -> None:
        self.path, self._nodata, self._scale = path, nodata, scale
        self._lock = threading.Lock()
        self._source = _opened(path)
        try:
            self.size: Size = (self._source.height, self._source.width)
            self.bands = _bands(self._source, channels, expects, bands)
            self._colours = self._colour_table(expects)
            self._masked = any("all_valid" not in map(_word, flags) for flags in self._source.mask_flag_enums)
            self._check_type(expects)
        except BaseException:
            self._source.close()
            raise

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # a thread that reads ahead may still be at it
            self._source.close()

    @property
    def bytes(self) -> int:
        """Of one stored pixel with its mask."""
        return len(self.bands) * self._type.itemsize + 1

    @property
    def place(self) -> dict[str, Any]:
        """Where the scene lies, in the words of rasterio's profiles: crs and transform, or ground control points."""
        points, crs = self._source.gcps
        if points and self._source.transform.is_identity:
            return {"crs": crs, "gcps": points}
        return {"crs": self._source.crs, "transform": self._source.transform}

    @property
    def described(self) -> dict[str, str]:
        """What must not change while a run is interrupted."""
        file = self.path.stat() if self.path.exists() else None
        return {
            "scene": f"{self.path.name}, {file.st_size if file else '?'} bytes, of {file.st_mtime_ns if file else '?'}",
            "scene's size": "x".join(map(str, self.size)),
            "bands": ",".join(map(str, self.bands)),
            "scale": repr(self._scale),
            "nodata": repr(self._nodata),
        }

    def read(self, area: Area) -> npt.NDArray[Any] | None:
        """Pixels (H, W, C) as the network expects them, those without data 0; None if there are no others."""
        with self._lock:
            valid = self._mask(area)
            pixels = self._pixels(area) if valid.any() else None
        if pixels is None:
            return None
        valid &= self._told(pixels)
        if not valid.any():
            return None
        if self._colours is not None:
            pixels = self._colours[pixels[0]].transpose(2, 0, 1)
        elif self._scale is not None:
            pixels = self._scale(pixels)
        image = np.ascontiguousarray(pixels.transpose(1, 2, 0))
        image[~valid] = 0
        return image

    def valid(self, area: Area) -> npt.NDArray[np.bool_]:
        """(H, W): where there is data."""
        with self._lock:
            valid = self._mask(area)
            if (self._nodata is not None or self._is_float) and valid.any():
                valid &= self._told(self._pixels(area))
        return valid

    def _mask(self, area: Area) -> npt.NDArray[np.bool_]:
        if not self._masked:
            return np.ones((area.height, area.width), np.bool_)
        mask: npt.NDArray[np.uint8] = self._source.dataset_mask(window=_window(area))
        return mask > 0

    def _pixels(self, area: Area) -> npt.NDArray[Any]:
        try:
            pixels: npt.NDArray[Any] = self._source.read(list(self.bands), window=_window(area))
        except raster_library("errors").RasterioError as error:
            raise ValueError(f"{self.path}: rows from {area.top}, columns from {area.left}: {error}") from None
        return pixels

    def _told(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """(H, W): where the values of (C, H, W) themselves mean something."""
        valid: npt.NDArray[np.bool_] = np.ones(pixels.shape[1:], np.bool_)
        if self._is_float:
            valid &= np.isfinite(pixels).all(axis=0)
        if self._nodata is not None:
            valid &= (pixels != self._nodata).any(axis=0)
        return valid

    @property
    def _type(self) -> np.dtype[Any]:
        types = {self._source.dtypes[band - 1] for band in self.bands}
        return np.result_type(*types)

    @property
    def _is_float(self) -> bool:
        return self._type.kind == "f"

    def _colour_table(self, expects: str) -> npt.NDArray[np.uint8] | None:
        """(256, 3) if the scene holds numbers of colours and the network wants the colours."""
        first = self._source.colorinterp[0]
        if expects != "colour" or _word(first) != "palette" or set(self.bands) != {1}:
            return None
        table = np.zeros((256, 3), np.uint8)
        for value, colour in self._source.colormap(1).items():
            table[value] = colour[:3]
        return table

    def _check_type(self, expects: str) -> None:
        found, scale = self._type, self._scale
        if found.kind not in "iuf":
            raise ValueError(f"{self.path}: expected integers or floating-point numbers, found {found}")
        if scale is not None and scale.as_training and found != np.uint16:
            raise ValueError(f"{self.path}: --scale training is for images of 16 bits, found {found}; give MIN,MAX")
        if scale is not None and not scale.as_training and len(scale.low) not in (1, len(self.bands)):
            raise ValueError(
                f"--scale: expected one pair MIN,MAX or one for each of {len(self.bands)} bands, "
                f"found {len(scale.low)} pairs"
            )
        if expects == "colour" and found != np.uint8 and scale is None:
            raise ValueError(
                f"{self.path}: the model was trained on colours of 8 bits, the scene holds {found}; say which values "
                f"become 0 and 255: {self._suggested()}"
                + (", or --scale training if it was trained on such images" if found == np.uint16 else "")
            )

    def _suggested(self) -> str:
        height, width = (min(SUGGESTION, length) for length in self.size)
        pixels = self._pixels(Area((self.size[0] - height) // 2, (self.size[1] - width) // 2, height, width))
        pixels = pixels[:, self._told(pixels)]
        if not pixels.size or pixels.min() == pixels.max():
            return "--scale MIN,MAX"
        low, high = np.percentile(pixels, [2, 98])
        low, high = (low, high) if low < high else (pixels.min(), pixels.max())
        return f"--scale {low:.6g},{high:.6g} (2 % and 98 % of its middle)"


def _opened(path: Path) -> Any:
    rasterio, errors = raster_library(), raster_library("errors")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.NotGeoreferencedWarning)
            return rasterio.open(path)
    except errors.RasterioError as error:
        reason = "no such file" if not path.exists() and "://" not in str(path) else str(error)
        raise ValueError(f"{path}: cannot be read as a raster: {reason.removeprefix(f'{path}: ')}") from None


def parse_bands(text: str) -> tuple[int, ...]:
    """From "3,2,1"; ValueError for anything else."""
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise ValueError(f"--bands takes numbers of bands, counted from 1, such as 3,2,1; found {text!r}")
    return tuple(map(int, text.split(",")))


def _bands(source: Any, channels: int, expects: str, chosen: Sequence[int] | None) -> tuple[int, ...]:
    meanings = [_word(meaning) for meaning in source.colorinterp]
    if chosen is not None:
        missing = [band for band in chosen if not 1 <= band <= source.count]
        if missing or len(chosen) != channels:
            raise ValueError(
                f"--bands: expected {channels} bands among 1..{source.count} for this model and scene, "
                f"found {','.join(map(str, chosen))}"
            )
        return tuple(chosen)
    data = [number for number, meaning in enumerate(meanings, 1) if meaning != "alpha"]
    if expects == "colour" and channels == 3:
        if all(meanings.count(colour) == 1 for colour in _COLOURS):
            return tuple(meanings.index(colour) + 1 for colour in _COLOURS)
        if len(data) == 1:
            return (data[0],) * 3
    if len(data) == channels:
        return tuple(data)
    names = (source.descriptions[number - 1] or meanings[number - 1] for number in data)
    raise ValueError(
        f"{source.name}: the model takes {channels} bands, the scene has {len(data)} "
        f"({', '.join(f'{number} {name}' for number, name in zip(data, names, strict=True))}): choose them, in the "
        f"order of the model's channels, with --bands {','.join(map(str, range(1, channels + 1)))} for example"
    )


def _window(area: Area) -> Any:
    return raster_library("windows").Window(area.left, area.top, area.width, area.height)


def _word(member: Any) -> str:
    """The name of one of rasterio's enumerations."""
    return str(member.name)
