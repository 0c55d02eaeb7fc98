"""Blur, noise, compression, brightness and holes: for every type and any number of bands, and no pixel moves."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import value_range
from intarsia.data.transforms.blur import GaussianBlur, MotionBlur, line_kernel
from intarsia.data.transforms.brightness import RandomBrightnessContrast
from intarsia.data.transforms.cutout import CoarseDropout
from intarsia.data.transforms.degrade import GaussianNoise, JpegCompression, PoissonNoise
from intarsia.data.transforms.values import CLAHE, AdjustGamma

FIXED = np.random.default_rng
LARGEST = {np.uint8: 255, np.uint16: 4095, np.int16: 3000, np.float32: 0.4, np.int32: 100000}
"""The largest number of an image of each type, as real ones have them: 12 bits in 16, reflectances."""
EVERY = {
    "gaussian blur": GaussianBlur(1.0, (1, 1)),
    "motion blur": MotionBlur(1.0, (5, 5)),
    "gaussian noise": GaussianNoise(1.0, (0.05, 0.05)),
    "poisson noise": PoissonNoise(1.0, (100, 100)),
    "brightness": RandomBrightnessContrast(1.0, (0.05, 0.05), (-0.3, -0.3)),
    "brightness per band": RandomBrightnessContrast(1.0, (0.05, 0.05), (-0.3, -0.3), per_band=True),
    "dropout": CoarseDropout(1.0),
    "gamma": AdjustGamma(1.5),
    "clahe": CLAHE(2.0, (2, 2)),
}


def drawn(dtype: Any = np.uint8, bands: int = 3) -> Sample:
    """A smooth picture that reaches from nearly 0 to the largest number of its type."""
    y, x = np.mgrid[0:48, 0:64] / 64
    waves = [0.5 + 0.5 * np.sin(6 * x + band) * np.cos(5 * y) for band in range(bands)]
    image = (np.stack(waves, axis=-1) * LARGEST[dtype]).astype(dtype)
    return Sample(image, (x > 0.5).astype(np.uint8), {"depth": x.astype(np.float32)})


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("bands", [1, 3, 7])
@pytest.mark.parametrize("dtype", LARGEST)
def test_every_type_is_changed_as_much_in_shares_of_its_range(name, dtype, bands):
    sample = drawn(dtype, bands)
    after = EVERY[name](sample, FIXED(0))
    assert after.image.dtype == dtype
    assert after.image.shape == sample.image.shape
    assert after.image.min() >= 0 or dtype is np.float32
    np.testing.assert_array_equal(after.label, sample.label)
    np.testing.assert_array_equal(after.maps["depth"], sample.maps["depth"])
    like = drawn(np.uint8, bands)
    expected = EVERY[name](like, FIXED(0)).image / 255 - like.image / 255
    found = (after.image.astype(float) - sample.image) / LARGEST[dtype]
    assert np.abs(expected).mean() > 0.002
    if (name, dtype) == ("clahe", np.uint16):  # equalised as it is, of all 16 bits: published numbers
        assert np.abs(found).mean() > 0.002
        return
    tolerance = 0.5 if name in ("clahe", "gamma") else 0.15  # the first steps of 8 bits are coarse there
    assert np.abs(found).mean() == pytest.approx(np.abs(expected).mean(), rel=tolerance)


def test_ranges_are_those_of_the_images_but_for_8_bits():
    assert value_range(np.full((2, 2, 1), 7, np.uint8)) == (0, 255)
    assert value_range(np.array([[[100], [4000]]], np.uint16)) == (100, 4000)
    assert value_range(np.array([[[-0.5], [np.nan], [np.inf], [2]]], np.float32)) == (-0.5, 2)
    assert value_range(np.full((1, 1, 1), np.nan)) == (0, 0)


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"clahe"}))
def test_an_image_of_one_number_stays_an_image(name):
    for number in (0.0, 0.3):
        after = EVERY[name](Sample(np.full((8, 8, 2), number, np.float32)), FIXED(0)).image
        np.testing.assert_allclose(after, number, atol=1e-6)


def test_what_is_not_a_number_stays_and_does_not_spread():
    image = drawn(np.float32, 2).image.copy()
    image[3, 4] = np.nan
    for name in ("gaussian noise", "poisson noise", "brightness", "brightness per band", "gamma"):
        after = EVERY[name](Sample(image), FIXED(0)).image
        assert np.isnan(after[3, 4]).all(), name
        assert np.isnan(after).sum() == 2, name


# --- Blur ---------------------------------------------------------------------------------------------------------


def test_a_gaussian_has_its_width():
    point = np.zeros((41, 41, 1))
    point[20, 20] = 1
    after = GaussianBlur(1.0, (3, 3))(Sample(point), FIXED(0)).image[..., 0]
    y, _ = np.mgrid[-20:21, -20:21]
    assert after.sum() == pytest.approx(1)
    assert math.sqrt((after * y**2).sum()) == pytest.approx(3, rel=0.02)


@given(st.floats(0.1, 30), st.floats(0, math.pi))
@settings(max_examples=50)
def test_a_line_has_its_length_and_its_direction(length, angle):
    kernel = line_kernel(length, angle)
    reach = kernel.shape[0] // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    assert kernel.shape == (2 * math.ceil(length / 2) + 1,) * 2
    assert kernel.sum() == pytest.approx(1)
    assert (kernel * x).sum() == pytest.approx(0, abs=1e-9)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    # A line of that length has a variance of length**2 / 12; sharing with pixels adds at most a quarter each way.
    assert length**2 / 12 - 0.01 <= (kernel * along**2).sum() <= length**2 / 12 + 0.26
    assert (kernel * across**2).sum() <= 0.26


def test_motion_is_along_one_line():
    point = np.zeros((31, 31, 1))
    point[15, 15] = 1
    seen = [MotionBlur(1.0, (9, 9))(Sample(point), FIXED(seed)).image[..., 0] for seed in range(20)]
    y, x = np.mgrid[-15:16, -15:16]
    angles = set()
    for spread in seen:
        covariance = np.array([[(spread * a * b).sum() for b in (x, y)] for a in (x, y)])
        values, vectors = np.linalg.eigh(covariance)
        assert values[1] > 10 * values[0]
        angles.add(round(math.degrees(math.atan2(*vectors[::-1, 1])) % 180 / 30))
    assert len(angles) > 4


# --- Noise --------------------------------------------------------------------------------------------------------


def test_noise_has_its_strength():
    grey = Sample(np.full((200, 200, 3), 100, np.uint8))
    noise = GaussianNoise(1.0, (0.04, 0.04))(grey, FIXED(0)).image.astype(float) - 100
    assert noise.std() == pytest.approx(0.04 * 255, rel=0.02)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05
    shared = GaussianNoise(1.0, (0.04, 0.04), per_band=False)(grey, FIXED(0)).image
    assert (shared[..., 0] == shared[..., 2]).all()


def test_bright_places_have_more_of_the_noise_of_light():
    image = np.repeat(np.array([25, 150], np.uint8), 20000).reshape(200, 200, 1)
    after = PoissonNoise(1.0, (100, 100))(Sample(image), FIXED(0)).image.astype(float)
    for number in (25, 150):
        values = after[image == number]
        assert values.mean() == pytest.approx(number, rel=0.02)
        assert values.std() == pytest.approx(math.sqrt(number / 255 * 100) / 100 * 255, rel=0.05)


def test_whole_numbers_without_a_negative_one_stay_so():
    changes = [GaussianNoise(1.0, (0.5, 0.5)), RandomBrightnessContrast(1.0, (-0.5, -0.5), 0)]
    for transform in changes:
        for lowest in (0, 5):
            image = drawn(np.int16).image + np.int16(lowest)
            image[0, 0] = lowest
            after = transform(Sample(image), FIXED(0)).image
            assert after.min() == 0
            assert transform(Sample(image.astype(np.float32)), FIXED(0)).image.min() < -100
        below = transform(Sample(drawn(np.int16).image - np.int16(1000)), FIXED(0)).image
        assert below.min() < -1500  # temperatures


# --- Compression --------------------------------------------------------------------------------------------------


def test_colours_are_compressed_as_colours():
    image = drawn().image
    image[..., 0] //= 4  # so that colours in another order are another picture
    after = JpegCompression(1.0, (40, 40))(Sample(image), FIXED(0)).image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=40, subsampling=2)
    independent = np.asarray(Image.open(file))
    assert np.abs(after.astype(int) - independent).mean() < 0.5
    assert np.abs(after.astype(int) - image).mean() > 0.3


def test_other_bands_are_compressed_by_themselves():
    image = drawn(bands=5).image
    after = JpegCompression(1.0, (30, 30))(Sample(image), FIXED(0)).image
    for band in range(5):
        alone = JpegCompression(1.0, (30, 30))(Sample(image[..., [band]]), FIXED(0)).image
        np.testing.assert_array_equal(after[..., [band]], alone)
    assert np.abs(after.astype(int) - image).mean() > 0.3


def test_both_ends_of_the_quality_are_drawn():
    sample = drawn()
    alone = [JpegCompression(1.0, (q, q))(sample, FIXED(0)).image for q in (40, 60)]
    seen = {
        found for seed in range(300) for found in [JpegCompression(1.0, (40, 60))(sample, FIXED(seed)).image.tobytes()]
    }
    assert {image.tobytes() for image in alone} <= seen
    assert len(seen) > 10


def test_the_lower_the_quality_the_more_is_lost():
    sample = drawn()
    lost = [
        np.abs(JpegCompression(1.0, (q, q))(sample, FIXED(0)).image.astype(int) - sample.image).mean()
        for q in (95, 60, 10)
    ]
    assert lost == sorted(lost)
    assert lost[2] > 2 * lost[0]


# --- Brightness and holes -----------------------------------------------------------------------------------------


def test_brightness_and_contrast_by_numbers():
    image = np.array([[[50], [100], [150]]], np.uint8)
    after = RandomBrightnessContrast(1.0, (0.1, 0.1), (0.5, 0.5))(Sample(image), FIXED(0)).image
    assert after.ravel().tolist() == [round(25 + 25.5), round(100 + 25.5), round(175 + 25.5)]
    reflectance = np.array([[[0.1], [0.2], [0.3]]], np.float32)
    after = RandomBrightnessContrast(1.0, (0.1, 0.1), (0.5, 0.5))(Sample(reflectance), FIXED(0)).image
    np.testing.assert_allclose(after.ravel(), [0.07, 0.22, 0.37], rtol=1e-5)


def test_bands_of_their_own_draw_their_own_numbers():
    sample = Sample(np.repeat(drawn(bands=1).image, 3, axis=2))
    together = RandomBrightnessContrast(1.0)(sample, FIXED(0)).image
    apart = RandomBrightnessContrast(1.0, per_band=True)(sample, FIXED(0)).image
    assert (together[..., 0] == together[..., 2]).all()
    assert (apart[..., 0] != apart[..., 2]).any()


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_holes_lie_inside_and_have_their_size(seed):
    sample = drawn()
    after = CoarseDropout(1.0, 1, (0.2, 0.5), fill=(1, 2, 3), fill_mask=255)(sample, FIXED(seed))
    rows, columns = np.nonzero(after.label == 255)
    height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert height * width == len(rows)
    assert 0.2 * 48 - 0.5 <= height <= 0.5 * 48 + 0.5
    assert 0.2 * 64 - 0.5 <= width <= 0.5 * 64 + 0.5
    assert (after.image[after.label == 255] == [1, 2, 3]).all()
    np.testing.assert_array_equal(after.image[after.label != 255], sample.image[after.label != 255])


def test_holes_are_filled_with_the_mean_and_labels_stay():
    sample = drawn(np.float32, 5)
    after = CoarseDropout(1.0, (3, 3))(sample, FIXED(0))
    hidden = (after.image != sample.image).any(axis=2)
    assert 0 < hidden.mean() < 0.5
    mean = sample.image.mean(axis=(0, 1))
    np.testing.assert_allclose(after.image[hidden], np.tile(mean, (hidden.sum(), 1)), rtol=1e-5)
    np.testing.assert_array_equal(after.label, sample.label)


def test_chances_are_kept():
    sample = drawn()
    makers = [GaussianBlur, MotionBlur, GaussianNoise, PoissonNoise, JpegCompression, RandomBrightnessContrast]
    for make in (*makers, CoarseDropout):
        rng = FIXED(0)
        assert 45 < sum(make(0.3)(sample, rng) is not sample for _ in range(200)) < 75, make


CHANGES = [
    GaussianBlur,
    MotionBlur,
    GaussianNoise,
    PoissonNoise,
    JpegCompression,
    RandomBrightnessContrast,
    CoarseDropout,
]


@pytest.mark.parametrize("make", CHANGES)
def test_chances_are_checked(make):
    with pytest.raises(ValueError, match=f"{make.__name__}: prob must be a chance between 0 and 1, got 1.5"):
        make(1.5)


def test_what_is_done_where_nothing_is_said():
    assert GaussianBlur() == GaussianBlur(0.5, (0.1, 2.0))
    assert MotionBlur() == MotionBlur(0.5, (3.0, 9.0))
    assert GaussianNoise() == GaussianNoise(0.5, (0.01, 0.05), True)
    assert PoissonNoise() == PoissonNoise(0.5, (50.0, 500.0))
    assert JpegCompression() == JpegCompression(0.5, (50, 95))
    assert RandomBrightnessContrast() == RandomBrightnessContrast(0.5, (-0.2, 0.2), (-0.2, 0.2), False)
    assert CoarseDropout() == CoarseDropout(0.5, (1, 8), (0.05, 0.2), None, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianBlur(2), "GaussianBlur: prob must be a chance between 0 and 1, got 2"),
        (lambda: GaussianBlur(sigma=(0, 1)), r"sigma must be \(low, high\) with 0 < low <= high"),
        (lambda: MotionBlur(length=(3, 2)), "length must be"),
        (lambda: MotionBlur(length=(3, 900)), "length must be at most 500 pixels"),
        (lambda: GaussianNoise(std=(0.1, 0.05)), "std must be"),
        (lambda: PoissonNoise(peak=(0, 5)), "peak must be"),
        (lambda: JpegCompression(quality=(0, 90)), r"whole numbers from 1 to 100, got \(0, 90\)"),
        (lambda: JpegCompression(quality=(90, 50)), r"whole numbers from 1 to 100, got \(90, 50\)"),
        (lambda: JpegCompression()(drawn(np.uint16), FIXED(0)), "expected images of 8 bits, found uint16"),
        (lambda: RandomBrightnessContrast(contrast=(-2, 0)), "contrast must be at least -1"),
        (lambda: RandomBrightnessContrast(brightness=-0.1), "brightness must be a number of at least 0"),
        (lambda: CoarseDropout(num_holes=0), "num_holes must be a count"),
        (lambda: CoarseDropout(hole_size=(0.5, 1.5)), "hole_size must be shares of the image, at most 1"),
        (lambda: CoarseDropout(fill_mask=-1), "fill_mask must be a label, got -1"),
        (lambda: GaussianBlur()(Sample(np.zeros((2, 4, 5, 1))), FIXED(0)), "expected an image"),
    ],
)
def test_wrong_arguments_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
