"""The fingerprint of data: the same wherever they lie, another once something changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from standins import Pictures

from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset
from intarsia.data.labels import LabelTable
from intarsia.engine.training.environment import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(3):
            picture = Image.fromarray(rng.integers(0, 2, (6, 8), dtype=np.uint8))
            picture.save(tmp_path / "data" / kind / f"{number}.{suffix}")
    return tmp_path / "data"


def of(root: Path, classes: tuple[str, ...] = ("a", "b"), table: LabelTable | None = None) -> str:
    dataset = FolderDataset(root=str(root), images="images", labels="labels", classes=classes, label_table=table)
    return fingerprint(dataset)


def another_image(root: Path) -> None:
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        shutil.copy(root / kind / f"0.{suffix}", root / kind / f"7.{suffix}")


def renamed(root: Path) -> None:
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        (root / kind / f"2.{suffix}").rename(root / kind / f"9.{suffix}")


def painted_again(root: Path) -> None:
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "labels/1.png")


@pytest.mark.parametrize("change", [another_image, renamed, painted_again])
def test_what_changes_on_the_disk_shows(folder: Path, change: Callable[[Path], None]) -> None:
    before = of(folder)
    change(folder)
    assert of(folder) != before


def test_the_meaning_of_labels_counts_and_the_place_does_not(folder: Path, tmp_path: Path) -> None:
    before = of(folder)
    assert len(before) == 16
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert of(tmp_path / "elsewhere") == before
    assert of(folder, classes=("a", "c")) != before
    assert of(folder, table=LabelTable({0: 1, 1: 0})) != before


def test_any_data_set_has_one() -> None:
    assert fingerprint(Pictures(9)) == fingerprint(Pictures(9))
    kinds = [Pictures(9), Pictures(10), Pictures(9, size=(6, 8)), RepeatDataset(Pictures(9), 2),
             ConcatDataset([Pictures(9), Pictures(9)])]  # fmt: skip
    assert len({fingerprint(data) for data in kinds}) == len(kinds)
