"""Resizing by Pillow: to the bit what its own `Image.resize` gives, labels too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from intarsia.contracts import Sample
from intarsia.data.transforms.geometry import RandomCrop, ResizeThenCrop
from intarsia.data.transforms.resize import (
    RandomChoiceResize,
    RandomResize,
    Resize,
    ResizeShortestEdge,
    ResizeToMultiple,
    nearest_window,
    resize_array,
)

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "lanczos", "hamming")
SIZES = ((20, 31), (90, 70), (47, 200), (1, 1))
IMAGE = np.random.default_rng(0).integers(0, 256, (47, 60, 3), dtype=np.uint8)
LABEL = np.random.default_rng(1).integers(0, 19, (47, 60), dtype=np.uint8)


def by_pillow(array: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """As MMCV resizes with backend='pillow'."""
    return np.asarray(Image.fromarray(array).resize(size[::-1], Image.Resampling[interpolation.upper()]))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", SIZES)
def test_images_and_labels_are_those_of_pillow(interpolation: Any, size: tuple[int, int]) -> None:
    found = Resize(size[::-1], interpolation=interpolation, backend="pillow")(
        Sample(IMAGE, LABEL), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(found.image, by_pillow(IMAGE, size, interpolation))
    np.testing.assert_array_equal(found.label, by_pillow(LABEL, size, "nearest"))


def test_the_nearest_pixel_is_not_that_of_opencv() -> None:
    """Which is why labels are asked for by the same name as images."""
    for size in ((20, 31), (90, 70)):
        assert not np.array_equal(resize_array(LABEL, size, "nearest"), resize_array(LABEL, size, "nearest", "pillow"))


def test_windows_of_labels_of_any_type_are_those_of_pillow() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        old, new = ((int(a), int(b)) for a, b in rng.integers(1, 300, (2, 2)))
        label = rng.integers(0, 256, old, dtype=np.uint8)
        top, left = int(rng.integers(new[0])), int(rng.integers(new[1]))
        size = new[0] - top, new[1] - left
        expected = by_pillow(label, new, "nearest")[top:, left:]
        np.testing.assert_array_equal(nearest_window(label, new, (top, left), size, "pillow"), expected)
        wide = nearest_window(label.astype(np.uint16) * 200, new, (top, left), size, "pillow")
        np.testing.assert_array_equal(wide, expected.astype(np.uint16) * 200)


@pytest.mark.parametrize(
    "transform",
    [
        Resize(scale_factor=0.7, keep_ratio=True, interpolation="bicubic", backend="pillow"),
        RandomResize((80, 40), (0.8, 2.0), keep_ratio=True, backend="pillow"),
        RandomChoiceResize([(80, 70), (90, 75)], interpolation="hamming", backend="pillow"),
        RandomChoiceResize([40, 50], resize_type="ResizeShortestEdge", max_size=90, backend="pillow"),
        ResizeShortestEdge(40, 200, interpolation="lanczos", backend="pillow"),
        ResizeToMultiple(32, interpolation="box", backend="pillow"),
    ],
)
def test_every_transform_with_a_crop_behind_it(transform: Any) -> None:
    """Each transform resizes by Pillow, and a crop in the same step gives the same pixels as one after it."""
    given = Sample(IMAGE, LABEL, maps={"edges": LABEL, "depth": LABEL.astype(np.float32)})
    whole = transform(given, np.random.default_rng(5))
    size = whole.image.shape[:2]
    np.testing.assert_array_equal(whole.image, by_pillow(IMAGE, size, transform.interpolation))
    np.testing.assert_array_equal(whole.label, by_pillow(LABEL, size, "nearest"))
    np.testing.assert_array_equal(whole.maps["edges"], whole.label)
    np.testing.assert_array_equal(whole.maps["depth"], by_pillow(LABEL.astype(np.float32), size, "bilinear"))
    crop = RandomCrop((20, 25), cat_max_ratio=0.9)
    rng = np.random.default_rng(5)
    expected = crop(transform(given, rng), rng)
    found = ResizeThenCrop(transform, crop)(given, np.random.default_rng(5))
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.label, expected.label)
    for name in given.maps:
        np.testing.assert_array_equal(found.maps[name], expected.maps[name])


def test_bands_beyond_colours_are_resized_each_by_itself() -> None:
    """Pillow takes a fourth band for opacity and multiplies by it; here it is a band like the others."""
    image = np.random.default_rng(3).integers(0, 256, (30, 40, 5), dtype=np.uint8)
    for bands in (1, 2, 4, 5):
        found = resize_array(image[:, :, :bands], (17, 50), "bicubic", "pillow")
        for band in range(bands):
            np.testing.assert_array_equal(found[:, :, band], by_pillow(image[:, :, band], (17, 50), "bicubic"))


def test_backends_have_interpolations_of_their_own() -> None:
    with pytest.raises(ValueError, match="nearest, bilinear, bicubic, box, lanczos, hamming with backend='pillow'"):
        Resize((4, 4), interpolation="area", backend="pillow")
    with pytest.raises(ValueError, match="area, lanczos, antialiased with backend='cv2', not 'hamming'"):
        RandomResize((4, 4), (1.0, 1.0), interpolation="hamming")
    with pytest.raises(ValueError, match="backend must be one of cv2, pillow, not 'skimage'"):
        ResizeToMultiple(8, backend="skimage")  # type: ignore[arg-type]
