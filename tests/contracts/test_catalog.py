"""What every entry of the catalogue promises; and the contracts of losses, transforms and datasets."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from intarsia import catalog
from intarsia.config.checking.signatures import signature_of
from intarsia.contracts import Dataset, Sample

ENTRIES = [(kind, name) for kind in catalog.kinds() for name in catalog.names(kind)]
OURS = [(kind, name) for kind, name in ENTRIES if catalog.locate(kind, name).startswith("intarsia.")]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_leads_to_something(kind: str, name: str) -> None:
    assert callable(catalog.resolve(kind, name))
    assert name not in catalog.NOT_YET.get(kind, ()), "an entry cannot be there and not yet there"


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_arguments_are_explicit_annotated_and_read_right_from_the_source(kind: str, name: str) -> None:
    part = catalog.resolve(kind, name)
    real = inspect.signature(part).parameters
    for parameter in real.values():
        assert parameter.kind is not parameter.VAR_KEYWORD, f"{name} takes **{parameter.name}"
        assert parameter.annotation is not parameter.empty, f"{name}.{parameter.name} has no annotation"
    read = signature_of(catalog.locate(kind, name)).parameters
    assert [p.name for p in read] == [key for key in real if key != "_"]
    required = {key for key, p in real.items() if p.default is p.empty}
    assert {p.name for p in read if p.required} == required


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_entries_are_documented(kind: str, name: str) -> None:
    part = catalog.resolve(kind, name)
    module = importlib.import_module(part.__module__)
    assert inspect.getdoc(part)
    assert inspect.getdoc(module)


# --- Losses -------------------------------------------------------------------------------------------------------

OTHER_TARGETS = ("KLDivLoss", "SiLogLoss")
"""Losses of other targets than labels, the logits of another network or depths: they have tests of their own."""
LOSSES = [name for name in catalog.names("loss") if name not in OTHER_TARGETS]
SINGLE_LOGIT = ("BoundaryLoss",)
"""Losses of one yes or no for each pixel."""


@pytest.mark.parametrize("name", LOSSES)
class TestLoss:
    def inputs(self, name: str, *, ignored: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        logits = torch.randn(2, 1 if name in SINGLE_LOGIT else 4, 9, 11, requires_grad=True)
        target = torch.randint(0, 2 if name in SINGLE_LOGIT else 4, (2, 9, 11))
        target[torch.rand(target.shape) < ignored] = 255
        return logits, target

    def test_is_a_finite_scalar_with_a_gradient(self, name: str) -> None:
        logits, target = self.inputs(name)
        loss = catalog.resolve("loss", name)()(logits, target)
        assert loss.shape == ()
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
        assert logits.grad.abs().sum() > 0

    def test_ignored_pixels_have_no_gradient(self, name: str) -> None:
        logits, target = self.inputs(name)
        catalog.resolve("loss", name)()(logits, target).backward()
        assert not logits.grad.movedim(1, -1)[target == 255].any()

    def test_nothing_labelled_is_finite(self, name: str) -> None:
        logits, target = self.inputs(name, ignored=2.0)
        loss = catalog.resolve("loss", name)()(logits, target)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


# --- Transforms ---------------------------------------------------------------------------------------------------

TRANSFORMS: dict[str, dict[str, Any]] = {
    "GenerateEdge": {},
    "Pad": {"size": (60, 60)},
    "PhotoMetricDistortion": {},
    "RandomChoiceResize": {"scales": [(30, 20), (50, 40)]},
    "RandomCrop": {"crop_size": (16, 20), "cat_max_ratio": 0.75},
    "RandomDepthMix": {"prob": 1.0},
    "RandomFlip": {"prob": 0.5},
    "RandomResize": {"scale": (50, 40), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    "RandomScale": {"ratio_range": (0.5, 2.0)},
    "Resize": {"scale": (50, 40), "keep_ratio": True},
    "ResizeShortestEdge": {"scale": 24, "max_size": 80},
    "ResizeToMultiple": {"size_divisor": 16},
}
"""A minimal use of each; a new transform adds its line."""


def sample() -> Sample:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (33, 47, 3), dtype=np.uint8)
    label = rng.integers(0, 5, (33, 47), dtype=np.uint8)
    image.flags.writeable = label.flags.writeable = False
    return Sample(image, label, {"edge": label == 1})


def test_every_transform_has_its_line() -> None:
    assert set(TRANSFORMS) == set(catalog.names("transform"))


@pytest.mark.parametrize("name", TRANSFORMS)
class TestTransform:
    def test_is_a_function_of_sample_and_generator(self, name: str) -> None:
        transform = catalog.resolve("transform", name)(**TRANSFORMS[name])
        np.random.seed(0)
        before = np.random.get_state()[1].copy()
        results = [transform(sample(), np.random.default_rng(7)) for _ in range(2)]
        assert np.array_equal(before, np.random.get_state()[1])
        assert np.array_equal(results[0].image, results[1].image)
        assert np.array_equal(results[0].label, results[1].label)

    def test_keeps_image_label_and_maps_together(self, name: str) -> None:
        result = catalog.resolve("transform", name)(**TRANSFORMS[name])(sample(), np.random.default_rng(7))
        assert result.label is not None
        assert result.image.shape[:2] == result.label.shape == result.maps["edge"].shape
        assert result.image.dtype == np.uint8
        assert set(np.unique(result.label)) <= {*range(5), 255}

    def test_works_without_a_label(self, name: str) -> None:
        bare = Sample(sample().image)
        result = catalog.resolve("transform", name)(**TRANSFORMS[name])(bare, np.random.default_rng(7))
        assert result.label is None


# --- Datasets -----------------------------------------------------------------------------------------------------

BENCHMARKS = {
    "ADE20KDataset": ("images/training/a.jpg", "annotations/training/a.png", 150),
    "CityscapesDataset": (
        "leftImg8bit/train/town/a_leftImg8bit.png",
        "gtFine/train/town/a_gtFine_labelTrainIds.png",
        19,
    ),
    "PascalVOCDataset": ("JPEGImages/a.jpg", "SegmentationClass/a.png", 21),
}
"""Where each benchmark keeps one image of its training split, and how many classes it has."""


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_satisfy_the_contract(name: str, tmp_path: Path) -> None:
    image, label, classes = BENCHMARKS[name]
    for path, pixels in ((image, np.zeros((8, 9, 3), np.uint8)), (label, np.full((8, 9), 1, np.uint8))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / path), pixels)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    folders = {"images": str(Path(image).parent), "labels": str(Path(label).parent)}
    dataset = catalog.resolve("dataset", name)(root=str(tmp_path), **folders)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 1
    assert len(dataset.classes) == len(dataset.palette) == classes
    loaded = dataset.load(0)
    assert loaded.image.shape == (8, 9, 3)
    assert loaded.label is not None
    assert loaded.label.max() < classes or (loaded.label == dataset.ignore_index).all()
