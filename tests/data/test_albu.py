"""Transforms of Albumentations by their names."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.transforms.albu import Albu


def drawn(label=np.uint8) -> Sample:
    rng = np.random.default_rng(0)
    return Sample(
        rng.integers(0, 256, (20, 30, 3), dtype=np.uint8),
        rng.choice([0, 1, 5, 300 if label != np.uint8 else 6], (20, 30)).astype(label),
        {"edge": rng.integers(0, 2, (20, 30)).astype(bool), "depth": rng.random((20, 30)).astype(np.float32)},
        SampleMeta(valid=(20, 29)),
    )


def test_without_the_package_it_can_be_written_but_not_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    transform = Albu(({"type": "Blur"},))
    with pytest.raises(ValueError, match=r"pip install 'intarsia\[albu\]'"):
        transform(drawn(), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({"type": "Blur"}, "must be a list of dict(type=..., ...)"),
        ([{"p": 1}], "a dict with its name under 'type', got {'p': 1}"),
        ([{"type": "OneOf", "transforms": ["Blur"]}], "a dict with its name under 'type', got 'Blur'"),
    ],
)
def test_what_is_no_list_of_transforms(steps, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Albu(steps)
    assert words in str(error.value)


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("albumentations")

    @pytest.mark.parametrize("label", [np.uint8, np.uint16, np.int64])
    def test_everything_is_mirrored_together(self, label):
        sample = drawn(label)
        after = Albu([{"type": "HorizontalFlip", "p": 1.0}])(sample, np.random.default_rng(0))
        for before, now in (
            (sample.image, after.image),
            (sample.label, after.label),
            *((sample.maps[name], after.maps[name]) for name in sample.maps),
        ):
            assert now.dtype == before.dtype
            np.testing.assert_array_equal(now, before[:, ::-1])
        assert list(after.maps) == ["edge", "depth"]
        assert after.meta.valid is None

    def test_draws_come_from_the_generator(self):
        transform = Albu(
            [{"type": "RandomBrightnessContrast"}, {"type": "RandomGamma"}, {"type": "HueSaturationValue"}]
        )
        images = [transform(drawn(), np.random.default_rng(seed % 40)).image for seed in range(80)]
        assert len({image.tobytes() for image in images}) > 30
        for seed in range(40):
            np.testing.assert_array_equal(images[seed], images[seed + 40])
        np.testing.assert_array_equal(drawn().label, transform(drawn(), np.random.default_rng(0)).label)

    def test_transforms_draw_apart(self):
        flips = [{"type": "HorizontalFlip", "p": 0.5}, {"type": "VerticalFlip", "p": 0.5}]
        sample, rng = drawn(), np.random.default_rng(0)
        found = {Albu(flips)(sample, rng).image.tobytes() for _ in range(40)}
        assert len(found) == 4

    def test_colours_are_rgb(self):
        red = Sample(np.full((4, 4, 3), (200, 10, 10), np.uint8))
        grey = Albu([{"type": "ToGray", "p": 1.0}])(red, np.random.default_rng(0)).image
        assert abs(int(grey[0, 0, 0]) - (0.299 * 200 + 0.701 * 10)) <= 1

    def test_one_of_several(self):
        flips = [{"type": "HorizontalFlip", "p": 1.0}, {"type": "VerticalFlip", "p": 1.0}]
        transform = Albu([{"type": "OneOf", "transforms": flips, "p": 1.0}])
        sample = drawn()
        rng = np.random.default_rng(0)
        found = {transform(sample, rng).image.tobytes() for _ in range(20)}
        assert found == {sample.image[:, ::-1].tobytes(), sample.image[::-1].tobytes()}

    def test_images_of_another_size_and_of_other_bands(self):
        sample = Sample(np.zeros((20, 30, 1), np.uint8), np.zeros((20, 30), np.uint8))
        after = Albu([{"type": "RandomCrop", "height": 8, "width": 9}])(sample, np.random.default_rng(0))
        assert after.image.shape == (8, 9, 1)
        assert after.label.shape == (8, 9)

    @pytest.mark.parametrize("name", ["Blurr", "os", "Compose.__init__", "__version__", "cv2"])
    def test_names_that_are_no_transforms(self, name):
        with pytest.raises(ValueError, match="expected a transform of Albumentations"):
            Albu([{"type": name}])(drawn(), np.random.default_rng(0))

    def test_arguments_that_it_does_not_take(self):
        with pytest.raises(ValueError, match=r"Blur of Albumentations .* cannot be made"):
            Albu([{"type": "Blur", "blur_limit": "much"}])(drawn(), np.random.default_rng(0))
