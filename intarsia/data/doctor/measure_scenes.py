"""Looks at one cell of a scene: its pixels, and the labels there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.annotations.drawn import ClassValues
from intarsia.data.bands import Bands, rgb_bands
from intarsia.data.doctor.measure_labels import LabelFacts
from intarsia.data.gdal import file_bands, raster_library, without_place
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.scenes.dataset import open_scene
from intarsia.data.scenes.header import Stamp, stamp_of
from intarsia.data.scenes.label_rasters import LabelRaster
from intarsia.data.scenes.labels import inside, labels_of
from intarsia.data.scenes.rule import SceneWindow
from intarsia.data.scenes.scene import gdal_environment


@dataclass(frozen=True, slots=True)
class Cell:
    """image: (H, W, C) as a model is shown it; samples: (H, W, C) as they are stored. names: of its bands.

    valid: (H, W), where there is data, and labels where there are any. label: file values of the valid pixels, (H, W)
    or (H, W, 3) where all are valid, else (1, n) or (1, n, 3).
    """

    image: npt.NDArray[Any]
    samples: npt.NDArray[Any]
    bands: Bands
    names: tuple[str, ...]
    valid: npt.NDArray[np.bool_]
    label: npt.NDArray[Any] | None
    facts: LabelFacts | None


def read_cell(root: Path, window: SceneWindow, reader: ImageReader | None, classes: ClassValues) -> Cell:
    """The cell of a window. reader: None stands for rgb, unless the file holds more than 8 bits or other bands.

    Raises ValueError naming the file if the scene or its labels cannot be read.
    """
    path, area = root / window.scene, window.cell
    reader = reader if reader is not None else usual_reader(path)
    label, facts = None, None
    with gdal_environment():
        scene = open_scene(path, reader)
        image, valid = scene.pixels(area)
        is_stored = reader.spec.scale is None and not reader.spec.indices
        samples = image if is_stored else scene.pixels(area, stored=True)[0]
        labels = labels_of(root, window, classes)
        if labels is not None:
            values, known = labels.read(area)
            valid = valid & known
            if (areas := inside(root, window, area)) is not None:
                valid &= areas
            label = values if valid.all() else values[valid][None]
            size, dtype = (area.height, area.width), str(values.dtype)
            if isinstance(labels, LabelRaster):
                mode = "RGB" if values.ndim == 3 else str(values.dtype)
                facts = LabelFacts(mode, size, dtype, {}, nodata=labels.nodata)
            else:
                facts = LabelFacts("shapes", size, dtype, {})
    return Cell(image, samples, reader.bands, scene.names, valid, label, facts)


def usual_reader(path: Path) -> ImageReader:
    """Colours for 8 bits of grey, or of red, green and blue; else every band as it is stored."""
    return _usual_reader(path, stamp_of(path))


@lru_cache(maxsize=4096)
def _usual_reader(path: Path, stamp: Stamp) -> ImageReader:
    del stamp
    try:
        with without_place(), raster_library().open(path) as source:
            kinds, file = set(source.dtypes), file_bands(source)
    except raster_library("errors").RasterioError as error:
        raise ValueError(f"{path}: cannot be read as a raster: {error}") from None
    try:
        rgb_bands(file)
    except ValueError:
        kinds.add("other bands")
    is_rgb = kinds == {"uint8"} or "palette" in file.roles
    return ImageReader(ImageSpec("rgb") if is_rgb else ImageSpec("raw", 0))
