"""Colours against torchvision's own functions; samples that are drawn again until something in them is labelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from intarsia.contracts import Sample
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms import jitter
from intarsia.data.transforms.geometry import Pad, RandomCrop
from intarsia.data.transforms.jitter import RandomColorJitter
from intarsia.data.transforms.redraw import RedrawUnlabelled

NAMES = {"brightened": "brightness", "contrasted": "contrast", "saturated": "saturation", "turned": "hue"}


def image(seed: int = 0) -> Any:
    drawn = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    drawn[:5] = drawn[:5, :, :1]  # greys, which have no hue
    return drawn


@pytest.mark.parametrize("ours", NAMES)
@pytest.mark.parametrize("share", [-0.9, -0.3, 0.0, 0.2, 1.0])
def test_each_change_is_that_of_torchvision(ours: str, share: float) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional", reason="torchvision is not installed")
    most = getattr(RandomColorJitter(), NAMES[ours])
    factor = share * most + (ours != "turned")
    found = getattr(jitter, ours)(image(), factor).astype(int)
    theirs = getattr(functional, f"adjust_{NAMES[ours]}")(torch.from_numpy(image()).permute(2, 0, 1), factor)
    off = np.abs(found - theirs.permute(1, 2, 0).numpy().astype(int))
    assert off.max() <= 1  # by rounding, where a value lies between two
    assert (off > 0).mean() < 0.01


def test_each_has_a_chance_of_one_half_and_contrast_may_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in NAMES:
        monkeypatch.setattr(jitter, name, lambda given, factor, name=name: (done.append(name), given)[1])
    orders, rng = [], np.random.default_rng(0)
    for _ in range(400):
        done.clear()
        RandomColorJitter()(Sample(image()), rng)
        orders.append(tuple(done))
    for name in NAMES:
        assert 0.4 < np.mean([name in order for order in orders]) < 0.6
    whole = [order for order in orders if len(order) == 4]
    assert set(whole) == {tuple(NAMES), ("brightened", "saturated", "turned", "contrasted")}


@pytest.mark.parametrize("wrong", [{"brightness": -0.1}, {"contrast": 1.5}, {"hue": 0.6}])
def test_ranges_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"RandomColorJitter: {next(iter(wrong))} must be in 0"):
        RandomColorJitter(**wrong)


def test_images_that_have_no_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="works on RGB images of 8 bits, found 4 bands of uint16"):
        RandomColorJitter()(Sample(np.zeros((4, 4, 4), np.uint16)), np.random.default_rng(0))


class OneCorner:
    """One image of 64 x 64, of which a corner of 4 x 4 is labelled, or nothing."""

    classes, palette, ignore_index = ("a",), ((1, 2, 3),), 255

    def __init__(self, labelled: int = 4) -> None:
        self.labelled, self.loaded = labelled, 0

    def __len__(self) -> int:
        return 1

    def load(self, index: int) -> Sample:
        self.loaded += 1
        label = np.full((64, 64), 255, np.uint8)
        label[: self.labelled, : self.labelled] = 0
        return Sample(np.zeros((64, 64, 3), np.uint8), label)


def share_labelled(pipeline: Pipeline, count: int = 100) -> float:
    samples = [pipeline.get(0, np.random.default_rng(seed)) for seed in range(count)]
    assert {sample.image.shape for sample in samples} == {(20, 20, 3)}
    return float(np.mean([(sample.label != 255).any() for sample in samples]))


def test_crops_without_a_label_are_drawn_again() -> None:
    steps = (RandomCrop(20), Pad(size=(20, 20)))
    alone = share_labelled(Pipeline(OneCorner(), steps))
    assert alone < 0.1
    dataset = OneCorner()
    assert share_labelled(Pipeline(dataset, (*steps, RedrawUnlabelled(attempts=5)))) > 2 * max(alone, 0.01)
    assert dataset.loaded == 100
    assert share_labelled(Pipeline(OneCorner(), (RedrawUnlabelled(attempts=5000), *steps))) == 1.0


def test_an_image_without_any_label_is_taken_all_the_same() -> None:
    assert share_labelled(Pipeline(OneCorner(labelled=0), (RandomCrop(20), RedrawUnlabelled())), count=3) == 0.0
    whole = Pipeline(OneCorner(), (RandomCrop(20), RedrawUnlabelled()), label_size="original")
    assert whole.get(0, np.random.default_rng(0)).label.shape == (64, 64)
    with pytest.raises(ValueError, match="attempts must be 1 or more"):
        RedrawUnlabelled(attempts=0)


def test_what_is_drawn_is_a_function_of_the_generator() -> None:
    pipeline = Pipeline(OneCorner(), (RandomCrop(20), RedrawUnlabelled(attempts=50)))
    first, second = (pipeline.get(0, np.random.default_rng(3)).label for _ in range(2))
    assert np.array_equal(first, second)
