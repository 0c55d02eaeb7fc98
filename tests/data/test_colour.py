from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.contracts import Sample
from intarsia.data.transforms.colour import (
    PhotoMetricDistortion,
    hue_turned,
    multiplied,
    saturated,
    scale_table,
    shifted,
)


def picture(seed, size=(24, 31)):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def scaled(image, factor, offset):
    """Plain arithmetic on every pixel, as the tables must reproduce it."""
    return np.clip(image.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)


def plain(bgr, transform, rng):
    """The distortion step by step on an image in blue, green, red order."""
    if rng.integers(2):
        bgr = scaled(bgr, 1.0, rng.uniform(-transform.brightness_delta, transform.brightness_delta))
    first = rng.integers(2)
    factor = rng.uniform(*transform.contrast_range) if rng.integers(2) else None
    if factor is not None and first:
        bgr = scaled(bgr, factor, 0.0)
    if rng.integers(2):
        hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
        hsv[:, :, 1] = scaled(hsv[:, :, 1], rng.uniform(*transform.saturation_range), 0.0)
        bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if rng.integers(2):
        hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
        hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + rng.integers(-transform.hue_delta, transform.hue_delta)) % 180
        bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if factor is not None and not first:
        bgr = scaled(bgr, factor, 0.0)
    return bgr


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_tables_equal_plain_arithmetic_in_the_other_channel_order(seed):
    transform = PhotoMetricDistortion()
    image = picture(seed)
    rng, same_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    after = transform(Sample(image), rng).image
    expected = plain(np.ascontiguousarray(image[:, :, ::-1]), transform, same_rng)
    np.testing.assert_array_equal(after, expected[:, :, ::-1])
    assert rng.random() == same_rng.random()


@given(st.floats(0, 3), st.floats(-300, 300))
def test_scale_table(factor, offset):
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(scale_table(factor, offset), scaled(every, np.float32(factor), np.float32(offset)))


def every_value(width):
    """All values, in rows that are no multiple of what a processor takes at a time, and not whole in memory."""
    image = np.random.default_rng(width).permutation(np.repeat(np.arange(256, dtype=np.uint8), 3 * (width + 4)))
    return image.reshape(256, width + 4, 3)[:, 2:-2]


@settings(max_examples=300)
@given(st.integers(1, 40), st.floats(-300, 300), st.integers(-4, 4).map(lambda steps: steps * 2.0**-22))
def test_what_is_added_is_the_table(width, offset, near):
    image = every_value(width)
    for value in (offset, round(offset) + near):
        np.testing.assert_array_equal(shifted(image, value), scale_table(1.0, value)[image])


@settings(max_examples=300)
@given(st.integers(1, 40), st.floats(0, 4), st.integers(1, 256), st.integers(-4, 4).map(lambda steps: steps * 2.0**-22))
def test_what_is_multiplied_is_the_table(width, factor, part, near):
    image = every_value(width)
    for value in (factor, factor * 1e8, round(factor * part) / part, max(round(factor * part) / part + near, 0.0)):
        np.testing.assert_array_equal(multiplied(image, value), scale_table(value, 0.0)[image])
        np.testing.assert_array_equal(multiplied(image[:, :, 1], value), scale_table(value, 0.0)[image[:, :, 1]])


def test_a_full_turn_of_the_hue_is_the_way_through_hsv():
    image = picture(0)
    through = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), cv2.COLOR_HSV2RGB)
    np.testing.assert_array_equal(hue_turned(image, 180), through)
    np.testing.assert_array_equal(saturated(image, 1.0), through)


def test_each_step_is_drawn_half_of_the_time():
    image = np.full((2, 2, 3), 100, np.uint8)
    only = PhotoMetricDistortion(brightness_delta=0, contrast_range=(1, 1), saturation_range=(1, 1), hue_delta=0)
    assert (only(Sample(image), np.random.default_rng(1)).image == 100).all()
    contrast = PhotoMetricDistortion(0, (2, 2), (1, 1), 0)
    doubled = [contrast(Sample(image), np.random.default_rng(seed)).image[0, 0, 0] == 200 for seed in range(1000)]
    assert 0.45 < np.mean(doubled) < 0.55


def test_the_input_is_not_written_into():
    image = picture(3)
    image.setflags(write=False)
    for seed in range(20):
        PhotoMetricDistortion()(Sample(image), np.random.default_rng(seed))


@pytest.mark.parametrize(("shape", "dtype"), [((4, 4, 4), np.uint8), ((4, 4, 1), np.uint8), ((4, 4, 3), np.uint16)])
def test_other_images_are_refused_with_what_they_are(shape, dtype):
    with pytest.raises(ValueError, match=rf"found {shape[2]} bands of {np.dtype(dtype)}"):
        PhotoMetricDistortion()(Sample(np.zeros(shape, dtype)), np.random.default_rng(0))


@pytest.mark.parametrize("arguments", [{"contrast_range": (2, 1)}, {"brightness_delta": -1}, {"hue_delta": -3}])
def test_arguments_that_make_no_sense(arguments):
    with pytest.raises(ValueError, match="PhotoMetricDistortion"):
        PhotoMetricDistortion(**arguments)
