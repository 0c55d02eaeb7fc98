"""Images of any bands and numbers, made for looking at."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.visual.picture import as_picture, ends_of


def test_any_image_becomes_a_picture() -> None:
    grey = np.linspace(0, 4000, 100, dtype=np.uint16).reshape(10, 10, 1)
    picture = as_picture(grey)
    assert picture.shape == (10, 10, 3)
    assert (picture[0, 0].tolist(), picture[-1, -1].tolist()) == ([0] * 3, [255] * 3)
    holes = np.full((4, 4, 5), np.nan, np.float32)
    assert as_picture(holes).max() == 0
    holes[:2] = np.arange(8)[:, None].reshape(2, 4, 1)
    assert as_picture(holes)[1, 3].tolist() == [255] * 3
    with pytest.raises(ValueError, match="volumes are not shown"):
        as_picture(np.empty((0, 0, 1), np.uint8))
    with pytest.raises(ValueError, match="volumes are not shown"):
        as_picture(np.zeros((4, 4, 4, 1), np.uint8))


def test_bytes_stay_what_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    assert np.array_equal(as_picture(image), image[..., :3])
    assert np.array_equal(as_picture(image[..., :2]), np.repeat(image[..., :1], 3, axis=2))
    assert ends_of(image) == (0, 255)


def test_stretched_from_the_2nd_to_the_98th_percentile_of_what_is_finite() -> None:
    image = np.random.default_rng(1).normal(5e6, 1e3, (40, 50, 3))
    image[0, :5] = np.nan
    low, high = np.nanpercentile(image, (2, 98))
    assert ends_of(image) == pytest.approx((low, high))
    expected = np.nan_to_num(((image - low) / (high - low)).clip(0, 1)) * 255
    assert np.abs(as_picture(image) - expected).max() <= 1
    wide = as_picture(image, (low, high + (high - low)))
    assert np.abs(wide - np.nan_to_num(((image - low) / (2 * (high - low))).clip(0, 1)) * 255).max() <= 1
