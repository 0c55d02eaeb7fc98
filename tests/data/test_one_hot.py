"""Label files with a band of 0 and 1 for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine

COUNT = 4


def scene(root: Path, *, suffix: str, high: int = 1, overlap: bool = False, covered: bool = True) -> list[np.ndarray]:
    """Six images with labels of four bands; gives the label map that each stands for, 1 for the first band."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    maps = []
    for number in range(6):
        rng = np.random.default_rng(number)
        index = np.zeros((40, 36), int)
        index[5 + number : 20, 4:12], index[22:34, 10 + number : 30], index[2:6, 25:30] = 1, 2, 3
        bands = (index[:, :, None] == np.arange(COUNT)).astype(np.uint8)
        if not covered:
            bands[:, :, 0] = 0
            bands[36:, :, 0] = 1
        if overlap:
            bands[8:12, 4:12, 3] = 1
        Image.fromarray(rng.integers(0, 255, (40, 36, 3)).astype(np.uint8)).save(root / f"images/{number}.png")
        stored = bands * np.uint8(high)
        if suffix == ".npy":
            np.save(root / f"masks/{number}.npy", stored)
        else:
            profile = {"driver": "GTiff", "height": 40, "width": 36, "count": COUNT, "dtype": "uint8"}
            with rasterio.open(root / f"masks/{number}{suffix}", "w", **profile) as file:
                file.write(np.moveaxis(stored, 2, 0))
        last = (COUNT - 1 - np.argmax(bands[:, :, ::-1], axis=2)) + 1
        maps.append(np.where(bands.any(axis=2), last, 0))
    return maps


def labels(description) -> dict[int, np.ndarray]:
    found = {}
    for split in description.splits:
        dataset = description.dataset(split)
        found |= {int(Path(dataset.paths(index)[0]).stem): dataset.load(index).label for index in range(len(dataset))}
    return found


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_bands_become_one_label(tmp_path: Path, suffix: str) -> None:
    maps = scene(tmp_path / "data", suffix=suffix)
    found = examine(tmp_path / "data")
    assert not found.problems
    description = found.proposal()
    assert description.classes == ("background", "class_2", "class_3", "class_4")
    write_description(description, tmp_path / "data.yaml")
    assert f"*{suffix}#band2" in (tmp_path / "data.yaml").read_text()
    read = labels(read_description(tmp_path / "data.yaml"))
    assert sorted(read) == list(range(6))
    assert all(np.array_equal(read[number], maps[number] - 1) for number in read)


def test_what_no_band_covers_is_the_background(tmp_path: Path) -> None:
    maps = scene(tmp_path, suffix=".npy", covered=False)
    description = examine(tmp_path).proposal()
    assert description.classes == ("background", "class_1", "class_2", "class_3", "class_4")
    assert all(np.array_equal(label, maps[number]) for number, label in labels(description).items())


def test_of_bands_that_overlap_the_later_counts(tmp_path: Path) -> None:
    maps = scene(tmp_path, suffix=".tif", overlap=True)
    description = examine(tmp_path, multi_label=False).proposal()
    assert any("`overlap: last`" in note for note in description.notes)
    assert description.labels is not None
    assert all(np.array_equal(label, maps[number] - 1) for number, label in labels(description).items())


def test_a_class_list_names_the_bands(tmp_path: Path) -> None:
    scene(tmp_path, suffix=".npy")
    (tmp_path / "classes.txt").write_text("ground\nleaf\nstem\nfruit\n")
    assert examine(tmp_path).proposal().classes == ("ground", "leaf", "stem", "fruit")


def test_colours_are_no_bands(tmp_path: Path) -> None:
    scene(tmp_path, suffix=".npy", high=255)
    assert not any("a band for each class" in note for note in examine(tmp_path).notes)


def test_a_band_that_is_missing_is_named(tmp_path: Path) -> None:
    scene(tmp_path, suffix=".npy")
    description = examine(tmp_path).proposal()
    np.save(tmp_path / "masks/3.npy", np.zeros((40, 36, 2), np.uint8))
    with pytest.raises(ValueError, match=r"3\.npy: there is no band 3; the file has 2"):
        labels(description)
