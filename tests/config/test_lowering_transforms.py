"""Transforms of a config: orders of colours, loaders that belong to the data set, volumes."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import numpy as np
import pytest

from intarsia import catalog
from intarsia.config.build import build
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.spec import Component, DataSpec

IMAGE, LABEL, PACK = {"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}


def config(*pipeline: dict[str, Any], **dataset: Any) -> Config:
    data = {
        "type": "BaseSegDataset",
        "data_root": "d",
        "metainfo": {"classes": ["a", "b"]},
        "pipeline": list(pipeline),
        **dataset,
    }
    values = {
        "model": {
            "type": "EncoderDecoder",
            "backbone": {"type": "ResNet", "depth": 18},
            "decode_head": {"type": "FCNHead", "in_channels": 512, "channels": 4, "num_classes": 2},
        },
        "train_dataloader": {"batch_size": 2, "dataset": data},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
    }
    return Config.from_values(values, file="test.py")


def lowered(*pipeline: dict[str, Any], **dataset: Any) -> DataSpec:
    train = lower(config(*pipeline, **dataset)).train
    assert train is not None
    return train


def only(*steps: dict[str, Any]) -> Component:
    [transform] = lowered(*steps).transforms
    return transform


@pytest.mark.parametrize(
    ("step", "key", "ours"),
    [
        ({"type": "RandomRotate", "prob": 1, "degree": 9, "pad_val": [1, 2, 3]}, "pad_val", (3, 2, 1)),
        ({"type": "RandomRotate", "prob": 1, "degree": 9, "pad_val": 4}, "pad_val", 4),
        ({"type": "RandomCutOut", "prob": 1, "n_holes": 1, "cutout_shape": (1, 2), "fill_in": (1, 2, 3)}, "fill_in",
         (3, 2, 1)),
        ({"type": "RandomAffine", "pad_val": [1, 2, 3]}, "pad_val", (3, 2, 1)),
        ({"type": "RandomPerspective", "pad_val": [1, 2, 3]}, "pad_val", (3, 2, 1)),
        ({"type": "ElasticTransform", "pad_val": [1, 2, 3]}, "pad_val", (3, 2, 1)),
        ({"type": "CoarseDropout", "fill": [1, 2, 3]}, "fill", (3, 2, 1)),
        ({"type": "RGB2Gray", "weights": (0.5, 0.3, 0.2)}, "weights", (0.2, 0.3, 0.5)),
        ({"type": "RGB2Gray"}, "weights", (0.114, 0.587, 0.299)),
        ({"type": "mmseg.RGB2Gray", "weights": (0.5, 0.5)}, "weights", (0.5, 0.5)),
    ],
)  # fmt: skip
def test_numbers_of_bands_come_in_the_order_of_ours(step, key, ours):
    assert only(IMAGE, LABEL, step, PACK).args[key] == ours
    build(only(IMAGE, LABEL, step, PACK))


def test_raw_bands_have_the_order_of_their_file():
    raw = {"type": "LoadImageFromFile", "color_type": "unchanged"}
    step = {"type": "RandomRotate", "prob": 1, "degree": 9, "pad_val": [1, 2, 3]}
    assert only(raw, LABEL, step, PACK).args["pad_val"] == (1, 2, 3)
    assert only({"type": "LoadSingleRSImageFromFile"}, LABEL, step, PACK).args["pad_val"] == (1, 2, 3)


def test_all_bands_of_remote_sensing_are_read_by_the_data_set():
    spec = lowered({"type": "LoadSingleRSImageFromFile", "to_float32": False}, LABEL, PACK)
    assert spec.dataset.args["bands"] == "raw"
    assert spec.transforms == ()


def test_volumes_are_read_by_transforms():
    crop = {"type": "BioMedical3DRandomCrop", "crop_shape": [8, 16, 16]}
    spec = lowered({"type": "LoadBiomedicalImageFromFile", "backend_args": None}, {"type": "LoadBiomedicalAnnotation"},
                   crop, PACK, img_suffix=".nii.gz")  # fmt: skip
    assert spec.dataset.args["files_only"] is True
    assert "labels" not in spec.dataset.args
    assert spec.label_size == "input"
    assert [step.type for step in spec.transforms] == [
        "LoadBiomedicalImageFromFile",
        "LoadBiomedicalAnnotation",
        "BioMedical3DRandomCrop",
    ]
    alone = lowered({"type": "LoadBiomedicalImageFromFile"}, PACK)
    assert alone.dataset.args["labels"] is None


def test_volumes_of_a_list(tmp_path):
    volume = np.zeros((4, 5, 6))
    for name in ("image", "label"):
        np.save(tmp_path / f"{name}.npy", volume)
    content = {"labels": {"0": "a", "1": "b"}, "training": [{"image": "./image.npy", "label": "./label.npy"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    steps = [{"type": f"LoadBiomedical{what}", "decode_backend": "numpy"} for what in ("ImageFromFile", "Annotation")]
    found = config(*steps, PACK, type="DecathlonDataset", data_root=str(tmp_path), ann_file="dataset.json")
    assert check(found) == []
    spec = lower(found).train
    sample = build(spec.dataset).load(0)
    for step in spec.transforms:
        sample = build(step)(sample, np.random.default_rng(0))
    assert sample.image.shape == (4, 5, 6, 1)
    assert sample.label.shape == (4, 5, 6)


def test_volumes_need_a_data_set_of_files():
    with pytest.raises(ConfigError, match="volumes are read, but CityscapesDataset has images"):
        lower(config({"type": "LoadBiomedicalImageFromFile"}, PACK, type="CityscapesDataset"))


@pytest.mark.parametrize("with_seg", [True, False])
def test_labels_in_the_file_of_the_volume_need_no_other_file(with_seg):
    spec = lowered({"type": "LoadBiomedicalData", "with_seg": with_seg}, PACK)
    assert spec.dataset.args["files_only"] is True
    assert spec.dataset.args["labels"] is None


def test_albumentations_are_checked_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    steps = [{"type": "RandomBrightnessContrast", "p": 0.2}, {"type": "OneOf", "transforms": [{"type": "Blur"}]}]
    albu = {"type": "Albu", "transforms": steps, "keymap": None, "update_pad_shape": False}
    found = config(IMAGE, LABEL, albu, PACK)
    assert check(found) == []
    transform = only(IMAGE, LABEL, albu, PACK)
    assert list(transform.args) == ["transforms"]
    assert build(transform).transforms[1] == {"type": "OneOf", "transforms": ({"type": "Blur"},)}


@pytest.mark.parametrize(
    ("keymap", "accepted"), [({"img": "image", "gt_seg_map": "mask"}, True), ({"img": "image"}, False)]
)
def test_other_names_for_albumentations_are_refused(keymap, accepted):
    albu = {"type": "Albu", "transforms": [{"type": "Blur"}], "keymap": keymap}
    if accepted:
        only(IMAGE, LABEL, albu, PACK)
    else:
        with pytest.raises(ConfigError, match="keymap"):
            only(IMAGE, LABEL, albu, PACK)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("AdjustGamma", {"gamma": 1.2}),
        ("BioMedicalGaussianNoise", {"prob": 0.2, "mean": 0.0, "std": 0.2}),
        ("BioMedicalGaussianBlur", {"sigma_range": [0.5, 2.0], "prob": 0.3, "different_sigma_per_axis": False}),
        ("BioMedicalRandomGamma", {"gamma_range": (0.5, 2), "invert_image": True, "retain_stats": True}),
        ("CLAHE", {"clip_limit": 3, "tile_grid_size": [4, 4]}),
        ("RandomCutOut", {"prob": 0.5, "n_holes": [1, 3], "cutout_ratio": [[0.1, 0.2], [0.3, 0.4]]}),
        ("RandomDepthMix", {"prob": 0.25}),
        ("RandomRotFlip", {"rotate_prob": 0.5, "flip_prob": 0.5, "degree": [-20, 20]}),
        ("RandomRotate", {"prob": 0.5, "degree": 10.0, "center": [4, 5]}),
        ("Rerange", {"min_value": -1, "max_value": 1}),
        ("SegRescale", {"scale_factor": 1}),
    ],
)
def test_every_argument_of_the_original_is_taken(name, arguments):
    found = config(IMAGE, LABEL, {"type": name, **arguments}, PACK)
    assert check(found) == []
    build(only(IMAGE, LABEL, {"type": name, **arguments}, PACK))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ClassMix", {"prob": 0.3, "ignore_index": 0}),
        ("CoarseDropout", {"num_holes": [1, 3], "hole_size": [0.1, 0.2], "fill": None, "fill_mask": 255}),
        ("CopyPaste", {"classes": [3], "max_regions": 2, "scale": [0.5, 1.5], "flip": False, "others": 4}),
        ("CopyPaste", {"classes": None, "ignore_index": 9}),
        ("CutMix", {"alpha": 0.5}),
        ("ElasticTransform", {"alpha": 50, "sigma": 5, "pad_val": 1, "seg_pad_val": 0}),
        ("GaussianBlur", {"sigma": [0.5, 1]}),
        ("GaussianNoise", {"std": [0.01, 0.02], "per_band": False}),
        ("GridDistortion", {"num_steps": 3, "distort_limit": 0.2}),
        ("JpegCompression", {"quality": [30, 60]}),
        ("MotionBlur", {"length": [3, 5]}),
        ("PoissonNoise", {"peak": [100, 200]}),
        ("RandomAffine", {"degrees": [-5, 10], "translate": [0, 0.1], "scale": [0.9, 1.1], "shear": 3}),
        ("RandomBrightnessContrast", {"brightness": 0.1, "contrast": [-0.1, 0.3], "per_band": True}),
        ("RandomPerspective", {"distortion_scale": 0.2}),
    ],
)
def test_our_own_are_written_as_they_are_built(name, arguments):
    found = config(IMAGE, LABEL, {"type": name, **arguments}, PACK)
    assert check(found) == []
    built = build(only(IMAGE, LABEL, {"type": name, **arguments}, PACK))
    assert type(built).__name__ == name
    for key, value in arguments.items():
        if not isinstance(value, int | float):
            assert getattr(built, key) == (tuple(value) if isinstance(value, list) else value)
    wrong = config(IMAGE, LABEL, {"type": name, "prob": "often"}, PACK)
    assert any("prob" in str(problem) for problem in check(wrong))


@pytest.mark.parametrize("name", ["ClassMix", "CopyPaste", "CutMix", "ElasticTransform", "RandomAffine"])
def test_labels_that_are_loaded_behind_a_geometry_keep_their_size(name):
    assert lowered(IMAGE, {"type": name}, LABEL, PACK).label_size == "original"


DEFAULTS: dict[str, dict[str, Any]] = {
    "AdjustGamma": {"gamma": 1.0},
    "BioMedical3DPad": {"pad_val": 0.0, "seg_pad_val": 0},
    "BioMedical3DRandomCrop": {"keep_foreground": True},
    "BioMedical3DRandomFlip": {"swap_label_pairs": None},
    "BioMedicalGaussianBlur": {"sigma_range": (0.5, 1.0), "prob": 0.2, "prob_per_channel": 0.5,
                               "different_sigma_per_channel": True, "different_sigma_per_axis": True},
    "BioMedicalGaussianNoise": {"prob": 0.1, "mean": 0.0, "std": 0.1},
    "BioMedicalRandomGamma": {"prob": 0.5, "gamma_range": (0.5, 2), "invert_image": False, "per_channel": False,
                              "retain_stats": False},
    "CLAHE": {"clip_limit": 40.0, "tile_grid_size": (8, 8)},
    "LoadBiomedicalAnnotation": {"decode_backend": "nifti", "to_xyz": False, "to_float32": True},
    "LoadBiomedicalData": {"with_seg": False, "decode_backend": "numpy", "to_xyz": False},
    "LoadBiomedicalImageFromFile": {"decode_backend": "nifti", "to_xyz": False, "to_float32": True},
    "RGB2Gray": {"out_channels": None, "weights": (0.299, 0.587, 0.114)},
    "RandomCutOut": {"cutout_shape": None, "cutout_ratio": None, "fill_in": 0, "seg_fill_in": None},
    "RandomDepthMix": {"prob": 0.25, "mix_scale_ratio": 0.75},
    "RandomMosaic": {"img_scale": (640, 640), "center_ratio_range": (0.5, 1.5), "pad_val": 0, "seg_pad_val": 255},
    "RandomRotFlip": {"rotate_prob": 0.5, "flip_prob": 0.5, "degree": (-20, 20)},
    "RandomRotate": {"pad_val": 0, "seg_pad_val": 255, "center": None, "auto_bound": False},
    "Rerange": {"min_value": 0, "max_value": 255},
    "SegRescale": {"scale_factor": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_a_config_leaves_out_is_what_the_original_takes(name):
    fields = dataclasses.fields(catalog.resolve("transform", name))
    stated = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    assert stated | DEFAULTS[name] == stated
    ours = set(stated) - set(DEFAULTS[name])  # keys that the original does not have
    assert ours <= {"RandomRotFlip": {"seg_pad_val"}, "RandomDepthMix": {"depth_rescale_factor"}}.get(
        name, {"ignore_index"}
    )


def test_mosaics_are_made_of_samples_of_the_data_set():
    mosaic = {"type": "RandomMosaic", "prob": 0.5, "img_scale": [32, 32], "center_ratio_range": [0.5, 1.5],
              "pad_val": 0, "seg_pad_val": 255}  # fmt: skip
    assert build(only(IMAGE, LABEL, mosaic, PACK)).others == 3


def test_labels_may_be_rescaled_at_the_end():
    rescale = {"type": "SegRescale", "scale_factor": 0.125}
    assert build(only(IMAGE, LABEL, rescale, PACK)).changes


def test_wrong_arguments_name_the_place():
    found = config(IMAGE, LABEL, {"type": "RandomRotate", "prob": 1.0, "degre": 10}, PACK)
    problems = [str(problem) for problem in check(found)]
    assert any("train_dataloader.dataset.pipeline.2" in text and "degre" in text for text in problems)


# --- Whose pixels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        {"type": "Resize", "scale": (8, 4), "interpolation": "hamming"},
        {"type": "RandomResize", "scale": (8, 4), "ratio_range": (0.5, 2.0), "interpolation": "box"},
        {"type": "RandomChoiceResize", "scales": [(8, 4)], "interpolation": "lanczos"},
        {"type": "RandomChoiceResize", "scales": [4], "resize_type": "ResizeShortestEdge", "max_size": 9},
    ],
)
def test_images_are_resized_by_pillow_where_the_config_says_so(step: dict[str, Any]) -> None:
    steps = (IMAGE, LABEL, {**step, "backend": "pillow"}, PACK)
    assert not [problem for problem in check(config(*steps)) if "pipeline" in problem.path]
    assert build(only(*steps)).backend == "pillow"
    assert build(only(IMAGE, LABEL, {**step, "backend": "cv2", "interpolation": "nearest"}, PACK)).backend == "cv2"


def test_an_interpolation_of_another_backend_is_found_before_anything_is_built() -> None:
    for name, backend, right in (("hamming", "cv2", "pillow"), ("area", "pillow", "cv2")):
        step = {"type": "Resize", "scale": (8, 4), "interpolation": name, "backend": backend}
        (problem,) = (found for found in check(config(IMAGE, LABEL, step, PACK)) if "pipeline" in found.path)
        assert problem.path == "train_dataloader.dataset.pipeline.2.interpolation"
        assert f"{name!r} is an interpolation of backend={right!r} alone" in problem.message
    step = {"type": "Resize", "scale": (8, 4), "backend": "tpu"}
    (problem,) = (found for found in check(config(IMAGE, LABEL, step, PACK)) if "pipeline" in found.path)
    assert "Literal['cv2', 'pillow']" in problem.message


def test_a_scale_counts_where_there_is_a_factor_too() -> None:
    step = {"type": "Resize", "scale": (8, 4), "scale_factor": 0.5, "keep_ratio": True}
    assert only(IMAGE, LABEL, step, PACK).args == {"scale": (8, 4), "keep_ratio": True}
    assert only(IMAGE, LABEL, {**step, "scale": None}, PACK).args["scale_factor"] == 0.5
