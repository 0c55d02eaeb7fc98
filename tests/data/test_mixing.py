"""Data sets made of data sets: rare classes more often, and transforms that mix several samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.contracts import Dataset, Sample, SampleMeta
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.wrappers import ClassBalancedDataset, MultiImageMixDataset
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip


class Numbered:
    """Images of one number each, with the labels that are given."""

    classes, palette, ignore_index = ("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), 255

    def __init__(self, labels: Sequence[Sequence[int]]) -> None:
        self.labels = labels
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Sample:
        self.loaded.append(index)
        image = np.full((1, len(self.labels[index]), 3), index, np.uint8)
        label = np.array([self.labels[index]], np.uint8) if self.labels[index] else None
        return Sample(image, label, meta=SampleMeta(name=str(index)))


# --- Class balance ------------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 2, 255]), min_size=1, max_size=3), min_size=1, max_size=12),
    st.floats(0.01, 1),
)
def test_an_image_is_there_as_often_as_its_rarest_class_asks(labels: list[list[int]], share: float) -> None:
    dataset = ClassBalancedDataset(Numbered(labels), oversample_thr=share)
    shown = [{*values} - {255} for values in labels]
    frequency = {value: sum(value in one for one in shown) / len(shown) for value in range(3)}
    wanted = [math.ceil(max([1.0, *(math.sqrt(share / frequency[value]) for value in one)])) for one in shown]
    assert [dataset.indices.count(index) for index in range(len(labels))] == wanted
    assert list(dataset.indices) == sorted(dataset.indices)


def test_a_rare_class_by_numbers() -> None:
    dataset = ClassBalancedDataset(Numbered([[0]] * 9 + [[0, 1]]), oversample_thr=0.9)  # sqrt(0.9 / 0.1) = 3
    assert dataset.indices == (*range(9), 9, 9, 9)
    assert isinstance(dataset, Dataset)
    assert [dataset.load(index).meta.name for index in (0, 9, 11)] == ["0", "9", "9"]


def test_labels_are_counted_without_reading_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("a", 0), ("b", 0), ("c", 1)):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((3, 3, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((3, 3), value, np.uint8))
    folder = FolderDataset(root=str(tmp_path), classes=("x", "y"))
    monkeypatch.setattr("intarsia.data.datasets.folder.read_image", None)
    assert ClassBalancedDataset(folder, oversample_thr=1.0).indices == (0, 0, 1, 1, 2, 2)


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="oversample_thr must be above 0 and at most 1"):
        ClassBalancedDataset(Numbered([[0]]), oversample_thr=share)


def test_images_without_labels_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match="image 1 has no label"):
        ClassBalancedDataset(Numbered([[0], []]), oversample_thr=0.5)


# --- Mixing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """The sample with its others beside it, or alone."""

    others: int = 2
    prob: float = 1.0

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample]) -> Sample:
        assert len(others) == self.others
        if rng.random() >= self.prob:
            return sample
        parts = [sample, *others]
        labels = [part.label for part in parts if part.label is not None]
        return replace(
            sample,
            image=np.concatenate([part.image for part in parts], axis=1),
            label=np.concatenate(labels, axis=1) if labels else None,
        )


def numbers(sample: Sample) -> list[int]:
    row: list[int] = sample.image[0, :, 0].tolist()
    return row


def test_a_transform_is_given_further_samples() -> None:
    dataset = MultiImageMixDataset(Numbered([[0], [1], [2]] * 4))
    assert isinstance(dataset, Dataset)
    pipeline = Pipeline(dataset, [Beside(others=3)])
    rows = [numbers(pipeline.get(5, np.random.default_rng(seed))) for seed in range(40)]
    assert all(row[0] == 5 and len(row) == 4 for row in rows)
    assert {number for row in rows for number in row[1:]} == set(range(12))
    sample = pipeline.get(5, np.random.default_rng(0))
    assert sample.label is not None
    assert sample.label[0].tolist() == [number % 3 for number in numbers(sample)]


def test_they_depend_on_the_random_stream_alone() -> None:
    pipeline = Pipeline(Numbered([[0] * 4] * 9), [RandomCrop((1, 2)), RandomFlip(0.5), Beside(), RandomFlip(0.5)])
    first, again = (pipeline.get(3, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert first.image.shape == (1, 6, 3)  # the others are cut before they are mixed


def test_others_that_are_not_looked_at_are_not_loaded_and_change_nothing_after() -> None:
    @dataclass(frozen=True)
    class Noise:
        def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
            return replace(sample, maps={"drawn": np.full(sample.image.shape[:2], rng.random())})

    found = []
    for prob in (0.0, 1.0):
        dataset = Numbered([[0]] * 9)
        sample = Pipeline(dataset, [Beside(prob=prob), Noise()]).get(3, np.random.default_rng(1))
        found.append(sample.maps["drawn"][0, 0])
        assert len(dataset.loaded) == (3 if prob else 1)
    assert found[0] == found[1]


def test_a_mix_may_be_mixed_again() -> None:
    pipeline = Pipeline(Numbered([[0]] * 9), [Beside(others=1), Beside(others=2)])
    assert len(numbers(pipeline.get(3, np.random.default_rng(1)))) == 6


def test_without_labels_where_evaluation_keeps_them_apart() -> None:
    pipeline = Pipeline(Numbered([[0]] * 9), [Beside()], label_size="original")
    sample = pipeline.get(3, np.random.default_rng(1))
    assert sample.label is not None
    assert sample.label.tolist() == [[0]]


def test_the_same_for_every_number_of_workers(tmp_path: Path) -> None:
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 4, 3), number, np.uint8))
        cv2.imwrite(str(tmp_path / f"{number}_gt.png"), np.zeros((4, 4), np.uint8))
    folder = FolderDataset(root=str(tmp_path), image_suffix=".png", label_suffix="_gt.png", classes=("x", "y"))
    pipeline = Pipeline(MultiImageMixDataset(folder), [Beside()])
    rows: list[Any] = []
    for workers in (0, 2):
        batches = train_loader(pipeline, batch_size=2, seed=5, workers=workers)
        rows.append([next(batches).images for _ in range(3)])
        batches.close()
    assert all(bool((a == b).all()) for a, b in zip(*rows, strict=True))


def test_an_error_in_another_sample_names_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((4, 4, 3), np.uint8))
    folder = FolderDataset(root=str(tmp_path), labels=None, image_suffix=".png", classes=("x", "y"))
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.png: .*b\.png: the file is empty .*\(transform Beside\)"):
        Pipeline(folder, [Beside(others=8)]).get(0, np.random.default_rng(0))
