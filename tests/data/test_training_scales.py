"""Scales that belong to a training: each image by itself, and what lies outside cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia.data.bands import RGB, FileBands
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.decoders import DecodedImage
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.image_checks import checked_bands
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.value_range import Scale, ValueRange
from intarsia.io.whole_files import write_bytes

ZSCORE, CLIP = Scale.of(["zscore"]), Scale.of(["clip", -60, 300])


def image(dtype: str = "uint8") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(10, 200, (12, 14, 3)).astype(dtype)


def read(spec: ImageSpec, samples: np.ndarray[Any, Any], scale: Scale | None = None) -> np.ndarray[Any, Any]:
    roles = RGB if spec.bands == "rgb" else ("",) * samples.shape[2]
    return ImageReader(spec, scale=scale).convert(DecodedImage(samples, FileBands(roles)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", ["rgb", "raw"])
def test_each_band_of_an_image_has_mean_0_and_deviation_1(bands: Any, dtype: str) -> None:
    samples = image(dtype)
    found = read(ImageSpec(bands, 3, scale=ZSCORE), samples)
    assert found.dtype == np.float32
    values = samples.astype(np.float64)
    np.testing.assert_allclose(found, (values - values.mean((0, 1))) / values.std((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read(ImageSpec("raw", 3, scale=ZSCORE), found), found, atol=1e-5)  # once more is nothing


def test_an_image_of_one_value_is_0() -> None:
    assert not read(ImageSpec("raw", 1, scale=ZSCORE), np.full((4, 4, 1), 7, np.int16)).any()


def test_values_that_are_none_do_not_count() -> None:
    scale = ZSCORE.of_values(np.array([[1.0], [3.0], [np.nan]]))
    assert (scale.low, scale.high) == ((2.0,), (1.0,))
    assert not scale.depends_on_image


def test_what_lies_outside_is_cut_off() -> None:
    samples = np.array([[[-1000], [-10]], [[50], [1000]]], np.int16)
    np.testing.assert_array_equal(read(ImageSpec("raw", 1, scale=CLIP), samples)[..., 0], [[-60, -10], [50, 300]])
    pairs = Scale.of(["clip", 0, 1, 10, 20])
    np.testing.assert_array_equal(pairs.to_training(np.array([[5, 5]])), [[1, 10]])


def test_a_model_that_scales_itself_takes_no_other_scale() -> None:
    with pytest.raises(ValueError, match=r"scales each image itself \(zscore\).*leave --scale out"):
        read(ImageSpec("raw", 3, scale=ZSCORE), image(), Scale.parse("0,100"))
    for text in ("zscore", "clip,0,1"):
        with pytest.raises(ValueError, match="stands in the data description"):
            Scale.parse(text)


def test_values_that_are_cut_off_have_to_be_those_of_the_training() -> None:
    spec = ImageSpec("raw", 3, scale=CLIP, values=ValueRange("int16", -1000, 3000))
    with pytest.raises(ValueError, match="the model was trained on int16 numbers"):
        read(spec, image("uint8"))
    assert read(replace(spec, scale=ZSCORE), image("uint8")).dtype == np.float32


@pytest.mark.parametrize("scale", [ZSCORE, CLIP, Scale.of(["clip", 0, 1, 2, 3])])
def test_weights_keep_them(scale: Scale) -> None:
    spec = ImageSpec("raw", 2, scale=scale)
    assert ImageSpec.from_json(spec.to_json(), bands="rgb", channels=2) == spec


@pytest.mark.parametrize(
    "words", [["zscore", 1, 2], ["clip"], ["clip", "p1", "p99"], ["clip", 5, 5], ["zscore", "clip"]]
)
def test_anything_else_is_refused(words: list[Any]) -> None:
    with pytest.raises(ValueError, match="scale"):
        Scale.of(words)


def test_descriptions_have_them_for_raw_images_too() -> None:
    common: dict[str, Any] = {"names": (), "mean": None, "std": None}
    assert checked_bands("raw", 2, scale=("zscore",), **common) == "raw"
    with pytest.raises(DescriptionError, match=r"raw images are taken as they are, or with \[zscore\]"):
        checked_bands("raw", 2, scale=(0.0, 1.0), **common)
    named = {**common, "names": ("red", "nir")}
    with pytest.raises(DescriptionError, match="zscore leaves no numbers to compute"):
        checked_bands("raw", 3, indices=(("x", "nir - red"),), scale=("zscore",), **named)


def test_a_folder_has_them(tmp_path: Path) -> None:
    import cv2

    for folder, value in (("images", image()), ("labels", np.zeros((12, 14), np.uint8))):
        (tmp_path / folder).mkdir()
        write_bytes(tmp_path / folder / "a.png", cv2.imencode(".png", value)[1].tobytes())
    common: dict[str, Any] = {"root": str(tmp_path), "images": "images", "labels": "labels", "classes": ("a", "b")}
    dataset = FolderDataset(**common, image_suffix=".png", bands="raw", scale=["zscore"])
    np.testing.assert_allclose(dataset.load(0).image.mean((0, 1)), 0, atol=1e-5)
