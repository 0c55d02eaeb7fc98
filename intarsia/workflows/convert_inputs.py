"""The several images of each sample as one TIFF of all bands, for convert_data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.data.description.pairing import Source
from intarsia.data.description.splits import FolderSplit, Split
from intarsia.data.gdal import raster_library, without_place
from intarsia.data.slices import without_suffix
from intarsia.data.stack import channel_names
from intarsia.io.whole_files import whole_file

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

IMAGES = "images"
_SUFFIX = ".tif"
_PREDICTORS = {"u": 2, "i": 2, "f": 3}
"""TIFF's numbers for differences of neighbours, of integers and of real numbers."""


def stacked_file(out: Path, image: str) -> Path:
    """The file for all images of the sample whose first image this is."""
    return out / IMAGES / f"{without_suffix(image)}{_SUFFIX}"


def save_stack(path: Path, image: npt.NDArray[Any], names: tuple[str, ...]) -> None:
    """Write an image (H, W, C) as a TIFF with named bands, in its own type of numbers, losslessly compressed.

    Raises ValueError for a type that the format does not have, and without rasterio.
    """
    rasterio = raster_library()
    height, width, bands = image.shape
    if not rasterio.dtypes.check_dtype(image.dtype):
        raise ValueError(
            f"{path}: the images of the sample are {image.dtype} numbers, which a TIFF does not hold; store them as "
            "float32 or as integers"
        )
    with whole_file(path) as part, without_place(), rasterio.open(
        part, "w", driver="GTiff", count=bands, height=height, width=width, dtype=image.dtype, compress="deflate",
        predictor=_PREDICTORS.get(image.dtype.kind, 1), photometric="MINISBLACK", alpha="NO", interleave="pixel",
        bigtiff="IF_SAFER",
    ) as target:  # fmt: skip
        target.write(np.ascontiguousarray(np.moveaxis(image, 2, 0)))
        target.descriptions = names


def with_stacks(description: DataDescription, out: Path, splits: tuple[str, ...]) -> DataDescription:
    """The data as what was written into `out`, with the lists of these splits beside it."""
    source = Source(IMAGES, "labels", image_suffix=(_SUFFIX,), label_suffix=(".png",))
    rules: dict[str, Split] = {split: FolderSplit(source, f"{split}.txt") for split in splits}
    names = channel_names(description.inputs)
    return replace(description, root=out, splits=rules, inputs=(), names=names, channels=len(names))
