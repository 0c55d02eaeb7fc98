"""Volumes predicted by converted networks of nnU-Net, beside nnunetv2's own predictor, where that is installed.

It accumulates windows in half precision, so that it lies apart from itself in float32; the bounds are of that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunet_results import PATCH, network, results

import intarsia
from intarsia.cli.main import main
from intarsia.workflows.convert_weights import convert_weights

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install nnunetv2, in an environment of its own)")

BRATS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
CASES: dict[str, dict[str, Any]] = {
    "masked z-score": {"spacing": [0.7, 0.9], "use_mask_for_norm": [True]},
    "CT, slices along y": {
        "spacing": [0.7, 0.9], "normalization_schemes": ["CTNormalization"], "top": {
            "transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}, "scan": (0.8, 3.0, 0.8),
    },
    "regions, larger pixels": {
        "spacing": [1.4, 1.1], "labels": BRATS, "dataset": {"regions_class_order": [1, 2, 3]},
        "use_mask_for_norm": [False],
    },
    "the same spacing": {"spacing": [0.8, 0.8], "use_mask_for_norm": [False]},
    "slices as thick as pixels": {"spacing": [0.7, 0.9], "scan": (0.8, 0.8, 1.0), "use_mask_for_norm": [False]},
}  # fmt: skip
RESAMPLING = {
    f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")
} | {
    f"resampling_fn_{kind}_kwargs": {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1))
}  # fmt: skip


def scan(file: Path, spacing: tuple[float, float, float]) -> None:
    """Something with a hole in it, and nothing around it."""
    rng = np.random.default_rng(0)
    x, y, z = np.mgrid[:60, :50, :5]
    there = ((x - 30) / 24) ** 2 + ((y - 22) / 20) ** 2 + ((z - 2) / 2.2) ** 2 < 1
    there[28:32, 20:24, 2] = False
    volume = np.where(there, 100 + 40 * np.sin(x / 5) * np.cos(y / 7) + rng.normal(0, 8, there.shape), 0)
    nib.save(nib.Nifti1Image(volume.astype(np.float32), np.diag([*spacing, 1.0])), file)


def theirs(folder: Path, file: Path, model: torch.nn.Module, *folds: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Labels (Z, Y, X) and probabilities (K, Z, Y, X) of nnU-Net's predictor. folds: further networks of the plan."""
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
    manager = PlansManager(plans)
    configuration = manager.get_configuration("2d")
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=True, perform_everything_on_device=False,
        device=torch.device("cpu"), allow_tqdm=False,
    )  # fmt: skip
    parameters = [{name: value.clone() for name, value in one.state_dict().items()} for one in (model, *folds)]
    predictor.manual_initialization(model, manager, configuration, parameters, dataset, "nnUNetTrainer", (0, 1))
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
        [str(file)], None, manager, configuration, dataset
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    return convert_predicted_logits_to_segmentation_with_correct_shape(
        logits.float(), manager, configuration, manager.get_label_manager(dataset), properties, True, 1
    )


@pytest.mark.parametrize("case", CASES)
def test_a_volume_is_predicted_as_nnunet_predicts_it(case: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = dict(CASES[case])
    spacing = options.pop("scan", (0.8, 0.8, 3.0))
    top = {"image_reader_writer": "SimpleITKIO", **options.pop("top", {})}
    options = {"normalization_schemes": ["ZScoreNormalization"], **RESAMPLING, **options}
    model = network("plain", 1).eval()
    with torch.no_grad():  # so that each class is the largest somewhere
        model.decode_head.seg_layers[-1].bias -= model(torch.randn(1, 1, *PATCH)).mean((0, 2, 3))
    folder = results(tmp_path, model=model, channels=("T1",), top=top, **options)
    file = tmp_path / "scan.nii.gz"
    scan(file, spacing)
    labels, probabilities = theirs(folder, file, model)
    weights = convert_weights(folder, tmp_path / "model.safetensors")
    assert main(["predict", str(weights), str(file), "-o", str(tmp_path / "out.nii.gz"), "--device", "cpu"]) == 0
    ours = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj).transpose(2, 1, 0)
    predictor = intarsia.load(weights, device="cpu")
    axis = predictor.reader.spec.slices
    along = "zyx".index(axis)
    found = np.stack(
        [
            np.asarray(predictor.predict(f"{file}#{axis}{number}", probabilities=True).probabilities)
            for number in range(labels.shape[along])
        ],
        axis=along + 1,
    )
    apart = np.abs(found - probabilities)
    same = np.mean(ours == labels)
    print(f"{case}: {same:.3%} same labels, {apart.max():.1e} at most, {apart.mean():.1e} on average")
    assert len(np.unique(labels)) > 2
    # Where pixels are as large as slices are thick, nnU-Net keeps splines to the range of the volume, not of the slice.
    assert apart.max() < (2e-2 if "thick" in case else 1e-3)
    assert apart.mean() < 1e-4
    assert same > 0.999


@pytest.mark.parametrize("case", ["masked z-score", "regions, larger pixels"])
def test_folds_together_are_predicted_as_nnunet_predicts_them(case: str, tmp_path: Path) -> None:
    """Of the folder of results, and of a weights file for each fold."""
    options = {"normalization_schemes": ["ZScoreNormalization"], **RESAMPLING, **CASES[case]}
    models = []
    for fold in range(3):
        torch.manual_seed(fold)
        model = network("plain", 1).eval()
        with torch.no_grad():
            model.decode_head.seg_layers[-1].bias -= model(torch.randn(1, 1, *PATCH)).mean((0, 2, 3))
        top = {"image_reader_writer": "SimpleITKIO"}
        folder = results(tmp_path, model=model, channels=("T1",), fold=fold, top=top, **options)
        convert_weights(folder / f"fold_{fold}", tmp_path / f"{fold}.safetensors")
        models.append(model)
    file = tmp_path / "scan.nii.gz"
    scan(file, (0.8, 0.8, 3.0))
    labels, probabilities = theirs(folder, file, *models)
    for number, weights in enumerate(
        (str(folder), "+".join(str(tmp_path / f"{fold}.safetensors") for fold in range(3)))
    ):
        out = tmp_path / f"out{number}.nii.gz"
        assert main(["predict", weights, str(file), "-o", str(out), "--device", "cpu"]) == 0
        ours = np.asarray(nib.load(out).dataobj).transpose(2, 1, 0)
        same = np.mean(ours == labels)
        print(f"{case}, {weights}: {same:.3%} same labels")
        assert same > 0.999
    found = {}
    for mean in ("logits", "probabilities"):
        predictor = intarsia.load(folder, device="cpu", mean=mean)
        slices = [predictor.predict(f"{file}#z{z}", probabilities=True).probabilities for z in range(len(labels))]
        found[mean] = np.abs(np.stack(slices, axis=1) - probabilities)
    apart = found["logits"]
    print(f"{case}: {apart.max():.1e} at most, {apart.mean():.1e} on average")
    print(f"  of the mean of probabilities {found['probabilities'].max():.1e}, {found['probabilities'].mean():.1e}")
    assert apart.max() < 1e-3
    assert apart.mean() < 1e-4
    assert found["probabilities"].max() > 0.05, "the mean of probabilities is another one"
