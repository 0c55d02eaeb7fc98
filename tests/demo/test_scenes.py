"""The painted street scenes of the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.demo import CLASSES, IGNORE_INDEX, PALETTE, draw, write_scenes


def test_a_scene_is_a_function_of_its_numbers() -> None:
    picture, truth = draw(3)
    again, same = draw(3)
    assert picture.shape == (160, 240, 3)
    assert np.array_equal(picture, again)
    assert np.array_equal(truth, same)
    assert not np.array_equal(truth, draw(4)[1])
    assert not np.array_equal(truth, draw(3, seed=1)[1])


def test_every_class_appears_and_outlines_are_void() -> None:
    truths = np.stack([draw(number)[1] for number in range(8)])
    counts = np.bincount(truths.ravel(), minlength=256) / truths.size
    assert set(np.flatnonzero(counts)) == {*range(len(CLASSES)), IGNORE_INDEX}
    assert counts[: len(CLASSES)].min() > 0.005
    assert 0.05 < counts[IGNORE_INDEX] < 0.2


def test_colour_alone_does_not_tell_the_class() -> None:
    """The best guess from a pixel's coarse colour is wrong for a good part of the pixels."""
    scenes = [draw(number) for number in range(8)]
    colours = np.concatenate([(picture // 32).reshape(-1, 3) for picture, _ in scenes]).astype(int)
    truth = np.concatenate([label.ravel() for _, label in scenes])
    valid = truth != IGNORE_INDEX
    table = np.zeros((8, 8, 8, len(CLASSES)), int)
    np.add.at(table, (*colours[valid].T, truth[valid]), 1)
    right = (table[tuple(colours[valid].T)].argmax(axis=1) == truth[valid]).mean()
    assert right < 0.75


def test_written_files_and_their_description(tmp_path: Path) -> None:
    described = write_scenes(tmp_path, train=2, val=1)
    write_description(described, tmp_path / "data.yaml")
    read = read_description(tmp_path / "data.yaml")
    assert (read.classes, read.palette, read.labels) == (CLASSES, PALETTE, described.labels)
    assert [len(read.pairs(split)) for split in ("train", "val")] == [2, 1]
    sample = read.dataset("val").load(0)
    assert sample.label is not None
    assert np.array_equal(sample.label, draw(2)[1])
    difference = sample.image.astype(int) - draw(2)[0]
    assert np.abs(difference).mean() < 6  # what JPEG takes away
    mask = Image.open(tmp_path / "labels" / "train" / "street_001.png")
    assert mask.mode == "P"
    assert mask.getpalette()[:3] == list(PALETTE[0])  # type: ignore[index]
