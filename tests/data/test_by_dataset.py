"""Parts of a ConcatDataset with transforms of their own: a sample is what its own part's pipeline makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from intarsia.contracts import AnyTransform, Sample, SampleMeta
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset, SubsetDataset
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import sample_rng
from intarsia.data.transforms.by_dataset import ByDataset
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.data.transforms.mixing import CutMix
from intarsia.data.transforms.resize import Resize
from intarsia.inference.tta import without_resizing


@dataclass(frozen=True)
class Pictures:
    """Noise that says of which data set it is."""

    number: int
    length: int = 4
    size: tuple[int, int] = (20, 24)
    classes: tuple[str, ...] = ("a", "b")
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (255, 255, 255))
    ignore_index: int = 255

    def __len__(self) -> int:
        return self.length

    def load(self, index: int) -> Sample:
        rng = np.random.default_rng((self.number, index))
        image = rng.integers(0, 256, (*self.size, 3), dtype=np.uint8)
        return Sample(image, image[..., 0] // 128, meta=SampleMeta(f"{self.number}-{index}", original_size=self.size))


FIRST = (RandomFlip(prob=0.5), RandomCrop((8, 8)))
SECOND = (Resize(scale=(16, 16)), RandomCrop((8, 8)), RandomFlip(prob=0.5))
PARTS = (Pictures(0), Pictures(1, length=3))


def both(*behind: AnyTransform, **options: Any) -> Pipeline:
    dataset = ConcatDataset(PARTS, members=(0, 1))
    return Pipeline(dataset, (ByDataset([FIRST, SECOND]), *behind), **options)


def same(a: Sample, b: Sample) -> None:
    assert_array_equal(a.image, b.image)
    assert_array_equal(a.label, b.label)


def test_each_sample_goes_through_the_pipeline_of_its_part() -> None:
    alone = [Pipeline(part, steps) for part, steps in zip(PARTS, (FIRST, SECOND), strict=True)]
    for index in range(7):
        found = both().get(index, sample_rng(3, index))
        part, place = (0, index) if index < 4 else (1, index - 4)
        same(found, alone[part].get(place, sample_rng(3, index)))
        same(found, ByDataset([FIRST, SECOND])(both().dataset.load(index), sample_rng(3, index)))
        assert found.meta.member == part


def test_through_wrappers_and_parts_that_have_parts() -> None:
    inner = RepeatDataset(ConcatDataset(PARTS, members=(1, 0)), times=2)
    dataset = ConcatDataset([inner, Pictures(2)], members=(None, 1))
    assert [dataset.load(index).meta.member for index in range(18)] == [1, 1, 1, 1, 0, 0, 0] * 2 + [1] * 4
    with pytest.raises(ValueError, match="2 data sets, but 1 members"):
        ConcatDataset(PARTS, members=(0,))


def test_what_training_sees_is_a_function_of_seed_and_step() -> None:
    whole = train_loader(both(CutMix()), batch_size=2, seed=5, workers=0)
    batches = [next(whole) for _ in range(4)]
    later = train_loader(both(CutMix()), batch_size=2, seed=5, workers=2, start_step=2)
    for number in (2, 3):
        found = next(later)
        assert_array_equal(found.images, batches[number].images)
        assert_array_equal(found.labels, batches[number].labels)
    later.close()


def test_samples_that_are_mixed_went_through_their_own_pipelines_before() -> None:
    """Whatever was drawn: the others, too, have the size that both pipelines end with."""
    pipeline = both(CutMix(prob=1.0))
    seen = {pipeline.get(index, sample_rng(seed, index)).image.shape for index in range(7) for seed in range(5)}
    assert seen == {(8, 8, 3)}


def test_pipelines_that_end_in_different_sizes_are_padded_as_those_of_one() -> None:
    dataset = ConcatDataset(PARTS, members=(0, 1))
    resizing = Pipeline(dataset, (ByDataset([[Resize(scale=(8, 8))], [Resize(scale=(16, 16))]]),))
    of_files = Pipeline(ConcatDataset([Pictures(0, size=(8, 8)), Pictures(1, 3, size=(16, 16))]), ())
    found, expected = (next(train_loader(p, batch_size=7, seed=0, workers=0)) for p in (resizing, of_files))
    assert found.images.shape == expected.images.shape == (7, 3, 16, 16)
    assert found.sizes == expected.sizes
    assert set(found.sizes) == {(8, 8), (16, 16)}


def test_where_it_may_stand_and_what_may_stand_in_it() -> None:
    with pytest.raises(ValueError, match="come before those of all"):
        Pipeline(PARTS[0], (RandomFlip(prob=0.5), ByDataset([FIRST, SECOND])))
    with pytest.raises(ValueError, match="CutMix mixes samples of all parts of a ConcatDataset"):
        ByDataset([[CutMix()], []])  # type: ignore[list-item]


def test_views_at_test_time_are_made_of_what_nothing_has_resized() -> None:
    (found,) = without_resizing((ByDataset([FIRST, SECOND]),))
    assert isinstance(found, ByDataset)
    assert [len(steps) for steps in found.pipelines] == [2, 2]


def test_the_first_samples_alone() -> None:
    chosen = SubsetDataset(ConcatDataset(PARTS), most=5, evenly=False)
    assert [chosen.load(index).meta.name for index in range(len(chosen))] == ["0-0", "0-1", "0-2", "0-3", "1-0"]
    assert len(SubsetDataset(PARTS[0], most=9, evenly=False)) == 4
