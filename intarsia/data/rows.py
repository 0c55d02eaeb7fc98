"""Arrays of which only the rows that somebody looks at are read: what a packed image is to a crop, or a file that is
decoded from the top.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample


class RowArray:
    """An array (H, W) or (H, W, C) that is read by rows. In a `Sample` it stands for the array that it would be.

    shape: of all of it. read: (first row, the one behind the last) -> these rows, which nobody writes to. dtype: of the
    values; None where only they tell it. decodes: whether reading takes a decoder, whose time counts.
    Only transforms that say `reads_rows` are given one; see `data/pipeline.py`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        read: Callable[[int, int], npt.NDArray[Any]],
        dtype: np.dtype[Any] | None = None,
        *,
        decodes: bool = False,
    ) -> None:
        self.shape = shape
        self.decodes = decodes
        self.measured: Callable[[], AbstractContextManager[None]] = nullcontext
        """What reading happens in: a measurement of time."""
        self._dtype = dtype
        self.ndim = len(shape)
        self._read = read
        self._found = (0, 0, np.empty(0))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.rows(0, 1).dtype if self._dtype is None else self._dtype

    @property
    def nbytes(self) -> int:
        """Of all of it."""
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Some rows. The last that were read are kept, since a crop may ask for its labels again."""
        first, last, kept = self._found
        if not first <= start < stop <= last:
            with self.measured():
                first, last, kept = start, stop, self._read(start, stop)
            self._found = (first, last, kept)
        return kept[start - first : stop - first]


def rows_of(array: npt.NDArray[Any], start: int, stop: int) -> npt.NDArray[Any]:
    """Some rows of an array, or of what stands for one."""
    return array.rows(start, stop) if isinstance(array, RowArray) else array[start:stop]


def as_array(rows: RowArray | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """In the place of an array."""
    return cast("npt.NDArray[Any]", rows)


def load_rows(dataset: Any, index: int) -> Sample | None:
    """A sample of which rows are read when they are looked at; None from a data set that has no such."""
    found = getattr(dataset, "load_rows", None)
    return None if found is None else found(index)
