"""Affine maps, perspective, elastic and grid distortion: all parts move together, and nothing is invented."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.transforms.affine import RandomAffine, RandomPerspective, affine
from intarsia.data.transforms.elastic import ElasticTransform, GridDistortion
from intarsia.data.transforms.rotate import rotation

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(2, 60)
MAKERS: dict[str, Any] = {
    "affine": lambda **pads: RandomAffine(1.0, 40, 0.2, (0.6, 1.6), 20, **pads),
    "perspective": lambda **pads: RandomPerspective(1.0, 0.6, **pads),
    "elastic": lambda **pads: ElasticTransform(1.0, 60, 5, **pads),
    "grid": lambda **pads: GridDistortion(1.0, 4, 0.6),
}


def drawn(height: int, width: int, seed: int, *, image=np.uint8, label=np.uint8, bands: int = 3) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(
        (rng.random((height, width, bands)) * 200).astype(image),
        rng.choice([0, 1, 5], (height, width)).astype(label),
        {
            "index": np.arange(height * width).reshape(height, width),
            "depth": rng.uniform(3, 4, (height, width)).astype(np.float32),
            "edge": rng.integers(0, 2, (height, width)).astype(bool),
        },
        SampleMeta(valid=(height, width - 1)),
    )


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=25)
@given(SIDES, SIDES, SEEDS, st.sampled_from([np.uint8, np.uint16, np.int64]))
def test_labels_and_names_take_the_same_pixel_and_nothing_is_invented(kind, height, width, seed, label):
    sample = drawn(height, width, seed, label=label)
    after = MAKERS[kind]()(sample, np.random.default_rng(seed))
    assert after.image.shape == sample.image.shape
    assert after.label.shape == (height, width)
    assert after.label.dtype == label
    assert after.meta.valid is None
    inside = after.label != 255
    source = after.maps["index"][inside]
    np.testing.assert_array_equal(after.label[inside], sample.label.ravel()[source])
    np.testing.assert_array_equal(after.maps["edge"][inside], sample.maps["edge"].ravel()[source])
    assert (after.maps["depth"][~inside] == 0).all()
    assert not inside.any() or after.maps["depth"][inside].min() >= 3 - 1e-5  # not mixed with the zeros outside
    assert kind != "grid" or inside.all()


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=25)
@given(SEEDS)
def test_a_label_that_is_a_threshold_of_the_image_stays_one(kind, seed):
    rng = np.random.default_rng(seed)
    blobs = cv2.GaussianBlur(rng.random((90, 120)), (0, 0), 6)
    label = (blobs > np.median(blobs)).astype(np.uint8)
    image = np.where(label, 200, 50).astype(np.uint8)[..., None]
    # Away from borders: where all neighbours that are mixed, in the old image, are on the same side of them.
    kernel = np.ones((3, 3), np.uint8)
    core = sum((value + 1) * cv2.erode((label == value).astype(np.uint8), kernel, borderValue=0) for value in (0, 1))
    moved = MAKERS[kind]()(Sample(image, label, {"core": core}), rng)
    for value, number in ((1, 200), (0, 50)):
        inner = moved.maps["core"] == value + 1
        assert inner.mean() > 0.1
        assert (moved.label[inner] == value).all()
        assert (moved.image[inner] == number).all()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.int32])
@pytest.mark.parametrize("bands", [1, 3, 7])
def test_every_type_and_band_moves_alike(kind, dtype, bands):
    sample = drawn(31, 44, 0, image=dtype, bands=bands)
    after = MAKERS[kind]()(sample, np.random.default_rng(2))
    assert after.image.dtype == dtype
    assert after.image.shape == sample.image.shape
    for band in range(bands):
        alone = Sample(sample.image[..., [band]].astype(np.float64))
        exact = MAKERS[kind]()(alone, np.random.default_rng(2)).image[..., 0]
        # OpenCV takes 1/32 of a pixel for a few types; neighbours differ by up to 200.
        assert np.abs(after.image[..., band] - exact).max() <= 1 + 200 / 16


def test_a_value_outside_for_each_band_and_for_labels():
    sample = drawn(40, 40, 0, bands=7)
    for kind in ("affine", "perspective", "elastic"):
        values = [1, 2, 3, 4, 5, 6, 7]
        after = MAKERS[kind](pad_val=values, seg_pad_val=9)(sample, np.random.default_rng(3))
        outside = cv2.erode((after.label == 9).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
        assert outside.any()
        assert (after.image[outside] == values).all()


@pytest.mark.parametrize(("kind", "name"), [("affine", "RandomAffine"), ("perspective", "RandomPerspective"),
                                            ("elastic", "ElasticTransform")])  # fmt: skip
def test_as_many_values_outside_as_bands(kind, name):
    with pytest.raises(ValueError, match=f"{name}: pad_val has 2 numbers for images of 3 bands"):
        MAKERS[kind](pad_val=(1, 2))(drawn(5, 5, 0), np.random.default_rng(0))


def test_depths_that_are_not_known_are_0():
    depth = np.full((40, 40), 5, np.float32)
    after = MAKERS["affine"]()(Sample(np.zeros((40, 40, 3), np.uint8), depth), np.random.default_rng(3))
    assert set(np.unique(after.label)) == {0, 5}


# --- Each by itself -----------------------------------------------------------------------------------------------


def test_affine_by_nothing_is_nothing():
    sample = drawn(20, 33, 0)
    after = RandomAffine(1.0, 0, 0, (1, 1), 0)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(after.image, sample.image)
    np.testing.assert_array_equal(after.label, sample.label)


def test_the_parts_of_an_affine_map():
    np.testing.assert_allclose(affine((31, 44), angle=33), rotation((31, 44), 33)[0], atol=1e-9)
    matrix = affine((11, 21), factor=2, shift=(3, -1))  # the middle is (10, 5)
    np.testing.assert_allclose(matrix @ [10, 5, 1], [13, 4])
    np.testing.assert_allclose(matrix @ [11, 6, 1], [15, 6])
    leaning = affine((11, 21), shear=45)
    np.testing.assert_allclose(leaning @ [10, 4, 1], [11, 4])  # above the middle: to the right
    np.testing.assert_allclose(leaning @ [3, 5, 1], [3, 5])


def test_an_affine_map_stays_within_its_ranges():
    transform = RandomAffine(1.0, (10, 20), (0.1, 0.0), (0.5, 2.0), 0)
    rng = np.random.default_rng(0)
    drawn_maps = np.array([transform._drawn((100, 200), rng) for _ in range(400)])
    factors = np.sqrt(np.linalg.det(drawn_maps[:, :, :2]))
    angles = np.degrees(np.arctan2(drawn_maps[:, 1, 0], drawn_maps[:, 0, 0]))
    middles = drawn_maps @ [99.5, 49.5, 1]
    assert 0.5 <= factors.min() < 0.55
    assert 1.9 < factors.max() <= 2
    assert 170 < (factors < 1).sum() < 230  # smaller as often as larger
    assert 10 <= angles.min() < 11
    assert 19 < angles.max() <= 20
    assert 18 < np.abs(middles[:, 0] - 99.5).max() <= 20
    np.testing.assert_allclose(middles[:, 1], 49.5)


def test_perspective_is_that_of_opencv():
    image = cv2.GaussianBlur(np.random.default_rng(0).random((60, 80)).astype(np.float32), (0, 0), 3)
    sample = Sample(image[..., None], np.zeros((60, 80), np.uint8))
    found = RandomPerspective(1.0, 0.5)(sample, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    rng.random()
    corners = np.array([[0, 0], [79, 0], [79, 59], [0, 59]], np.float32)
    moves = rng.uniform(0, 0.5, (4, 2)) * [[1, 1], [-1, 1], [-1, -1], [1, -1]] * np.array([79, 59]) / 2
    matrix = cv2.getPerspectiveTransform(corners, (corners + moves).astype(np.float32))
    exact = cv2.warpPerspective(image, matrix, (80, 60))
    inside = cv2.erode((found.label == 0).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    assert 0.2 < inside.mean() < 0.9
    assert np.abs(found.image[..., 0] - exact)[inside].max() < 0.01


@pytest.mark.parametrize("sigma", [3.0, 8.0, 20.0])  # on a grid of every, every second and every fifth pixel
def test_elastic_shifts_have_the_size_and_the_width_that_are_promised(sigma):
    side = 400
    ramp = np.tile(np.arange(side, dtype=np.float64), (side, 1))
    image = np.stack([ramp, ramp.T], axis=-1)
    transform = ElasticTransform(1.0, alpha=15 * sigma, sigma=sigma)
    draws = [transform(Sample(image), np.random.default_rng(seed)).image - image for seed in range(4)]
    shifts = np.stack(draws)[:, 40:-40, 40:-40]
    np.testing.assert_allclose(shifts.std(axis=(0, 1, 2)), 0.163 * 15, rtol=0.12)
    # Noise smoothed by a Gaussian is correlated as one of twice its variance.
    far = round(2 * sigma)
    along = (shifts[:, far:] * shifts[:, :-far]).mean() / (shifts**2).mean()
    assert along == pytest.approx(math.exp(-(far**2) / (4 * sigma**2)), abs=0.1)
    steps = np.abs(np.diff(shifts, axis=1)).max()
    assert steps < 15 / sigma
    assert np.abs(np.corrcoef(shifts[..., 0].ravel(), shifts[..., 1].ravel())[0, 1]) < 0.2


def test_no_strength_is_no_change():
    sample = drawn(20, 33, 0)
    for transform in (ElasticTransform(1.0, alpha=0), GridDistortion(1.0, distort_limit=0), RandomPerspective(1.0, 0)):
        after = transform(sample, np.random.default_rng(0))
        np.testing.assert_allclose(after.image.astype(float), sample.image, atol=1)
        np.testing.assert_array_equal(after.label, sample.label)


def test_the_grid_keeps_its_order_and_its_ends():
    side = 200
    image = np.tile(np.arange(side, dtype=np.float64), (30, 1))[..., None]
    after = GridDistortion(1.0, 5, 0.5)(Sample(image), np.random.default_rng(1)).image[0, :, 0]
    steps = np.diff(after)
    assert (after[0], after[-1]) == (0, side - 1)
    assert steps.min() > 0.3
    assert steps.max() < 3
    assert steps.std() > 0.1


def test_chances_are_kept():
    sample = drawn(6, 6, 0)
    for transform in (RandomAffine(0.3), RandomPerspective(0.3), ElasticTransform(0.3), GridDistortion(0.3)):
        rng = np.random.default_rng(0)
        assert 100 < sum(transform(sample, rng) is not sample for _ in range(400)) < 140


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomAffine(1.5), "prob must be a chance between 0 and 1, got 1.5"),
        (lambda: RandomAffine(degrees=-3), r"degrees must be a number of at least 0, or \(low, high\), got -3"),
        (lambda: RandomAffine(degrees=(4, 3)), r"got \(4, 3\)"),
        (lambda: RandomAffine(translate=1.2), "translate must be a share from 0 to 1, or two for x and y, got 1.2"),
        (lambda: RandomAffine(scale=(0, 1)), r"scale must be \(low, high\) with 0 < low <= high"),
        (lambda: RandomAffine(shear=85), "shear must be within 80 degrees, got 85"),
        (lambda: RandomPerspective(distortion_scale=0.7), "from 0 to below 2/3, got 0.7"),
        (lambda: ElasticTransform(sigma=0), "alpha must be at least 0 and sigma above 0, got 120.0 and 0"),
        (lambda: GridDistortion(num_steps=0), "num_steps must be at least 1, got 0"),
        (lambda: GridDistortion(distort_limit=1), "distort_limit must be from 0 to below 1, got 1"),
    ],
)
def test_wrong_arguments_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [RandomAffine, RandomPerspective, ElasticTransform, GridDistortion])
def test_chances_are_checked(make):
    with pytest.raises(ValueError, match=f"{make.__name__}: prob must be a chance between 0 and 1, got 1.5"):
        make(1.5)


def test_what_is_done_where_nothing_is_said():
    affine_map = RandomAffine()
    assert (affine_map.prob, affine_map.degrees, affine_map.translate) == (0.5, (-15, 15), (0.1, 0.1))
    assert (affine_map.scale, affine_map.shear) == ((0.8, 1.25), (-5, 5))
    assert RandomPerspective() == RandomPerspective(0.5, 0.3, 0, 255)
    assert ElasticTransform() == ElasticTransform(0.5, 120.0, 8.0, 0, 255)
    assert GridDistortion() == GridDistortion(0.5, 5, 0.3)


@pytest.mark.parametrize("kind", MAKERS)
def test_volumes_are_refused(kind):
    with pytest.raises(ValueError, match=r"expected an image \(height, width, bands\), found \(2, 4, 5, 1\)"):
        MAKERS[kind]()(Sample(np.zeros((2, 4, 5, 1))), np.random.default_rng(0))
