"""Images and labels as arrays of which only some rows are read or decoded, in the form that a data set gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import Bands
from intarsia.data.decoders import DecodedImage
from intarsia.data.image_io import decode_from_top, label_from_top, read_label
from intarsia.data.image_reader import ImageReader
from intarsia.data.instance_ids import ClassOf
from intarsia.data.labels import LabelTable
from intarsia.data.packed.reader import Plane
from intarsia.data.rows import RowArray
from intarsia.data.top_rows import TopRows


def image_rows(plane: Plane | TopRows, reader: ImageReader | None, bands: Bands) -> RowArray:
    """The image (H, W, C) as a reader gives it, or without one as `image_io.read_image` does.

    Raises ValueError for a reader that it is not for.
    """
    file = plane.bands_of
    channels = 3 if bands == "rgb" else plane.bands
    if reader is not None:
        assert not reader.depends_on_image, "rows do not tell what the whole image holds"
        channels = len(reader.select(file)) + len(reader.spec.indices)

    def read(start: int, stop: int) -> npt.NDArray[Any]:
        decoded = DecodedImage(plane.rows(start, stop), file)
        if reader is not None:
            return reader.convert(decoded)
        return decoded.rgb() if bands == "rgb" else decoded.samples

    dtype: np.dtype[Any] | None = None
    if bands == "rgb":
        dtype = np.dtype(np.uint8)
    elif reader is None:
        dtype = plane.dtype
    elif isinstance(plane, TopRows):  # asking for rows is asking for work
        dtype = reader.convert(DecodedImage(np.zeros((1, 1, plane.bands), plane.dtype), file)).dtype
    return RowArray((*plane.size, channels), read, dtype, decodes=isinstance(plane, TopRows))


def file_rows(path: str | Path, reader: ImageReader | None, bands: Bands) -> RowArray | npt.NDArray[Any]:
    """As `image_rows`, of an image file; the array itself where the file can only be decoded whole.

    Raises ValueError naming the file if it cannot be read, or the reader is not for it.
    """
    mode = bands if reader is None else reader.decodes
    found = decode_from_top(path, bands=mode, max_pixels=None if reader is None else reader.max_pixels)
    try:
        if isinstance(found, TopRows):
            return image_rows(found, reader, bands)
        if reader is not None:
            return reader.convert(found)
        return found.rgb() if bands == "rgb" else found.samples
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def file_label_rows(path: str, table: LabelTable) -> RowArray | None:
    """The class indices (H, W) of a label file that is decoded by rows; None for one that can only be decoded whole.

    Raises ValueError naming the file if it cannot be read.
    """
    dtype = table.dtype_of_greys
    found = None if dtype is None else label_from_top(path)
    if found is None:
        return None

    def read(start: int, stop: int) -> npt.NDArray[Any]:
        try:
            values = found.rows(start, stop)[:, :, 0]
        except ValueError:  # damaged: the usual decoder has the words for it
            values = read_label(path)[start:stop]
        return table.apply(values, file=path)

    return RowArray(found.size, read, dtype, decodes=True)


def label_rows(plane: Plane, table: LabelTable, class_of: ClassOf | None, *, file: str) -> RowArray:
    """The class indices (H, W) of a label. `file` is named in errors."""

    def read(start: int, stop: int) -> npt.NDArray[Any]:
        values = plane.rows(start, stop)[:, :, 0]
        return table.apply(values if class_of is None else class_of.apply(values), file=file)

    return RowArray(plane.size, read)
