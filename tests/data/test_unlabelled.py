"""Unlabelled images: both views show the same, and which images come is a function of seed and step alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from intarsia.contracts import Sample, SampleMeta, Views
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.brightness import RandomBrightnessContrast
from intarsia.data.transforms.geometry import Pad, RandomCrop, RandomFlip
from intarsia.data.unlabelled import Unlabelled, weak_views


@dataclass(frozen=True)
class Numbered:
    """The value of every pixel says which image it is of: 10, 20, 30 ..."""

    length: int = 6
    sizes: Sequence[tuple[int, int]] = ((8, 10),)
    classes: tuple[str, ...] = ("a", "b")
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (1, 1, 1))
    ignore_index: int = 255

    def __len__(self) -> int:
        return self.length

    def load(self, index: int) -> Sample:
        size = self.sizes[index % len(self.sizes)]
        image = np.full((*size, 3), 10 * (index + 1), np.uint8)
        return Sample(image, np.zeros(size, np.uint8), meta=SampleMeta(name=str(index), original_size=size))


@dataclass(frozen=True)
class Brighter:
    """Adds 1, so that it shows in which view a pixel is."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return replace(sample, image=sample.image + np.uint8(1))


def stream(dataset: Numbered = Numbered(), transforms: Sequence[object] = (), **changes: object) -> Unlabelled:
    settings: dict[str, object] = {"strong": (Brighter(),), "seed": 3, "cut_mix": 1.0}
    return Unlabelled(weak_views(dataset, transforms), **(settings | changes))  # type: ignore[arg-type]


def same(a: Views, b: Views) -> bool:
    return all(map(torch.equal, a.tensors(), b.tensors())) and (a.sizes, a.amount) == (b.sizes, b.amount)


def test_the_strong_view_shows_the_same_pixels_and_those_of_the_next_image_where_it_is_mixed() -> None:
    flip, crop = RandomFlip(prob=0.5), RandomCrop((6, 7))
    for micro_batch in range(8):
        found = stream(transforms=(crop, flip)).views(range(4 * micro_batch, 4 * micro_batch + 4), micro_batch)
        assert found.weak.shape == found.strong.shape == (4, 3, 6, 7)
        assert found.valid.all()
        following = torch.roll(found.weak, -1, 0)
        expected = torch.where(found.mixed[:, None], following, found.weak) + 1
        assert torch.equal(found.strong, expected)
    assert 0.1 < found.mixed.float().mean() < 0.9


def test_without_chance_or_another_image_nothing_is_mixed() -> None:
    assert not stream(cut_mix=0.0).views(range(4), 0).mixed.any()
    assert not stream().views(range(1), 0).mixed.any()
    many = [bool(stream(cut_mix=0.5).views(range(n, n + 2), n).mixed[0].any()) for n in range(0, 80, 2)]
    assert 10 <= sum(many) <= 30


def test_padding_is_not_valid_and_nothing_is_mixed_into_it() -> None:
    dataset = Numbered(sizes=((8, 10), (5, 12)))
    found = stream(dataset).views(range(4), 0)
    assert found.weak.shape == (4, 3, 8, 12)
    for image, (height, width) in enumerate(found.sizes):
        assert torch.equal(found.valid[image].nonzero().max(0).values, torch.tensor([height - 1, width - 1]))
        assert found.valid[image].sum() == height * width
        assert not found.mixed[image, height:].any()
        assert not found.mixed[image, :, width:].any()
    padded = stream(dataset, transforms=(Pad(size=(16, 16)),)).views(range(4), 0)
    assert sorted(padded.valid.flatten(1).sum(1).tolist()) == [60, 60, 80, 80]


def shown(views: Views) -> list[int]:
    return [int(image[0, 0, 0]) // 10 - 1 for image in views.weak]


def test_every_image_comes_once_in_a_pass_whoever_loads_it() -> None:
    one = [shown(stream().views(range(4 * n, 4 * n + 4), n)) for n in range(6)]
    flat = [index for batch in one for index in batch]
    assert all(sorted(flat[6 * n : 6 * n + 6]) == list(range(6)) for n in range(4))
    assert flat[:6] != flat[6:12]
    shared = [shown(stream().views(range(2 * n, 2 * n + 2), n // 2)) for n in range(12)]
    assert [index for batch in shared for index in batch] == flat
    assert [shown(stream(seed=4).views(range(4 * n, 4 * n + 4), n)) for n in range(6)] != one


def loaded(workers: int, start: int = 0, **options: object) -> list[Views]:
    pipeline = Pipeline(Numbered(), (RandomFlip(prob=0.5),))
    settings: dict[str, object] = {"batch_size": 2, "seed": 3, "start_step": start, "workers": workers}
    settings |= {"unlabelled": stream(ratio=1.5, transforms=(RandomCrop((5, 5)),)), **options}
    batches = train_loader(pipeline, **settings)  # type: ignore[arg-type]
    found = [next(batches) for _ in range(4)]
    batches.close()
    assert all(len(batch.images) == 2 for batch in found)
    return [batch.unlabelled for batch in found if batch.unlabelled is not None]


def test_workers_and_a_later_start_change_nothing() -> None:
    here = loaded(0)
    assert len(here) == 4
    assert all(len(views.weak) == 3 for views in here)
    assert all(map(same, here, loaded(2)))
    assert all(map(same, here[2:], loaded(0, start=2)))
    assert not any(map(same, here, loaded(0, start=1)))


def test_the_labelled_images_are_those_that_there_would_be_without() -> None:
    pipeline = Pipeline(Numbered(), (RandomBrightnessContrast(prob=1.0),))
    plain, beside = (
        next(train_loader(pipeline, batch_size=2, seed=3, workers=0, start_step=5, unlabelled=given))
        for given in (None, stream())
    )
    assert plain.unlabelled is None
    assert torch.equal(plain.images, beside.images)
    assert torch.equal(plain.labels, beside.labels)


def test_the_ratio_must_give_whole_images() -> None:
    assert stream(ratio=2).count(3) == 6
    assert stream(ratio=0.25).count(4) == 1
    for ratio, labelled in ((0.3, 4), (0.1, 2), (1.5, 1)):
        with pytest.raises(ValueError, match="whole number") as error:
            loaded(0, batch_size=labelled, unlabelled=stream(ratio=ratio))
        advised = float(str(error.value).partition("ratio=")[2].partition(",")[0])
        assert stream(ratio=advised).count(labelled) >= 1


def test_the_amount_rises_with_the_optimizer_steps() -> None:
    given = stream(ramp_up=10, accumulation_steps=2)
    assert given.views(range(2), 0).amount == pytest.approx(math.exp(-5))
    assert given.views(range(2), 11).amount == pytest.approx(math.exp(-1.25))  # step 5
    assert given.views(range(2), 19).amount < 1
    assert given.views(range(2), 20).amount == 1
    assert stream().views(range(2), 0).amount == 1


def test_a_strong_view_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="leave every pixel where it is"):
        stream(strong=(RandomCrop((4, 4)),)).views(range(2), 0)


def test_a_batch_takes_its_views_along() -> None:
    pipeline = Pipeline(Numbered(), ())
    batch = next(train_loader(pipeline, batch_size=2, seed=3, workers=0, unlabelled=stream()))
    moved = batch.to("meta")
    assert moved.unlabelled is not None
    assert all(tensor.is_meta for tensor in moved.tensors())
    assert len(moved.tensors()) == 6
    assert moved.unlabelled.amount == batch.unlabelled.amount
