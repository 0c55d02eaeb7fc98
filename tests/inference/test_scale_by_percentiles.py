"""Percentiles of an image's own values: of files, arrays and rasters alike, whatever range they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.scene import Scene
from intarsia.data.value_range import Scale, ValueRange
from intarsia.inference.inputs.arrays import as_array

VALUES = np.random.default_rng(0).integers(300, 9000, (3, 60, 70)).astype(np.uint16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    profile = {"driver": "GTiff", "height": 60, "width": 70, "count": 3, "dtype": "uint16", "photometric": "RGB"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as target:
        target.write(VALUES)
    return tmp_path / "a.tif"


def expected(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    image = np.moveaxis(VALUES, 0, 2).astype(np.float64)
    return np.rint(np.clip((image - low) * (255 / (high - low)), 0, 255))


@pytest.mark.parametrize("text", ["p2,p98", "p2,p98,p0,p100,p10,p90"])
@pytest.mark.parametrize("trained", [True, False])
def test_files_arrays_and_rasters_agree(file: Path, text: str, trained: bool) -> None:
    scale = Scale.parse(text)
    if trained:  # weights that were trained on dim images take any
        reader = ImageReader(ImageSpec(values=ValueRange("uint16", 0, 50), scale=scale))
    else:
        reader = ImageReader(ImageSpec(values=ValueRange("uint8", 0, 255)), scale=scale)
    pixels = np.moveaxis(VALUES, 0, 2).reshape(-1, 3)
    if text.count("p") == 2:
        low, high = np.percentile(pixels, [2, 98])
    else:
        pairs = [(2, 98), (0, 100), (10, 90)]
        low, high = np.transpose([np.percentile(pixels[:, band], pair) for band, pair in enumerate(pairs)])
    image = reader.read(file)
    assert np.abs(image - expected(low, high)).max() <= 1
    assert np.array_equal(as_array(np.moveaxis(VALUES, 0, 2), reader), image)
    with Scene(file, reader) as scene:
        window = scene.read(Area(5, 7, 20, 30))
    assert np.array_equal(window, image[5:25, 7:37])


def test_pairs_for_another_number_of_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="one for each of 3 bands, found 2 pairs"):
        ImageReader(scale=Scale.parse("p1,p99,p2,p98"))


def test_numbers_that_are_not_finite_are_refused_before_they_are_scaled() -> None:
    image = np.moveaxis(VALUES, 0, 2).astype(np.float32)
    image[3, 4, 1] = np.nan
    for scale in ("0,9000", "p2,p98"):
        with pytest.raises(ValueError, match=r"found 1 of 12600 that are nan or infinite; .*nan_to_num"):
            as_array(image, ImageReader(scale=Scale.parse(scale)))
