"""Four samples in one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.datasets.wrappers import MultiImageMixDataset
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.geometry import RandomCrop
from intarsia.data.transforms.mosaic import RandomMosaic


def painted(number: int, height: int = 20, width: int = 30, **more) -> Sample:
    """An image of one colour, whose label is its number."""
    return Sample(
        np.full((height, width, 3), 10 * number, np.uint8),
        np.full((height, width), number, np.uint8),
        {"edge": np.full((height, width), number == 2), "depth": np.full((height, width), number + 0.5, np.float32)},
        SampleMeta(name=str(number), valid=(1, 1), flips=("horizontal",)),
        **more,
    )


PARTS = [painted(number) for number in (1, 2, 3, 4)]


def test_four_samples_lie_around_the_centre():
    transform = RandomMosaic(1.0, (20, 30), (1.0, 1.0), pad_val=200)
    after = transform(PARTS[0], np.random.default_rng(0), PARTS[1:])
    assert after.image.shape == (40, 60, 3)
    np.testing.assert_array_equal(after.label, np.kron([[1, 2], [3, 4]], np.ones((20, 30))))
    np.testing.assert_array_equal(after.image[..., 1], after.label * 10)
    np.testing.assert_array_equal(after.maps["edge"], after.label == 2)
    np.testing.assert_array_equal(after.maps["depth"], after.label + 0.5)
    assert after.meta == SampleMeta(name="1", original_size=(40, 60))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=4, max_size=4),
    st.integers(1, 25),
    st.integers(1, 25),
    st.floats(0, 2),
    st.integers(0, 99),
)
def test_nothing_is_invented_at_any_size(sizes, height, width, ratio, seed):
    parts = [painted(number, *size) for number, size in enumerate(sizes, 1)]
    transform = RandomMosaic(1.0, (height, width), (0.0, ratio), pad_val=7)
    after = transform(parts[0], np.random.default_rng(seed), parts[1:])
    assert after.image.shape == (2 * height, 2 * width, 3)
    assert set(np.unique(after.label)) <= {1, 2, 3, 4, 255}
    for number in (1, 2, 3, 4):
        assert (after.image[after.label == number] == 10 * number).all()
        depth = after.maps["depth"][after.label == number]  # interpolated: the weights of two pixels make 1 to rounding
        np.testing.assert_allclose(depth, number + 0.5, rtol=4 * np.finfo(depth.dtype).eps)
    assert (after.image[after.label == 255] == 7).all()
    assert (after.maps["depth"][after.label == 255] == 0).all()
    rows, columns = np.nonzero(after.label == 1)
    if rows.size and (after.label == 4).any():
        below, right = np.nonzero(after.label == 4)
        assert rows.max() < below.min()
        assert columns.max() < right.min()


def test_proportions_are_kept():
    parts = [painted(1, 20, 80), *PARTS[1:]]
    after = RandomMosaic(1.0, (40, 40), (1.0, 1.0))(parts[0], np.random.default_rng(0), parts[1:])
    rows, columns = np.nonzero(after.label == 1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 39, 0, 39)


def test_it_stays_as_it_is_at_random():
    rng = np.random.default_rng(0)
    kept = sum(RandomMosaic(0.25, (8, 8))(PARTS[0], rng, PARTS[1:]) is PARTS[0] for _ in range(400))
    assert 270 < kept < 330
    assert RandomMosaic.others == RandomMosaic(0.5).others == 3


def test_depths_are_not_known_where_nothing_lies():
    parts = [Sample(part.image, part.maps["depth"]) for part in PARTS]
    after = RandomMosaic(1.0, (30, 30), (1.0, 1.0))(parts[0], np.random.default_rng(0), parts[1:])
    assert after.label.dtype == np.float32
    assert set(np.unique(after.label)) == {0, 1.5, 2.5, 3.5, 4.5}


def test_the_pipeline_hands_it_others():
    class Painted:
        classes, palette, ignore_index = tuple("abcde"), ((0, 0, 0),) * 5, 255

        def __len__(self):
            return 4

        def load(self, index):
            return PARTS[index]

    pipeline = Pipeline(
        MultiImageMixDataset(Painted()), [RandomMosaic(1.0, (20, 30), (1.0, 1.0)), RandomCrop((20, 30))]
    )
    shown = [set(np.unique(pipeline.get(0, np.random.default_rng(seed)).label)) for seed in range(20)]
    assert set().union(*shown) == {1, 2, 3, 4}
    again = [set(np.unique(pipeline.get(0, np.random.default_rng(seed)).label)) for seed in range(20)]
    assert shown == again


class Unread(list):
    def __iter__(self):
        raise AssertionError("samples that are not used are not loaded")


def test_others_are_not_looked_at_without_need():
    assert RandomMosaic(0.0)(PARTS[0], np.random.default_rng(0), Unread(PARTS[1:])) is PARTS[0]


def test_labels_of_several_types_and_wide_ignored_values():
    parts = [*PARTS[:3], Sample(PARTS[3].image, PARTS[3].label.astype(np.int64), PARTS[3].maps)]
    assert RandomMosaic(1.0, (9, 9))(parts[0], np.random.default_rng(0), parts[1:]).label.dtype == np.int64
    wide = RandomMosaic(1.0, (9, 9), (1.5, 1.5), seg_pad_val=65535)
    assert wide(PARTS[0], np.random.default_rng(0), PARTS[1:]).label.dtype == np.uint16


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ((), "expected 3 further samples, found 0; it belongs into the pipeline of a MultiImageMixDataset"),
        (PARTS, "expected 3 further samples, found 4"),
        ([*PARTS[:2], Sample(PARTS[0].image[..., :1])], "agree in their bands, found 3 (1) and 1"),
        ([*PARTS[:2], Sample(PARTS[0].image, None, PARTS[0].maps)], "agree in their labels"),
        ([*PARTS[:2], Sample(PARTS[0].image, PARTS[0].label)], "agree in their maps, found ['depth', 'edge']"),
        ([*PARTS[:2], Sample(PARTS[0].image.astype(float), PARTS[0].label)], "agree in their type, found 'uint8'"),
    ],
)
def test_samples_that_do_not_fit(others, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        RandomMosaic(1.0)(PARTS[0], np.random.default_rng(0), others)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prob": 2}, "prob must be a chance between 0 and 1, got 2"),
        ({"prob": 1, "img_scale": (0, 5)}, "at least one pixel, got (0, 5)"),
        ({"prob": 1, "center_ratio_range": (0.5, 2.5)}, "within the result, got (0.5, 2.5)"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        RandomMosaic(**arguments)
    assert words in str(error.value)
