"""What every entry of the catalogue promises; and the contracts of losses, transforms and datasets."""

from __future__ import annotations

import importlib
import inspect
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from intarsia import catalog
from intarsia.config.checking.signatures import signature_of
from intarsia.contracts import Dataset, Sample, SampleMeta
from intarsia.data.datasets.family import Family

ENTRIES = [(kind, name) for kind in catalog.kinds() for name in catalog.names(kind)]
OURS = [(kind, name) for kind, name in ENTRIES if catalog.locate(kind, name).startswith("intarsia.")]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_leads_to_something(kind: str, name: str) -> None:
    assert callable(catalog.resolve(kind, name))


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

OTHER_TARGETS = ("EachClass", "KLDivLoss", "RightAnswers", "SiLogLoss")
"""Losses of other targets than class indices, sets of classes, the logits of another network or depths: they have tests
of their own."""
LOSSES = [name for name in catalog.names("loss") if name not in OTHER_TARGETS]
SINGLE_LOGIT = ("BoundaryLoss", "MatthewsLoss")
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
    "AdjustGamma": {"gamma": 0.7},
    "Albu": {"transforms": [{"type": "HorizontalFlip", "p": 0.5}, {"type": "RandomBrightnessContrast", "p": 1.0}]},
    "BioMedical3DPad": {"pad_shape": (8, 40, 50)},
    "BioMedical3DRandomCrop": {"crop_shape": (4, 16, 20)},
    "BioMedical3DRandomFlip": {"prob": 0.5, "axes": (0, 1, 2)},
    "BioMedicalGaussianBlur": {"prob": 1.0},
    "BioMedicalGaussianNoise": {"prob": 1.0, "std": 9.0},
    "BioMedicalRandomGamma": {"prob": 1.0},
    "ByDataset": {"pipelines": [[catalog.resolve("transform", "RandomFlip")(prob=1.0)]]},
    "CLAHE": {},
    "ClassMix": {"prob": 1.0},
    "CoarseDropout": {"prob": 1.0, "fill_mask": 255},
    "CopyPaste": {"classes": (1, 3), "prob": 1.0, "min_area": 2},
    "CutMix": {"prob": 1.0},
    "ElasticTransform": {"prob": 1.0},
    "GaussianBlur": {"prob": 1.0},
    "GaussianNoise": {"prob": 1.0},
    "GenerateEdge": {},
    "GridDistortion": {"prob": 1.0},
    "JpegCompression": {"prob": 1.0},
    "LimitedContrast": {"prob": 1.0},
    "LoadBiomedicalAnnotation": {"decode_backend": "numpy"},
    "LoadBiomedicalData": {"with_seg": True},
    "LoadBiomedicalImageFromFile": {"decode_backend": "numpy", "to_float32": False},
    "LowResolution": {"prob": 1.0, "prob_per_band": 1.0},
    "MotionBlur": {"prob": 1.0},
    "MultiplicativeBrightness": {"prob": 1.0},
    "Pad": {"size": (60, 60)},
    "PadAround": {"size": (60, 60)},
    "PhotoMetricDistortion": {},
    "PoissonNoise": {"prob": 1.0},
    "RGB2Gray": {},
    "RandAugment": {},
    "RandomAffine": {"prob": 1.0, "degrees": 30},
    "RandomBrightnessContrast": {"prob": 1.0},
    "RandomChoiceResize": {"scales": [(30, 20), (50, 40)]},
    "RandomColorJitter": {},
    "RandomCrop": {"crop_size": (16, 20), "cat_max_ratio": 0.75},
    "RandomCutOut": {"prob": 1.0, "n_holes": (1, 3), "cutout_ratio": (0.2, 0.3), "seg_fill_in": 255},
    "RandomDepthMix": {"prob": 1.0},
    "RandomFlip": {"prob": 0.5},
    "RandomMosaic": {"prob": 1.0, "img_scale": (30, 40)},
    "RandomPatch": {"size": (16, 20), "foreground": (2,), "rotation_prob": 1.0, "scale_prob": 1.0},
    "RandomPerspective": {"prob": 1.0},
    "RandomResize": {"scale": (50, 40), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    "RandomRotFlip": {},
    "RandomRotate": {"prob": 1.0, "degree": 20},
    "RandomScale": {"ratio_range": (0.5, 2.0)},
    "RedrawUnlabelled": {},
    "Rerange": {},
    "ResampleToSpacing": {"spacing": (1.0, 1.0), "content": True},
    "Resize": {"scale": (50, 40), "keep_ratio": True},
    "ResizeShortestEdge": {"scale": 24, "max_size": 80},
    "ResizeToMultiple": {"size_divisor": 16},
    "SegRescale": {},
}
"""A minimal use of each; a new transform adds its line."""

OF_VOLUMES = {"BioMedical3DPad", "BioMedical3DRandomCrop", "BioMedical3DRandomFlip"}
LOADERS = {"LoadBiomedicalAnnotation", "LoadBiomedicalData", "LoadBiomedicalImageFromFile"}
FILES = tempfile.TemporaryDirectory()  # removed at the end of the process
REAL_NUMBERS = {"RGB2Gray", "Rerange"}
"""Transforms that make real numbers of whole ones."""


def sample(name: str = "") -> Sample:
    """What the transform is for: an image, a volume, or the files of one."""
    rng = np.random.default_rng(3)
    shape = (6, 33, 47) if name in OF_VOLUMES | LOADERS else (33, 47)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    label = rng.integers(0, 5, shape, dtype=np.uint8)
    depth = rng.random(shape).astype(np.float32)
    image.flags.writeable = label.flags.writeable = depth.flags.writeable = False
    if name not in LOADERS:
        return Sample(image, label, {"edge": label == 1, "depth": depth})
    folder = Path(FILES.name)
    bands = [*np.moveaxis(image, -1, 0), *([label] if name == "LoadBiomedicalData" else [])]
    np.save(folder / "image.npy", np.stack(bands))
    np.save(folder / "label.npy", label)
    return Sample(image, label, {"edge": label == 1}, SampleMeta("", f"{folder}/image.npy", f"{folder}/label.npy"))


def used(name: str, given: Sample) -> Sample:
    """The sample after the transform, which is handed as many others as it asks for."""
    if name == "Albu":
        pytest.importorskip("albumentations")
    transform = catalog.resolve("transform", name)(**TRANSFORMS[name])
    count = getattr(transform, "others", 0)
    return transform(given, np.random.default_rng(7), *([[given] * count] if count else []))


def test_every_transform_has_its_line() -> None:
    assert set(TRANSFORMS) == set(catalog.names("transform"))


@pytest.mark.parametrize("name", TRANSFORMS)
class TestTransform:
    def test_is_a_function_of_sample_and_generator(self, name: str) -> None:
        np.random.seed(0)
        random.seed(0)
        before, plain = np.random.get_state()[1].copy(), random.getstate()
        results = [used(name, sample(name)) for _ in range(2)]
        assert np.array_equal(before, np.random.get_state()[1])
        assert plain == random.getstate()
        assert np.array_equal(results[0].image, results[1].image)
        assert np.array_equal(results[0].label, results[1].label)

    def test_keeps_image_label_and_maps_together(self, name: str) -> None:
        result = used(name, sample(name))
        assert result.label is not None
        assert result.image.shape[:-1] == result.label.shape == result.maps["edge"].shape
        assert result.image.dtype == (np.float64 if name in REAL_NUMBERS else np.uint8)
        assert result.maps["edge"].dtype == (np.uint8 if name == "GenerateEdge" else bool)
        assert set(np.unique(result.label)) <= {*range(5), 255}

    def test_works_without_a_label(self, name: str) -> None:
        given = sample(name)
        bare = Sample(given.image, meta=replace(given.meta, label_path=""))
        if name == "LoadBiomedicalData":
            assert catalog.resolve("transform", name)()(bare, np.random.default_rng(7)).label is None
        else:
            assert used(name, bare).label is None


# --- Datasets -----------------------------------------------------------------------------------------------------

BENCHMARKS = [name for name in catalog.names("dataset") if isinstance(catalog.resolve("dataset", name), Family)]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_satisfy_the_contract(name: str, tmp_path: Path) -> None:
    family = catalog.resolve("dataset", name)
    image, label = f"{family.images}/a{family.image_suffix}", f"{family.labels}/a{family.label_suffix}"
    for path, pixels in ((image, np.zeros((8, 9, 3), np.uint8)), (label, np.full((8, 9), 1, np.uint8))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / path), pixels)
    if family.split_file is not None:
        (tmp_path / family.split_file).parent.mkdir(parents=True)
        (tmp_path / family.split_file).write_text("a\n")
    dataset = family(root=str(tmp_path))
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 1
    assert len(dataset.classes) == len(dataset.palette) == len(family.classes)
    loaded = dataset.load(0)
    assert loaded.image.shape == (8, 9, 3)
    assert loaded.label is not None
    assert loaded.label.max() < len(family.classes) or (loaded.label == dataset.ignore_index).all()
