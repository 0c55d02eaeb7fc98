"""Rotation and quarters of a turn: image, labels and maps together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.transforms.geometry import flipped
from intarsia.data.transforms.rotate import RandomRotate, RandomRotFlip, rotation, turned, warped

SIDES = st.integers(2, 40)
SEEDS = st.integers(0, 2**32 - 1)
ANGLES = st.floats(-360, 360)
LABEL_TYPES = (np.uint8, np.uint16, np.int32, np.int64)


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


def same(one: Sample, other: Sample) -> None:
    maps = zip(one.maps.values(), other.maps.values(), strict=True)
    for a, b in ((one.image, other.image), (one.label, other.label), *maps):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@settings(deadline=None)
@given(SIDES, SIDES, SEEDS, st.booleans(), st.sampled_from([np.uint8, np.int32, np.float32]))
def test_rotating_by_nothing_is_nothing(height, width, seed, auto_bound, image):
    sample = drawn(height, width, seed, image=image)
    transform = RandomRotate(1.0, (0, 0), auto_bound=auto_bound)
    after = transform(sample, np.random.default_rng(seed))
    same(after, sample)
    assert after.meta.valid is None


@settings(deadline=None)
@given(SIDES, SIDES, SEEDS, ANGLES, st.booleans(), st.sampled_from(LABEL_TYPES))
def test_rotating_invents_no_label_and_moves_everything(height, width, seed, angle, auto_bound, label):
    sample = drawn(height, width, seed, label=label)
    transform = RandomRotate(1.0, (angle, angle), pad_val=7, seg_pad_val=255, auto_bound=auto_bound)
    after = transform(sample, np.random.default_rng(seed))
    size = after.image.shape[:2]
    assert after.label.shape == size
    assert {value.shape for value in after.maps.values()} == {size}
    assert set(np.unique(after.label)) <= {0, 1, 5, 255}
    assert after.label.dtype == label
    inside = after.label != 255
    # Whatever is inside shows the same pixel in all maps of whole numbers.
    source = after.maps["index"][inside]
    np.testing.assert_array_equal(after.label[inside], sample.label.ravel()[source])
    np.testing.assert_array_equal(after.maps["edge"][inside], sample.maps["edge"].ravel()[source])
    assert (after.maps["depth"][~inside] == 0).all()
    assert not inside.any() or after.maps["depth"][inside].min() >= 3 - 1e-5  # not mixed with the zeros outside


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32, np.uint32])
@pytest.mark.parametrize("bands", [1, 3, 7])
def test_every_type_and_band_is_rotated_alike(dtype, bands):
    sample = drawn(31, 44, 0, image=dtype, bands=bands)
    after = RandomRotate(1.0, (33, 33), pad_val=9)(sample, np.random.default_rng(0))
    assert after.image.dtype == dtype
    assert after.image.shape == sample.image.shape
    assert (after.image[0, 0] == 9).all()
    matrix, _ = rotation((31, 44), 33)
    for band in range(bands):
        exact = cv2.warpAffine(
            sample.image[..., band].astype(np.float64), matrix, (44, 31), flags=cv2.INTER_LINEAR, borderValue=[9.0]
        )
        # OpenCV takes 1/32 of a pixel for a few types; neighbours differ by up to 200.
        assert np.abs(after.image[..., band] - exact).max() <= 1 + 200 / 16
        assert np.abs(after.image[..., band] - exact).mean() < 2


def test_rotation_is_clockwise_around_the_centre():
    label = np.zeros((5, 5), np.uint8)
    label[0, 2] = 1  # above the middle
    sample = Sample(label[..., None], label)
    right = RandomRotate(1.0, (90, 90))(sample, np.random.default_rng(0))
    assert np.argwhere(right.label == 1).tolist() == [[2, 4]]
    around = RandomRotate(1.0, (180, 180), center=(2, 1))(sample, np.random.default_rng(0))
    assert np.argwhere(around.label == 1).tolist() == [[2, 2]]


def test_all_of_the_image_is_kept_if_asked():
    sample = drawn(20, 40, 0)
    after = RandomRotate(1.0, (90, 90), auto_bound=True)(sample, np.random.default_rng(0))
    assert after.image.shape == (40, 20, 3)
    np.testing.assert_array_equal(after.label, np.rot90(sample.label, -1))


def test_a_label_that_its_type_cannot_hold_widens_it():
    after = RandomRotate(1.0, (45, 45), seg_pad_val=65535)(drawn(9, 9, 0), np.random.default_rng(0))
    assert after.label.dtype == np.uint16
    assert after.label[0, 0] == 65535


def test_chances_are_kept():
    sample = drawn(6, 6, 0)
    rng = np.random.default_rng(0)
    rotated = sum(RandomRotate(0.3, 20)(sample, rng) is not sample for _ in range(2000))
    assert 500 < rotated < 700
    untouched = sum(RandomRotFlip(0.5, 0.5)(sample, rng) is sample for _ in range(2000))
    assert 430 < untouched < 570  # a quarter


@given(SIDES, SIDES, SEEDS, st.integers(0, 3))
def test_quarters_of_a_turn_come_back(height, width, seed, quarters):
    sample = drawn(height, width, seed)
    once = turned(sample, quarters)
    assert once.image.shape[:2] == ((width, height) if quarters % 2 else (height, width))
    same(turned(once, 4 - quarters), sample)


def test_turning_and_mirroring_reaches_all_eight_positions():
    sample = drawn(5, 5, 0)
    wanted = {
        flipped(turned(sample, quarters), direction).maps["index"].tobytes()
        for quarters in range(4)
        for direction in ("horizontal", "vertical")
    }
    rng = np.random.default_rng(0)
    found = {RandomRotFlip(0.0, 1.0)(sample, rng).maps["index"].tobytes() for _ in range(300)}
    assert found == wanted
    assert len(wanted) == 4  # mirrored once, in four positions


class Scripted(np.random.Generator):
    """A generator that draws what it is told."""

    def __init__(self, *drawn):
        super().__init__(np.random.PCG64(0))
        self.drawn = list(drawn)

    def random(self):
        return 0.5

    def integers(self, *bounds):
        assert bounds == ((0, 4) if len(self.drawn) == 2 else (0, 2))
        return self.drawn.pop(0)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("axis", [0, 1])
def test_quarters_come_first_and_then_the_axis(quarters, axis):
    sample = drawn(5, 7, 0)
    after = RandomRotFlip(0.0, 1.0)(sample, Scripted(quarters, axis))
    for name, value in sample.maps.items():
        np.testing.assert_array_equal(after.maps[name], np.flip(np.rot90(value, quarters), axis))
    np.testing.assert_array_equal(after.image, np.flip(np.rot90(sample.image, quarters), axis))


def test_real_numbers_are_mixed_and_whole_ones_are_not():
    sample = drawn(20, 20, 0)
    matrix, size = rotation((20, 20), 25)
    after = warped(sample, matrix, size, image_value=np.zeros(3), label_value=255)
    inside = after.label != 255
    mixed = cv2.warpAffine(sample.maps["depth"], matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(after.maps["depth"][inside], mixed[inside])
    assert not np.isin(after.maps["depth"][inside], sample.maps["depth"]).all()


def test_rotated_labels_are_ignored_outside_unless_said():
    sample = drawn(30, 30, 0)
    for given_value, there in (({}, 255), ({"seg_pad_val": 0}, 0)):
        after = RandomRotFlip(1.0, 1.0, (45, 45), **given_value)(sample, np.random.default_rng(0))
        assert after.label[0, 0] == there
        assert set(np.unique(after.label)) <= {0, 1, 5, there}
        assert (after.image[0, 0] == 0).all()


def test_moving_by_a_matrix_takes_any_size():
    sample = drawn(8, 9, 0)
    shift = np.array([[1.0, 0, 2], [0, 1, 1]])
    after = warped(sample, shift, (10, 12), image_value=np.array([1, 2, 3]), label_value=255)
    np.testing.assert_array_equal(after.image[1:9, 2:11], sample.image)
    np.testing.assert_array_equal(after.label[1:9, 2:11], sample.label)
    assert after.image[0, 0].tolist() == [1, 2, 3]
    assert (after.label == 255).sum() == 120 - 72


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomRotate(1.5, 10), "prob must be a chance between 0 and 1, got 1.5"),
        (lambda: RandomRotate(0.5, -10), "must be positive, got -10"),
        (lambda: RandomRotate(0.5, (1, 2, 3)), "a number or (low, high), got (1, 2, 3)"),
        (lambda: RandomRotate(0.5, 10, center=(1, 2), auto_bound=True), "exclude each other"),
        (lambda: RandomRotate(0.5, 10, center=(1,)), "center must be (x, y), got (1,)"),
        (lambda: RandomRotFlip(flip_prob=-1), "flip_prob must be a chance between 0 and 1, got -1"),
        (lambda: RandomRotFlip(degree="20"), "degree must be a number"),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    assert words in str(error.value)


@pytest.mark.parametrize(("value", "words"), [((1, 2), "2 numbers for images of 3 bands"), (300, "within 0 and 255")])
def test_wrong_padding(value, words):
    with pytest.raises(ValueError, match=words):
        RandomRotate(1.0, 10, pad_val=value)(drawn(5, 5, 0), np.random.default_rng(0))
