from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.transforms.geometry import (
    Pad,
    RandomCrop,
    RandomFlip,
    ResizeThenCrop,
    cropped,
    flipped,
    padded,
)
from intarsia.data.transforms.resize import (
    RandomChoiceResize,
    RandomResize,
    Resize,
    ResizeShortestEdge,
    ResizeToMultiple,
    fit,
    nearest_window,
    resize_array,
    resized,
    shortest_edge,
)

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 40)
IMAGE_TYPES = st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64])
LABEL_TYPES = st.sampled_from([np.uint8, np.uint16, np.int64])
DIRECTIONS = st.sampled_from(["horizontal", "vertical", "diagonal"])


@st.composite
def samples(draw, image_types=IMAGE_TYPES):
    height, width, bands = draw(SIDES), draw(SIDES), draw(st.sampled_from([1, 3, 4, 7]))
    rng = np.random.default_rng(draw(SEEDS))
    dtype = draw(image_types)
    return Sample(
        image=(rng.random((height, width, bands)) * 200).astype(dtype),
        label=rng.choice([0, 1, 5, 255], (height, width)).astype(draw(LABEL_TYPES)),
        maps={
            "depth": rng.random((height, width)).astype(np.float32),
            "edge": rng.integers(0, 2, (height, width)).astype(bool),
        },
        meta=SampleMeta(name="s", original_size=(height, width)),
    )


def assert_same(one, other):
    maps = zip(one.maps.values(), other.maps.values(), strict=True)
    for a, b in ((one.image, other.image), (one.label, other.label), *maps):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@given(samples(), DIRECTIONS)
def test_flipping_twice_is_nothing(sample, direction):
    twice = flipped(flipped(sample, direction), direction)
    assert_same(twice, sample)
    step = {"diagonal": ("horizontal", "vertical")}.get(direction, (direction,))
    assert twice.meta.flips == step * 2


@given(samples(), DIRECTIONS)
def test_flipping_is_indexing_backwards(sample, direction):
    rows = slice(None, None, 1 if direction == "horizontal" else -1)
    columns = slice(None, None, 1 if direction == "vertical" else -1)
    once = flipped(sample, direction)
    np.testing.assert_array_equal(once.image, sample.image[rows, columns])
    np.testing.assert_array_equal(once.label, sample.label[rows, columns])
    np.testing.assert_array_equal(once.maps["edge"], sample.maps["edge"][rows, columns])


@given(samples(), st.integers(0, 9), st.integers(0, 9))
def test_cropping_takes_back_what_padding_added(sample, bottom, right):
    height, width = sample.image.shape[:2]
    larger = padded(sample, (height + bottom, width + right), image_value=7, label_value=255)
    assert larger.image.shape[:2] == larger.label.shape == (height + bottom, width + right)
    assert (larger.image[height:] == 7).all()
    assert (larger.label[:, width:] == 255).all()
    if bottom or right:
        assert larger.meta.valid == (height, width)
    assert_same(cropped(larger, (0, 0), (height, width)), sample)
    inner = cropped(larger, (bottom, right), (height, width))
    assert (inner.meta.valid or (height, width)) == (max(height - bottom, 0), max(width - right, 0))


@given(samples(), SIDES, SIDES)
def test_resizing_invents_no_label_and_moves_everything(sample, height, width):
    after = resized(sample, (height, width))
    assert after.image.shape == (height, width, sample.image.shape[2])
    assert after.label.shape == after.maps["depth"].shape == after.maps["edge"].shape == (height, width)
    assert after.image.dtype == sample.image.dtype
    assert after.label.dtype == sample.label.dtype
    assert set(np.unique(after.label)) <= set(np.unique(sample.label))
    assert after.maps["edge"].dtype == bool
    assert after.image.min() >= sample.image.min() - 1e-3
    assert after.image.max() <= sample.image.max() + 1e-3
    assert after.meta.original_size == sample.meta.original_size


@given(SIDES, SIDES, SIDES, SIDES, st.integers(1, 9), st.integers(1, 9), SEEDS)
def test_the_window_of_a_nearest_resize_is_opencvs(height, width, new_height, new_width, top, left, seed):
    array = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    whole = cv2.resize(array, (new_width, new_height), interpolation=cv2.INTER_NEAREST)
    corner = (top % new_height, left % new_width)
    size = (new_height - corner[0], new_width - corner[1])
    window = nearest_window(array, (new_height, new_width), corner, size)
    np.testing.assert_array_equal(window, whole[corner[0] :, corner[1] :])


def test_the_window_of_a_nearest_resize_at_real_sizes():
    array = np.random.default_rng(0).integers(0, 256, (1024, 2048), dtype=np.uint8)
    for width in (1024, 1311, 2047, 2049, 3333, 4096):
        height = int(width / 2 + 0.5)
        whole = cv2.resize(array, (width, height), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(nearest_window(array, (height, width), (3, 5), (500, 900)), whole[3:503, 5:905])


@pytest.mark.parametrize("bands", [5, 64, 150])
def test_every_band_is_resized_alike(bands):
    array = np.random.default_rng(0).integers(0, 256, (30, 20, bands), dtype=np.uint8)
    whole = resize_array(array, (17, 41), "bilinear")
    for band in range(bands):
        np.testing.assert_array_equal(whole[:, :, band], cv2.resize(array[:, :, band], (41, 17)))


@given(
    samples(st.sampled_from([np.uint8, np.float32])),
    st.sampled_from(
        [
            RandomResize((60, 30), (0.5, 2.0), keep_ratio=True),
            RandomResize([(20, 10), (50, 40)]),
            Resize((25, 31)),
            Resize(scale_factor=1.7),
            ResizeShortestEdge(20, 100),
            RandomChoiceResize([10, 20, 30], resize_type="ResizeShortestEdge", max_size=90),
            ResizeToMultiple(16),
        ]
    ),
    st.sampled_from(
        [RandomCrop((12, 20), 0.75), RandomCrop(16), RandomCrop(8, 0.3, ignore_index=1), RandomCrop(8, rare=(5, 1))]
    ),
    SEEDS,
)
def test_resizing_and_cropping_together_is_one_after_the_other(sample, resize, crop, seed):
    rng, same_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    together = ResizeThenCrop(resize, crop)(sample, rng)
    apart = crop(resize(sample, same_rng), same_rng)
    assert_same(together, apart)
    assert together.meta == apart.meta
    assert rng.random() == same_rng.random()


@given(samples(), st.integers(1, 50), st.integers(1, 50), SEEDS)
def test_a_crop_is_a_window_of_the_image(sample, height, width, seed):
    sample.image[..., 0] = np.arange(sample.image[..., 0].size).reshape(sample.image.shape[:2]) % 200
    after = RandomCrop((height, width))(sample, np.random.default_rng(seed))
    old = sample.image.shape[:2]
    assert after.image.shape[:2] == after.label.shape == (min(height, old[0]), min(width, old[1]))
    corners = [
        (top, left)
        for top in range(old[0] - after.label.shape[0] + 1)
        for left in range(old[1] - after.label.shape[1] + 1)
        if np.array_equal(after.image, cropped(sample, (top, left), after.label.shape).image)
    ]
    assert corners


def test_all_corners_are_drawn():
    sample = Sample(np.arange(20, dtype=np.uint8).reshape(4, 5, 1))
    crop = RandomCrop((2, 3))
    drawn = {int(crop(sample, np.random.default_rng(seed)).image[0, 0, 0]) for seed in range(200)}
    assert drawn == {5 * top + left for top in range(3) for left in range(3)}


def test_a_crop_holds_a_pixel_of_a_rare_class_wherever_that_lies():
    label = np.zeros((20, 30), np.uint8)
    for place in ((0, 0), (19, 29), (7, 12)):
        label[:] = 0
        label[place] = 5
        sample = Sample(np.zeros((20, 30, 3), np.uint8), label)
        seen = set()
        for seed in range(300):
            after = RandomCrop((4, 6), rare=(3, 5), rare_prob=1)(sample, np.random.default_rng(seed)).label
            assert after.shape == (4, 6)
            (found,) = np.argwhere(after == 5)
            seen.add(tuple(found))
        inside = place == (7, 12)  # of a corner of the image there is one window
        assert len(seen) == (24 if inside else 1)


def test_rare_classes_are_drawn_alike_and_as_often_as_wished():
    label = np.zeros((10, 400), np.uint8)
    label[:, :5], label[5, 390] = 1, 2
    sample = Sample(np.zeros((10, 400, 3), np.uint8), label)
    found = [
        set(np.unique(RandomCrop(10, rare=(1, 2), rare_prob=0.5)(sample, np.random.default_rng(seed)).label))
        for seed in range(1000)
    ]
    ones, twos = sum(1 in one for one in found), sum(2 in one for one in found)
    assert 200 < ones < 320  # half of a half, and a few of the others
    assert 200 < twos < 320
    unknown = RandomCrop(10, rare=(7,), rare_prob=1)(sample, np.random.default_rng(0)).label
    assert unknown.shape == (10, 10)
    unlabelled = RandomCrop(10, rare=(1,), rare_prob=1)(Sample(sample.image, None), np.random.default_rng(3)).image
    assert unlabelled.shape == (10, 10, 3)


def test_a_crop_without_rare_classes_draws_as_before():
    sample = Sample(np.arange(20, dtype=np.uint8).reshape(4, 5, 1), np.zeros((4, 5), np.uint8))
    for seed in range(20):
        rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
        assert_same(RandomCrop(2)(sample, rng), RandomCrop(2, rare=(), rare_prob=1)(sample, same))
        assert rng.random() == same.random()


def test_a_crop_avoids_windows_that_one_class_fills():
    label = np.zeros((40, 400), np.uint8)
    label[:, 190:] = 1
    label[:20, :150] = 255
    sample = Sample(np.zeros((40, 400, 3), np.uint8), label)
    dull = varied = 0
    for seed in range(300):
        plain = RandomCrop(40)(sample, np.random.default_rng(seed)).label
        chosen = RandomCrop(40, cat_max_ratio=0.75)(sample, np.random.default_rng(seed)).label
        dull += share(plain) >= 0.75
        varied += share(chosen) < 0.75
    assert dull > 250
    # The chance that ten more draws (and the first) all fail is about (1 - 21/361) ** 11 = 0.52.
    assert 0.36 < varied / 300 < 0.6


def share(label):
    counts = np.bincount(label[label != 255])
    return counts.max() / counts.sum() if (counts > 0).sum() > 1 else 1.0


def test_flip_chances():
    sample = Sample(np.zeros((2, 2, 1), np.uint8))

    def shares(flip):
        drawn = [flip(sample, np.random.default_rng(seed)).meta.flips for seed in range(2000)]
        return {flips: drawn.count(flips) / 2000 for flips in set(drawn)}

    assert shares(RandomFlip(0.5)) == pytest.approx({(): 0.5, ("horizontal",): 0.5}, abs=0.04)
    assert shares(RandomFlip(0.6, ["horizontal", "vertical"])) == pytest.approx(
        {(): 0.4, ("horizontal",): 0.3, ("vertical",): 0.3}, abs=0.04
    )
    assert shares(RandomFlip([0.1, 0.5], ["vertical", "diagonal"])) == pytest.approx(
        {(): 0.4, ("vertical",): 0.1, ("horizontal", "vertical"): 0.5}, abs=0.04
    )
    assert shares(RandomFlip(1.0)) == {("horizontal",): 1.0}
    assert shares(RandomFlip(0.0)) == {(): 1.0}


def test_flipping_exchanges_left_and_right_classes():
    sample = Sample(np.zeros((1, 3, 1), np.uint8), np.array([[1, 2, 7]], np.uint8))
    after = RandomFlip(1.0, swap_seg_labels=[(1, 2)])(sample, np.random.default_rng(0))
    assert after.label.tolist() == [[7, 1, 2]]
    assert sample.label.tolist() == [[1, 2, 7]]


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((1024, 2048), (2048, 1024), (1024, 2048)),
        ((364, 500), (2048, 512), (512, 703)),
        ((500, 364), (2048, 512), (703, 512)),
        ((512, 2048), (512, 1024), (256, 1024)),
        ((128, 256), (2049, 1025), (1025, 2049)),
        ((3, 1000), (100, 100), (1, 100)),
    ],
)
def test_fit(size, scale, expected):
    assert fit(size, scale) == expected
    assert fit(size, scale[::-1]) == expected


@pytest.mark.parametrize(
    ("size", "length", "longest", "expected"),
    [((364, 500), 640, 2560, (640, 879)), ((500, 364), 640, 2560, (879, 640)), ((100, 1000), 640, 2560, (256, 2560))],
)
def test_shortest_edge(size, length, longest, expected):
    assert shortest_edge(size, length, longest) == expected


@given(SIDES, SIDES, SEEDS)
def test_random_resize_stays_in_its_range(height, width, seed):
    rng = np.random.default_rng(seed)
    new = RandomResize((200, 100), (0.5, 2.0)).target((height, width), rng)
    assert 50 <= new[0] <= 200
    assert 100 <= new[1] <= 400
    assert abs(new[1] - 2 * new[0]) <= 2
    new = RandomResize([(30, 10), (50, 20)]).target((height, width), rng)
    assert 10 <= new[0] <= 20
    assert 30 <= new[1] <= 50


def test_targets_of_the_other_resizes():
    rng = np.random.default_rng(0)
    assert Resize((30, 20)).target((5, 5), rng) == (20, 30)
    assert Resize(30).target((5, 7), rng) == (30, 30)
    assert Resize(scale_factor=0.5).target((5, 7), rng) == (3, 4)
    assert Resize(scale_factor=(2.0, 3.0)).target((5, 7), rng) == (15, 14)
    assert ResizeToMultiple(32).target((33, 64), rng) == (64, 64)
    assert ResizeToMultiple((10, 4)).target((33, 64), rng) == (36, 70)
    drawn = {RandomChoiceResize([8, 16, 24]).target((5, 5), np.random.default_rng(seed)) for seed in range(50)}
    assert drawn == {(8, 8), (16, 16), (24, 24)}


@pytest.mark.parametrize(
    ("pad", "expected"),
    [
        (Pad(size=(9, 7)), (7, 9)),
        (Pad(size=(3, 3)), (5, 6)),
        (Pad(size_divisor=4), (8, 8)),
        (Pad(pad_to_square=True), (6, 6)),
    ],
)
def test_pad_sizes(pad, expected):
    sample = Sample(np.ones((5, 6, 3), np.uint8), np.ones((5, 6), np.uint8))
    after = pad(sample, np.random.default_rng(0))
    assert after.image.shape[:2] == after.label.shape == expected
    assert (after.image[5:] == 0).all()
    assert (after.label[:, 6:] == 255).all()


def test_pad_values_and_modes():
    sample = Sample(np.arange(4, dtype=np.uint8).reshape(2, 2, 1), np.array([[1, 2], [3, 4]], np.uint8))
    after = Pad(size=(3, 3), pad_val={"img": 9, "seg": 0})(sample, np.random.default_rng(0))
    assert after.image[2, 2, 0] == 9
    assert after.label[2, 2] == 0
    assert Pad(size=(3, 3), padding_mode="edge")(sample, np.random.default_rng(0)).label.tolist()[2] == [3, 4, 4]
    assert Pad(size=(3, 2), pad_val={"seg": 999})(sample, np.random.default_rng(0)).label.tolist()[0] == [1, 2, 999]


@pytest.mark.parametrize("size", [(20, 31), (90, 70), (47, 200)])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_antialiased_is_what_pillow_calls_bilinear(size, bands):
    image = np.random.default_rng(0).integers(0, 256, (47, 60, bands), dtype=np.uint8)
    found = resize_array(image, size, "antialiased")
    assert found.shape == (*size, bands)
    for band in range(bands):
        expected = Image.fromarray(image[:, :, band]).resize(size[::-1], Image.Resampling.BILINEAR)
        assert np.array_equal(found[:, :, band], np.asarray(expected))
    if bands == 3:
        assert np.array_equal(found, np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.uint16, np.float32, np.float64])
def test_antialiased_arrays_of_any_type_are_alike(dtype):
    image = np.random.default_rng(0).integers(0, 2 if dtype is np.bool_ else 200, (40, 30, 2)).astype(dtype)
    found = resize_array(image, (17, 11), "antialiased")
    assert found.dtype == dtype
    exact = resize_array(image.astype(np.float32), (17, 11), "antialiased")
    assert np.abs(found.astype(np.float64) - exact).max() <= (0 if found.dtype.kind == "f" else 0.51)
    assert resize_array(image[:, :, 0], (17, 11), "antialiased").shape == (17, 11)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Resize(),
        lambda: Resize((2, 2), scale_factor=2.0),
        lambda: Resize((0, 2)),
        lambda: Resize(scale_factor=-1.0),
        lambda: Resize(2, interpolation="cubic"),
        lambda: RandomResize((20, 10)),
        lambda: RandomResize((20, 10), (2.0, 0.5)),
        lambda: RandomResize([(20, 10), (30, 20)], (0.5, 2.0)),
        lambda: RandomChoiceResize([]),
        lambda: RandomChoiceResize([3], resize_type="ResizeShortestEdge"),
        lambda: RandomChoiceResize([3], max_size=4),
        lambda: RandomChoiceResize([3], resize_type="Pad"),
        lambda: ResizeShortestEdge(0, 4),
        lambda: ResizeToMultiple(0),
        lambda: RandomCrop(0),
        lambda: RandomCrop(4, cat_max_ratio=0),
        lambda: RandomCrop(4, rare=(1,), rare_prob=1.5),
        lambda: RandomFlip(1.5),
        lambda: RandomFlip(0.5, "sideways"),
        lambda: RandomFlip([0.5], ["horizontal", "vertical"]),
        lambda: Pad(),
        lambda: Pad(size=(3, 3), size_divisor=2),
        lambda: Pad(size_divisor=2, padding_mode="wrap"),
        lambda: Pad(size_divisor=2, pad_val={"image": 0}),
    ],
)
def test_arguments_that_make_no_sense(make):
    with pytest.raises(ValueError, match=r"Resize|Crop|Flip|Pad|interpolation"):
        make()


def test_a_colour_to_pad_with() -> None:
    sample = Sample(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8))
    done = Pad(size=(4, 3), pad_val={"img": (1, 2, 3)})(sample, np.random.default_rng(0))
    assert done.image[2].tolist() == [[1, 2, 3]] * 4
    assert done.image[:2, 3].tolist() == [[1, 2, 3]] * 2
    assert not done.image[:2, :3].any()
    assert done.label is not None
    assert (done.label[2] == 255).all()
    with pytest.raises(ValueError, match="pad_val has 2 numbers for images of 3 bands"):
        Pad(size=(4, 3), pad_val={"img": (1, 2)})(sample, np.random.default_rng(0))
    with pytest.raises(ValueError, match="pad_val of 'seg' is one label"):
        Pad(size=(4, 3), pad_val={"seg": (1, 2)})
