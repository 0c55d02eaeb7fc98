"""Regions of interest: what is outside a mask is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.contracts import Dataset, Sample, SampleMeta
from intarsia.data.datasets.region import RegionDataset
from intarsia.metrics.iou import IoUMetric


@dataclass(frozen=True)
class Views:
    """Two images in a folder "cam", whose labels are made of their numbers."""

    classes: tuple[str, ...] = ("road", "rest")
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (9, 9, 9))
    ignore_index: int = 255

    def __len__(self) -> int:
        return 2

    def load(self, index: int) -> Sample:
        label = np.random.default_rng(index).integers(0, 2, (6, 8)).astype(np.uint8)
        label[0, 0] = 255
        meta = SampleMeta(name=f"cam/{index}", original_size=(6, 8))
        return Sample(np.zeros((6, 8, 3), np.uint8), label, meta=meta)


def mask(file: Path, seed: int, size: tuple[int, int] = (6, 8), *, colour: bool = False) -> np.ndarray:
    inside = np.random.default_rng(seed).random(size) < 0.5
    file.parent.mkdir(parents=True, exist_ok=True)
    values = inside.astype(np.uint8) * 255
    Image.fromarray(np.stack([values, 0 * values, 0 * values], 2) if colour else values).save(file)
    return inside


def test_one_mask_for_all_and_one_for_each(tmp_path: Path) -> None:
    inside = mask(tmp_path / "mask.png", 7)
    each = [
        mask(tmp_path / "masks" / "cam" / f"{i}.{end}", 8 + i, colour=i == 1) for i, end in enumerate(("png", "tif"))
    ]
    for masks, expected in ((tmp_path / "mask.png", [inside, inside]), (tmp_path / "masks", each)):
        dataset = RegionDataset(Views(), masks=str(masks))
        assert isinstance(dataset, Dataset)
        assert len(dataset) == 2
        for index in range(2):
            whole, part = Views().load(index).label, dataset.load(index).label
            assert whole is not None
            assert part is not None
            assert np.array_equal(part, np.where(expected[index], whole, 255))


def test_scores_count_what_is_inside(tmp_path: Path) -> None:
    inside = mask(tmp_path / "mask.png", 7)
    dataset = RegionDataset(Views(), masks=str(tmp_path / "mask.png"))
    metric = IoUMetric(num_classes=2, classes=dataset.classes)
    expected = np.zeros((2, 2), int)
    for index in range(2):
        prediction = np.random.default_rng(50 + index).integers(0, 2, (6, 8))
        label, truth = dataset.load(index).label, Views().load(index).label
        assert label is not None
        assert truth is not None
        metric.update(torch.from_numpy(prediction), torch.from_numpy(label))
        for y, x in np.argwhere(inside):
            if truth[y, x] != 255:
                expected[truth[y, x], prediction[y, x]] += 1
    assert np.array_equal(metric.matrix.numpy(), expected)
    assert 0 < expected.sum() < 2 * 6 * 8


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing"):
        RegionDataset(Views(), masks=str(tmp_path / "none"))
    mask(tmp_path / "wide.png", 0, (6, 9))
    with pytest.raises(ValueError, match=r"wide.png: the mask has 6 x 9 .* cam/1 has 6 x 8"):
        RegionDataset(Views(), masks=str(tmp_path / "wide.png")).load(1)
    mask(tmp_path / "masks" / "0.png", 0)
    with pytest.raises(ValueError, match=r"no mask for cam/0: expected cam/0\.png"):
        RegionDataset(Views(), masks=str(tmp_path / "masks")).load(0)
