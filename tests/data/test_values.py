"""Gamma, contrast, range, grey, holes and depth: what changes numbers and moves no pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.contracts import Sample
from intarsia.data.transforms.cutout import RandomCutOut
from intarsia.data.transforms.scale import SegRescale
from intarsia.data.transforms.values import CLAHE, AdjustGamma, Rerange, RGB2Gray

RNG = np.random.default_rng(0)


def drawn(dtype=np.uint8, bands: int = 3, height: int = 30, width: int = 40) -> Sample:
    rng = np.random.default_rng(1)
    image = (rng.random((height, width, bands)) * 250).astype(dtype)
    depth = (rng.random((height, width)) * 20).astype(np.float32)
    return Sample(image, rng.integers(0, 5, (height, width)).astype(np.uint8), {"depth": depth})


def test_gamma_of_one_is_nothing_and_others_undo_each_other():
    sample = drawn()
    np.testing.assert_array_equal(AdjustGamma()(sample, RNG).image, sample.image)
    bright = AdjustGamma(2.0)(sample, RNG).image
    assert bright.mean() > sample.image.mean()
    back = AdjustGamma(0.5)(Sample(bright), RNG).image
    assert np.abs(back.astype(int) - sample.image)[sample.image > 30].max() <= 4


def test_contrast_of_8_and_16_bits_band_by_band():
    sample = drawn(bands=5)
    whole = CLAHE(2.0, (4, 4))(sample, RNG).image
    for band in range(5):
        alone = CLAHE(2.0, (4, 4))(Sample(sample.image[..., band : band + 1]), RNG).image
        np.testing.assert_array_equal(whole[..., band : band + 1], alone)
    wide = CLAHE(2.0, (4, 4))(Sample(sample.image.astype(np.uint16) * 257), RNG).image
    assert wide.dtype == np.uint16
    assert wide.max() > 255


@given(st.sampled_from([np.uint8, np.int16, np.uint16, np.float32]), st.floats(-5, 0), st.floats(1, 300))
def test_the_range_becomes_that_asked_for(dtype, low, high):
    image = Rerange(low, high)(drawn(dtype), RNG).image
    assert image.min() == pytest.approx(low, abs=1e-4)
    assert image.max() == pytest.approx(high, rel=1e-5)


def test_the_range_of_16_bits_does_not_wrap_around():
    image = np.array([[[-30000], [30000]]], np.int16)
    assert Rerange(0, 1)(Sample(image), RNG).image.ravel().tolist() == [0, 1]


def test_an_image_of_one_number_becomes_the_least():
    assert (Rerange(3, 5)(Sample(np.full((2, 2, 1), 9, np.uint8)), RNG).image == 3).all()


def test_grey_of_rgb_is_brightness():
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    grey = RGB2Gray(out_channels=1)(Sample(image), RNG).image
    np.testing.assert_allclose(grey.ravel(), [76.245, 149.685, 29.07])
    assert RGB2Gray()(Sample(image), RNG).image.shape == (1, 3, 3)
    assert RGB2Gray(out_channels=4, weights=(1, 0))(Sample(image[..., :2]), RNG).image.shape == (1, 3, 4)


def test_holes_are_filled_in_copies():
    sample = drawn()
    before = sample.image.copy()
    transform = RandomCutOut(1.0, 1, cutout_shape=(6, 4), fill_in=(251, 252, 253), seg_fill_in=255)
    sizes = set()
    for seed in range(60):
        after = transform(sample, np.random.default_rng(seed))
        hole = (after.image == (251, 252, 253)).all(axis=2)
        np.testing.assert_array_equal(after.label == 255, hole)
        np.testing.assert_array_equal(after.image[~hole], before[~hole])
        rows, columns = hole.any(axis=1).sum(), hole.any(axis=0).sum()
        assert hole.sum() == rows * columns
        sizes.add((int(columns), int(rows)))
        assert after.maps["depth"] is sample.maps["depth"]
    np.testing.assert_array_equal(sample.image, before)
    assert (6, 4) in sizes
    assert max(width for width, _ in sizes) == 6
    assert max(height for _, height in sizes) == 4


def test_holes_as_shares_of_the_image_and_labels_that_stay():
    sample = drawn(bands=1)
    after = RandomCutOut(1.0, (2, 5), cutout_ratio=[(0.5, 0.1), (0.1, 0.5)], fill_in=255)(sample, RNG)
    assert (after.image == 255).any()
    np.testing.assert_array_equal(after.label, sample.label)
    assert RandomCutOut(0.0, 3, cutout_shape=(3, 3))(sample, RNG) is sample
    depths = RandomCutOut(1.0, 1, (5, 5), seg_fill_in=255)(Sample(sample.image, sample.image[..., 0] + 1.5), RNG).label
    assert (depths == 0).any()
    assert not (depths == 255).any()
    assert RandomCutOut(1.0, 1, cutout_ratio=(1, 1)).cutout_ratio == ((1, 1),)


def test_labels_of_another_size():
    sample = drawn()
    after = SegRescale(0.5)(sample, RNG)
    assert after.label.shape == (15, 20)
    np.testing.assert_array_equal(after.label, sample.label[::2, ::2])
    assert after.image is sample.image
    assert SegRescale()(sample, RNG) is sample


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdjustGamma(0), "gamma must be a positive number, got 0"),
        (lambda: CLAHE(tile_grid_size=(8,)), "two positive whole numbers, got (8,)"),
        (lambda: CLAHE(clip_limit="2"), "clip_limit must be a number, got '2'"),
        (lambda: CLAHE()(Sample(np.full((8, 8, 1), np.nan)), RNG), "expected finite numbers, found others"),
        (lambda: Rerange(3, 3), "min_value must be less than max_value, got 3 and 3"),
        (lambda: RGB2Gray(out_channels=0), "at least 1, got 0"),
        (lambda: RGB2Gray(weights=()), "weights must be numbers"),
        (lambda: RGB2Gray()(drawn(bands=4), RNG), "images of 3 bands, one for each weight, found 4 bands"),
        (lambda: RandomCutOut(-0.5, 1, (2, 2)), "prob must be a chance between 0 and 1, got -0.5"),
        (lambda: RandomCutOut(0.5, 1), "either cutout_shape (pixels) or cutout_ratio (shares)"),
        (lambda: RandomCutOut(0.5, 1, (2, 2), (0.1, 0.1)), "and not both"),
        (lambda: RandomCutOut(0.5, (3, 2), (2, 2)), "(fewest, most), got (3, 2)"),
        (lambda: RandomCutOut(0.5, 1, (2.5, 2)), "whole numbers (width, height)"),
        (lambda: RandomCutOut(0.5, 1, cutout_ratio=(0.5, 2)), "shares (width, height) from 0 to 1"),
        (lambda: RandomCutOut(0.5, 1, []), "at least one pair"),
        (lambda: RandomCutOut(0.5, 1, (2, 2), seg_fill_in=-1), "seg_fill_in must be a label, got -1"),
        (lambda: RandomCutOut(1.0, 1, (2, 2), fill_in=(1, 2))(drawn(), RNG), "2 numbers for images of 3 bands"),
        (lambda: SegRescale(0), "scale_factor must be positive, got 0"),
    ],
)
def test_wrong_arguments_say_what_was_expected_and_found(make, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    assert words in str(error.value)
