"""Image files of which the rows below a crop are not decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import GREY, RGB, Bands, FileBands
from intarsia.data.decoders import read_by_opencv
from intarsia.data.exif import orientation_of
from intarsia.data.fast_jpeg import JpegRows
from intarsia.data.fast_png import PngRows


class TopRows:
    """An image (H, W, B) of 8 bits in a file that is decoded down to the last row that is asked for.

    bands_of: what its bands are.
    """

    dtype: Final[np.dtype[Any]] = np.dtype(np.uint8)

    def __init__(self, rows: PngRows | JpegRows, data: bytes, path: str | Path, bands: Bands) -> None:
        self.size = rows.size
        self.bands = 3 if bands == "rgb" else rows.bands
        self.bands_of = FileBands(RGB if self.bands == 3 else (GREY,))
        self._rows = rows
        self._file = data, path, bands

    @classmethod
    def of(cls, data: bytes, path: str | Path, bands: Bands) -> TopRows | None:
        """Of a file that has been looked at (`headers.checked`); None where it can only be decoded whole.

        bands, path: as for `decoders.read_by_opencv`.
        """
        rows = PngRows.of(data) or JpegRows.of(data)
        return None if rows is None or orientation_of(data) != 1 else cls(rows, data, path, bands)

    def rows(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The rows from `start` to before `stop` (n, W, B), which may not be written to.

        Raises ValueError naming the file if it is damaged.
        """
        try:
            found = self._rows.rows(start, stop)
        except ValueError:  # the usual decoder has the words for it, or fills in as it always does
            return read_by_opencv(*self._file).samples[start:stop]
        return np.repeat(found, 3, axis=2) if found.shape[2] < self.bands else found
