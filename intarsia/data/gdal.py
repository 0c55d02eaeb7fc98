"""Rasterio, which is an extra, and what its GDAL says about the bands of a file, in the words of `data/bands.py`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import GREY, PALETTE, FileBands
from intarsia.data.tiff import role_of


def raster_library(part: str = "") -> Any:
    """Rasterio, or a module of it. Raises ValueError naming the extra if it is not installed."""
    try:
        return importlib.import_module(f"rasterio.{part}" if part else "rasterio")
    except ImportError as error:
        raise ValueError(f'rasters and polygons need rasterio: pip install "intarsia[raster]" ({error})') from None


class _Quiet:
    """The filter of warnings while any thread wants it: `warnings.catch_warnings` of one would undo that of another."""

    def __init__(self) -> None:
        self._lock, self._wanted = Lock(), 0

    @contextmanager
    def about(self, category: type[Warning]) -> Iterator[None]:
        filters = cast("list[Any]", warnings.filters)
        entry = ("ignore", None, category, None, 0)
        with self._lock:
            self._wanted += 1
            if self._wanted == 1:
                filters.insert(0, entry)
        try:
            yield
        finally:
            with self._lock:
                self._wanted -= 1
                if not self._wanted and entry in filters:
                    filters.remove(entry)


_QUIET = _Quiet()


def without_place() -> AbstractContextManager[None]:
    """A file that lies nowhere on Earth is nothing to be warned of while this lasts, in any thread."""
    return _QUIET.about(raster_library("errors").NotGeoreferencedWarning)


def file_bands(source: Any) -> FileBands:
    """What an open dataset says about its bands; the orientation, which GDAL does not know, is left at 1."""
    structure = source.tags(ns="IMAGE_STRUCTURE")
    bits = source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "0")
    space = structure.get("SOURCE_COLOR_SPACE", "")
    file = FileBands(
        tuple(role_of(word(meaning)) for meaning in source.colorinterp),
        tuple((text or "").strip() for text in source.descriptions),
        bits=int(bits) if np.dtype(source.dtypes[0]).kind == "u" and bits.isdecimal() else 0,
        inverted=structure.get("MINISWHITE") == "YES",
        space="" if space in ("CMYK", "YCbCr") else space,  # GDAL makes RGB of these, or says what its bands are
    )
    if file.roles[0] == PALETTE and (two := _black_and_white(source.colormap(1))) is not None:
        return replace(file, roles=(GREY, *file.roles[1:]), bits=1, inverted=two)
    return file


def _black_and_white(colours: Mapping[int, tuple[int, ...]]) -> bool | None:
    """Whether the white of two colours comes first; None if they are others: so GDAL describes files of one bit."""
    if set(colours) != {0, 1}:
        return None
    first, second = colours[0][:3], colours[1][:3]
    black, white = (0, 0, 0), (255, 255, 255)
    return {(black, white): False, (white, black): True}.get((first, second))  # type: ignore[arg-type]


def palette(source: Any) -> npt.NDArray[np.uint8]:
    """The colours (n, 3), or (n, 4) with alpha, of a dataset whose first band holds indices, for each of its type.

    A BMP has no other greys than those of a palette: (n, 1).
    """
    colours = source.colormap(1)
    table = np.zeros((2 ** (8 * min(np.dtype(source.dtypes[0]).itemsize, 2)), 4), np.uint8)
    for value, colour in colours.items():
        table[value] = colour
    given = table[list(colours)]
    if source.driver == "BMP" and (given[:, :3] == given[:, :1]).all():
        return table[:, :1]
    return table if (given[:, 3] < 255).any() else table[:, :3]


def word(member: Any) -> str:
    """The name of one of rasterio's enumerations."""
    return str(member.name)
