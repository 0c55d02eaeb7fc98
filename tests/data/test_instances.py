"""Numbers of objects beside labels: read with them, never moved, and none outside a region of interest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.data.collate import collate
from intarsia.data.datasets.cityscapes import CityscapesDataset
from intarsia.data.datasets.instances import InstanceDataset, instance_file, with_instances
from intarsia.data.datasets.region import RegionDataset
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.geometry import RandomFlip
from intarsia.data.transforms.resize import Resize

OBJECTS = np.array([[7, 26], [26001, 33999]], np.uint16).repeat(3, 0).repeat(4, 1)


def write(folder: Path, name: str, objects: np.ndarray | None = OBJECTS) -> Path:
    images, labels = folder / "leftImg8bit/train/town", folder / "gtFine/train/town"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(images / f"{name}_leftImg8bit.png")
    Image.new("L", (8, 6), 13).save(labels / f"{name}_gtFine_labelTrainIds.png")
    file = labels / f"{name}_gtFine_instanceIds.png"
    if objects is not None:
        Image.fromarray(objects).save(file)
    return file


def dataset(folder: Path) -> InstanceDataset:
    return InstanceDataset(CityscapesDataset(root=str(folder)))


def test_they_come_with_the_label_and_stay_at_its_size(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", None)
    found = dataset(tmp_path)
    assert (len(found), len(found.classes), found.ignore_index) == (2, 19, 255)
    transforms = [Resize(scale=(16, 12), keep_ratio=True), RandomFlip(prob=1.0)]
    pipeline = Pipeline(found, transforms, label_size="original")
    samples = [pipeline.get(index, np.random.default_rng(0)) for index in range(2)]
    assert samples[0].image.shape == (12, 16, 3)
    assert np.array_equal(samples[0].instances, OBJECTS)
    assert samples[1].instances is None
    batch = collate(samples, label_size="original")
    assert batch.instances is not None
    assert batch.instances[0].dtype == torch.int32
    assert np.array_equal(batch.instances[0].numpy(), OBJECTS)
    assert batch.instances[1].shape == (0, 0)
    assert len(batch.tensors()) == 5
    moved = batch.to("cpu").instances
    assert moved is not None
    assert torch.equal(moved[0], batch.instances[0])
    assert collate(samples[1:], label_size="original").instances is None


def test_they_lie_beside_labels_of_either_numbering(tmp_path: Path) -> None:
    file = write(tmp_path, "a")
    for ending in ("labelTrainIds", "labelIds"):
        assert instance_file(str(file).replace("instanceIds", ending)) == file
    assert instance_file(str(file).replace("a_gtFine_instanceIds", "b_gtFine_labelIds")) is None
    assert instance_file("") is None


def test_outside_a_region_there_are_none(tmp_path: Path) -> None:
    write(tmp_path, "a")
    mask = np.zeros((6, 8), np.uint8)
    mask[:, 4:] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    region = RegionDataset(CityscapesDataset(root=str(tmp_path)), masks=str(tmp_path / "mask.png"))
    sample = with_instances(region).load(0)
    assert np.array_equal(sample.instances, np.where(mask == 1, OBJECTS, 0))
    assert sample.label is not None
    assert set(np.unique(sample.label[:, :4])) == {255}
    assert region.load(0).instances is None, "the data set itself stays as it is"


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (OBJECTS[:, :5], r"6 x 5 pixels \(height x width\), its label .* has 6 x 8"),
        (np.full((6, 8), 7001, np.uint16), "holds 7001: no objects of Cityscapes"),
        (np.full((6, 8), 34000, np.uint16), "holds 34000: no objects of Cityscapes"),
        (np.zeros((6, 8, 3), np.uint8), "holds colours; expected numbers of objects"),
    ],
)
def test_a_file_that_cannot_be_is_named(tmp_path: Path, objects: np.ndarray, message: str) -> None:
    write(tmp_path, "a", objects)
    with pytest.raises(ValueError, match=message) as caught:
        dataset(tmp_path).load(0)
    assert "a_gtFine_instanceIds.png" in str(caught.value)


def test_numbers_of_what_is_not_scored_may_be_there(tmp_path: Path) -> None:
    """Caravans and trailers are told apart; 1000 is no object; ids of void with a number are passed over."""
    numbers = np.array([29001, 30002, 1000, 5001, 0, 24000], np.uint16)
    write(tmp_path, "a", numbers[:, None].repeat(8, 1))
    assert dataset(tmp_path).load(0).instances is not None
