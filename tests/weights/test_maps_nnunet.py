"""Folders of nnU-Net's results become weights files of ours, or are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_results import DECODER, PATCH, named_as_theirs, network, plans, results

import intarsia
from intarsia.weights.about import about
from intarsia.weights.file import read_meta
from intarsia.workflows.convert_weights import convert_weights


def converted(folder: Path, **options: Any) -> Path:
    return convert_weights(results(folder, **options), folder / "model.safetensors")


def predicted(file: Path, image: np.ndarray[Any, Any]) -> torch.Tensor:
    """Probabilities (K, H, W)."""
    found = intarsia.load(file, device="cpu").predict(image, probabilities=True).probabilities
    assert found is not None
    return torch.as_tensor(np.asarray(found))


def seen(model: torch.nn.Module, bands: torch.Tensor) -> torch.Tensor:
    """Logits (K, H, W): the mean over four ways to mirror (C, H, W), as nnU-Net has it."""
    with torch.no_grad():
        return sum(model(bands[None].flip(axes)).flip(axes)[0] for axes in ((), (3,), (2,), (2, 3))) / 4


def expected_of(model: torch.nn.Module, bands: torch.Tensor) -> torch.Tensor:
    return seen(model, bands).softmax(0)


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_folder_of_results_becomes_a_model_with_the_same_numbers(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = network(kind).eval()
    file = converted(tmp_path, kind=kind, model=theirs)
    assert intarsia.load(file, device="cpu").classes == ("background", "core", "rim")
    image = np.random.default_rng(0).normal(900, 300, (*PATCH, 2)).astype(np.float32)
    bands = torch.from_numpy(image).permute(2, 0, 1)
    bands = (bands - bands.mean((1, 2), keepdim=True)) / bands.std((1, 2), keepdim=True, correction=0)
    found, expected = predicted(file, image), expected_of(theirs, bands)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.argmax(0).unique().numel() > 1
    assert read_meta(file).image["scale"] == ["zscore"]


def test_percentiles_of_ct_are_cut_off_before_its_mean(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = network("plain", 1).eval()
    file = converted(tmp_path, model=theirs, channels=("CT",), normalization_schemes=["CTNormalization"])
    image = np.random.default_rng(0).uniform(-1000, 1000, (*PATCH, 1)).astype(np.float32)
    bands = (torch.from_numpy(image).permute(2, 0, 1).clamp(-60, 300) - 100) / 50
    torch.testing.assert_close(predicted(file, image), expected_of(theirs, bands), rtol=1e-4, atol=1e-5)


def test_colours_are_divided_by_255(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = network("plain", 3).eval()
    schemes = ["RGBTo01Normalization"] * 3
    file = converted(tmp_path, model=theirs, channels=("R", "G", "B"), normalization_schemes=schemes)
    image = np.random.default_rng(0).integers(0, 256, (*PATCH, 3), np.uint8)
    bands = torch.from_numpy(image).permute(2, 0, 1) / 255
    torch.testing.assert_close(predicted(file, image), expected_of(theirs, bands), rtol=1e-4, atol=1e-5)
    assert read_meta(file).image["bands"] == "rgb"


def test_larger_images_are_seen_through_windows_that_overlap_by_half(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = network("plain", 1).eval()
    file = converted(tmp_path, model=theirs, channels=("grey",), normalization_schemes=["NoNormalization"])
    image = np.random.default_rng(0).normal(size=(50, 100, 1)).astype(np.float32)
    total, weights = torch.zeros(3, 50, 100), torch.zeros(50, 100)
    ramps = [torch.exp(-0.5 * ((torch.arange(side) - side // 2) / (side / 8)) ** 2) for side in PATCH]
    weight = ramps[0][:, None] * ramps[1]  # an eighth of the side as deviation
    for top in (0, 9, 18):  # evenly, no more than half a window apart
        for left in (0, 18, 36):
            place = slice(top, top + 32), slice(left, left + 64)
            logits = seen(theirs, torch.from_numpy(image).permute(2, 0, 1)[:, place[0], place[1]])
            total[:, place[0], place[1]] += logits * weight
            weights[place] += weight
    torch.testing.assert_close(predicted(file, image), (total / weights).softmax(0), rtol=1e-4, atol=1e-5)


def test_small_images_lie_in_the_middle_of_the_patch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = network("plain", 1).eval()
    file = converted(tmp_path, model=theirs, channels=("grey",), normalization_schemes=["NoNormalization"])
    image = np.random.default_rng(0).normal(size=(20, 50, 1)).astype(np.float32)
    filled = torch.zeros(1, *PATCH)
    filled[:, 6:26, 7:57] = torch.from_numpy(image).permute(2, 0, 1)
    expected = expected_of(theirs, filled)[:, 6:26, 7:57]
    torch.testing.assert_close(predicted(file, image), expected, rtol=1e-4, atol=1e-5)


def test_plans_of_before_are_read(tmp_path: Path) -> None:
    old = plans("plain")["configurations"]["2d"]["architecture"]["arch_kwargs"]
    folder = results(
        tmp_path, UNet_class_name="PlainConvUNet", UNet_base_num_features=4, unet_max_num_features=10,
        n_conv_per_stage_encoder=old["n_conv_per_stage"], n_conv_per_stage_decoder=DECODER["plain"],
        conv_kernel_sizes=old["kernel_sizes"], pool_op_kernel_sizes=old["strides"],
        architecture={"network_class_name": "", "arch_kwargs": {}},
    )  # fmt: skip
    file = folder / "plans.json"
    file.write_text(file.read_text().replace('"architecture"', '"unused"'))
    backbone = about(folder).meta.config["model"]["backbone"]
    assert (backbone["channels"], backbone["strides"][1]) == ([4, 8, 10, 10], (1, 2))


def test_a_configuration_inherits(tmp_path: Path) -> None:
    whole = plans("plain")
    whole["configurations"]["2d_larger"] = {"inherits_from": "2d", "patch_size": [64, 64]}
    folder = results(tmp_path, name="nnUNetTrainer__nnUNetPlans__2d_larger", top=whole)
    assert about(folder).meta.config["model"]["test_cfg"]["crop_size"] == (64, 64)


def test_pixels_to_be_ignored_are_no_class(tmp_path: Path) -> None:
    folder = results(tmp_path, labels={"background": 0, "rim": 2, "core": 1, "ignore": 3})
    assert about(folder).meta.classes == ("background", "core", "rim")


def test_what_is_done_otherwise_is_said(tmp_path: Path) -> None:
    folder = results(tmp_path, top={"transpose_forward": [1, 2, 0]}, spacing=[0.5, 0.25])
    said = " ".join(about(folder).notes)
    assert "resampled to pixels of 0.5 x 0.25" in said
    assert "transpose_forward=[1, 2, 0]" in said
    assert about(folder).meta.image["slices"] == "y"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "nnUNetTrainer__nnUNetPlans__3d_fullres"}, "configuration '3d_fullres', whose network is one of vol"),
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "regions_class_order has a value for each of 2"),
        ({"labels": {"background": 0, "core": 2}}, r"count from 0, found \[0, 2\]"),
        ({"normalization_schemes": ["ZScoreNormalization", "CTNormalization"]}, "CTNormalization, ZScoreNormalization"),
        ({"normalization_schemes": ["RescaleTo01Normalization"] * 2}, "RescaleTo01Normalization"),
        ({"normalization_schemes": ["ZScoreNormalization"]}, "1 normalisations for 2 channels"),
        ({"use_mask_for_norm": [True, False]}, r"\[True, False\]; here all do"),
        ({"patch_size": None}, "cannot be used"),
        ({"architecture": {"network_class_name": "a.PrimusM", "arch_kwargs": {}}}, "'PrimusM'; expected PlainConvUNet"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused_by_name(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = results(tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        about(folder)


def test_another_norm_is_refused(tmp_path: Path) -> None:
    architecture = plans("plain")["configurations"]["2d"]["architecture"]
    architecture["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm2d"
    with pytest.raises(ValueError, match=r"norm_op='torch.nn.modules.batchnorm.BatchNorm2d'"):
        about(results(tmp_path, architecture=architecture))


def test_of_several_folds_one_is_named(tmp_path: Path) -> None:
    folder = results(tmp_path)
    (folder / "fold_1").mkdir()
    (folder / "fold_1" / "checkpoint_best.pth").write_bytes((folder / "fold_0" / "checkpoint_final.pth").read_bytes())
    with pytest.raises(ValueError, match="each of fold_0, fold_1: name the one to take"):
        about(folder)
    assert about(folder / "fold_1").path.name == "checkpoint_best.pth"


def test_a_folder_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    folder = results(tmp_path)
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    with pytest.raises(ValueError, match=r"holds no checkpoint_final\.pth nor checkpoint_best\.pth"):
        about(folder)


def test_its_names_are_those_of_the_original() -> None:
    unet = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet", reason="dynamic-network-architectures is not installed"
    )
    for kind, network_class in (("plain", unet.PlainConvUNet), ("residual", unet.ResidualEncoderUNet)):
        arguments = plans(kind)["configurations"]["2d"]["architecture"]["arch_kwargs"]
        own = {"conv_op": torch.nn.Conv2d, "norm_op": torch.nn.InstanceNorm2d, "nonlin": torch.nn.LeakyReLU}
        theirs = network_class(input_channels=2, num_classes=3, deep_supervision=True, **{**arguments, **own})
        found = named_as_theirs(network(kind).state_dict())
        assert {name: value.shape for name, value in found.items()} == {
            name: value.shape for name, value in theirs.state_dict().items()
        }
