"""Patches around things, and what nnU-Net does to values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.intensity import LimitedContrast, LowResolution, MultiplicativeBrightness
from intarsia.data.transforms.patch import RandomPatch

STRAIGHT: dict[str, Any] = {"rotation_prob": 0.0, "scale_prob": 0.0}


def a_sample(height: int = 40, width: int = 50, place: tuple[int, int] = (0, 0)) -> Sample:
    """Values that say where a pixel is; one pixel is of class 1."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns], axis=-1).astype(np.float32)
    label = np.zeros((height, width), np.uint8)
    label[3, width - 4] = 1
    return Sample(image, label, meta=SampleMeta(place=place))


def many(transform: RandomPatch, sample: Sample, count: int = 60) -> list[Sample]:
    return [transform(sample, np.random.default_rng(seed)) for seed in range(count)]


def test_a_straight_patch_is_a_window_of_the_image() -> None:
    for found in many(RandomPatch(size=(8, 10), **STRAIGHT), a_sample()):
        top, left = found.image[0, 0].astype(int)
        np.testing.assert_array_equal(found.image, a_sample().image[top : top + 8, left : left + 10])


def test_windows_reach_everywhere() -> None:
    corners = {
        tuple(found.image[0, 0].astype(int)) for found in many(RandomPatch(size=(38, 48), **STRAIGHT), a_sample())
    }
    assert corners == {(row, column) for row in range(3) for column in range(3)}


@pytest.mark.parametrize(("batch", "forced"), [(1, 0), (2, 1), (3, 1), (4, 1), (12, 4), (25, 8)])
def test_the_last_samples_of_a_step_are_drawn_around_a_class(batch: int, forced: int) -> None:
    """As many as nnU-Net's: those from round(batch (1 - 0.33)) on."""
    transform = RandomPatch(size=(8, 8), foreground=[1], **STRAIGHT)
    found = []
    for place in range(batch):
        shown = many(transform, a_sample(place=(place, batch)), 20)
        found.append(all((one.label == 1).any() for one in shown))
    assert found == [False] * (batch - forced) + [True] * forced


def test_of_no_step_the_share_is_a_chance() -> None:
    transform = RandomPatch(size=(8, 8), foreground=[1], foreground_share=1.0, **STRAIGHT)
    assert all((found.label == 1).any() for found in many(transform, a_sample()))


def test_an_image_without_the_class_is_cut_anywhere() -> None:
    transform = RandomPatch(size=(8, 8), foreground=[2], foreground_share=1.0, **STRAIGHT)
    assert len({tuple(found.image[0, 0]) for found in many(transform, a_sample())}) > 30


def test_a_small_image_lies_in_the_middle() -> None:
    found = RandomPatch(size=(10, 9), pad_val=-1, seg_pad_val=7, **STRAIGHT)(a_sample(6, 5), np.random.default_rng(0))
    np.testing.assert_array_equal(found.image[2:8, 2:7], a_sample(6, 5).image)
    assert found.label is not None
    assert (found.label == 7).sum() == 90 - 30
    assert (found.image == -1).all(axis=-1).sum() == 90 - 30


def test_scale_and_rotation_are_around_the_middle_of_the_window() -> None:
    """A scale of 2 shows twice as much; half a turn puts it upside down."""
    sample = a_sample(41, 41)
    larger = RandomPatch(size=(9, 9), scale=(2, 2), scale_prob=1, rotation_prob=0)
    found = larger(Sample(sample.image[11:30, 11:30]), np.random.default_rng(1))
    steps = np.diff(found.image[..., 0], axis=0)
    np.testing.assert_allclose(steps[2:-2], 2, atol=1e-3)
    turn = RandomPatch(size=(41, 41), degrees=(180, 180), rotation_prob=1, scale_prob=0)
    upside = turn(sample, np.random.default_rng(0))
    np.testing.assert_allclose(upside.image, sample.image[::-1, ::-1], atol=1e-2)
    assert upside.label is not None
    assert sample.label is not None
    np.testing.assert_array_equal(upside.label, sample.label[::-1, ::-1])


class Things:
    """A data set of one image again and again."""

    classes, palette, ignore_index = ("ground", "thing"), ((0, 0, 0), (255, 0, 0)), 255

    def __len__(self) -> int:
        return 5

    def load(self, index: int) -> Sample:
        return a_sample()


def test_the_share_is_a_function_of_the_step() -> None:
    """Also from the middle on, and of two processes, which share a step."""
    pipeline = Pipeline(Things(), [RandomPatch(size=(8, 8), foreground=[1], **STRAIGHT)])

    def shown(rank: int = 0, world_size: int = 1, start: int = 0, batch: int = 4) -> list[list[bool]]:
        loader = train_loader(
            pipeline, batch_size=batch, seed=3, workers=0, rank=rank, world_size=world_size, start_step=start
        )
        steps = [next(loader).labels for _ in range(4)]
        return [[bool((label == 1).any()) for label in labels] for labels in steps if isinstance(labels, torch.Tensor)]

    whole = shown()
    assert all(step[3] for step in whole)
    assert shown(start=2)[:2] == whole[2:]
    halves = [shown(rank, 2, batch=2) for rank in (0, 1)]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


@pytest.mark.parametrize("size", [(0, 4), (4,)])
def test_a_size_without_pixels_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="RandomPatch: size"):
        RandomPatch(size=size)


# --- Values -------------------------------------------------------------------------------------------------------


def noise(dtype: str = "float32") -> Sample:
    return Sample(np.random.default_rng(0).normal(100, 20, (20, 24, 2)).astype(dtype))


def test_brightness_multiplies_each_band() -> None:
    sample = noise()
    found = MultiplicativeBrightness(prob=1)(sample, np.random.default_rng(0)).image
    factors = found / sample.image
    np.testing.assert_allclose(factors, factors[:1, :1] * np.ones_like(factors), rtol=1e-5)
    assert len(np.unique(factors[0, 0])) == 2
    assert ((factors >= 0.75) & (factors <= 1.25)).all()


def test_contrast_stays_within_the_band() -> None:
    sample = noise()
    found = LimitedContrast(prob=1, factor=(1.25, 1.25))(sample, np.random.default_rng(0)).image
    mean = sample.image.mean((0, 1))
    expected = ((sample.image - mean) * 1.25 + mean).clip(sample.image.min((0, 1)), sample.image.max((0, 1)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_low_resolution_is_torchs() -> None:
    sample = noise()
    found = LowResolution(prob=1, prob_per_band=1, scale=(0.6, 0.6))(sample, np.random.default_rng(0)).image
    bands = torch.from_numpy(sample.image).permute(2, 0, 1)[None]
    smaller = F.interpolate(bands, (12, 14), mode="nearest-exact")
    expected = F.interpolate(smaller, (20, 24), mode="bilinear")[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)


@pytest.mark.parametrize("kind", [MultiplicativeBrightness, LimitedContrast, LowResolution])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_types_stay_and_nothing_is_done_without_chance(kind: Any, dtype: str) -> None:
    sample = noise(dtype)
    assert kind(prob=1)(sample, np.random.default_rng(0)).image.dtype == dtype
    assert kind(prob=0)(sample, np.random.default_rng(0)) is sample


def test_more_pixels_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="LowResolution: scale must be at most 1"):
        LowResolution(scale=(0.5, 1.5))
