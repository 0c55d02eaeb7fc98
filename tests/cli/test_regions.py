"""Regions of nnU-Net, as of BraTS: read from dataset.json, trained as yes or no each, written as label maps."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunet_results import PATCH, network, results

from intarsia.cli.main import main
from intarsia.contracts import Sample
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.transforms.patch import RandomPatch
from intarsia.label_sets import Regions, regions_of_nnunet
from intarsia.losses.batch_dice import BatchDiceLoss
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.each_class import EachClass
from intarsia.weights.file import read_meta

LABELS = {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [2, 3], "enhancing": 3}
ORDER = [1, 2, 3]
BRATS = Regions(((1, 2, 3), (2, 3), (3,)), (1, 2, 3))


def scans(root: Path) -> Path:
    """nnU-Net's raw data: a tumour with a core, in which something enhances."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        label = np.zeros((40, 36, 3), np.uint8)
        label[5 + number : 30, 8:28] = 1
        label[10:25, 12:24] = 2
        label[14:20, 15:20] = 3
        image = 90.0 * label + np.random.default_rng(number).normal(0, 9, label.shape)
        affine = np.diag([0.8, 0.8, 5.0, 1.0])
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), root / f"imagesTr/case{number}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), root / f"labelsTr/case{number}.nii.gz")
    content = {"labels": LABELS, "regions_class_order": ORDER, "channel_names": {"0": "T1"}, "numTraining": 3}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


# --- Values and sets ----------------------------------------------------------------------------------------------


def test_regions_are_those_of_dataset_json() -> None:
    assert regions_of_nnunet({"labels": LABELS, "regions_class_order": ORDER}) == (tuple(LABELS)[1:], BRATS)
    assert regions_of_nnunet({"labels": {"background": 0, "core": 1}}) is None
    ignored = regions_of_nnunet({"labels": {**LABELS, "ignore": 4}, "regions_class_order": ORDER})
    assert ignored is not None
    assert ignored[1].ignored == (4,)
    with pytest.raises(ValueError, match=r"a value for each of 3; found \[1\]"):
        regions_of_nnunet({"labels": LABELS, "regions_class_order": [1]})


def test_a_value_is_a_set_of_classes_and_back() -> None:
    assert BRATS.sets(255) == {0: 0, 1: 0b001, 2: 0b011, 3: 0b111}
    written = BRATS.written()
    assert [written[one] for one in BRATS.sets(255).values()] == [0, 1, 2, 3]
    # Of sets that no value stands for: the last region counts, as in nnU-Net, whatever is around it.
    assert (written[0b100], written[0b010], written[0b101]) == (3, 2, 3)
    assert Regions.from_json(json.loads(json.dumps(BRATS.to_json()))) == BRATS


@pytest.mark.parametrize(
    ("values", "order", "message"),
    [(((1,), (2,)), (1,), "each of 2 regions, found 1"), (((0, 1),), (1,), "values from 1"), (((),), (1,), "from 1")],
)
def test_regions_that_cannot_be_are_refused(values: tuple, order: tuple, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        Regions(values, order)


def test_patches_are_drawn_around_a_class_of_sets() -> None:
    label = np.zeros((40, 50), np.uint8)
    label[3, 46], label[35, 2], label[20, 20] = 0b01, 0b11, 255
    sample = Sample(np.zeros((40, 50, 1), np.float32), label)
    patch = RandomPatch(size=(8, 8), foreground=[1], foreground_share=1.0, rotation_prob=0.0, scale_prob=0.0, sets=True)
    assert all((patch(sample, np.random.default_rng(seed)).label == 0b11).any() for seed in range(20))
    both = RandomPatch(size=(8, 8), foreground=[0], foreground_share=1.0, rotation_prob=0.0, scale_prob=0.0, sets=True)
    found = [set(np.unique(both(sample, np.random.default_rng(seed)).label)) - {0} for seed in range(20)]
    assert {1} in found
    assert {3} in found


def test_losses_are_those_of_nnunet_for_regions() -> None:
    """Binary cross entropy over all pixels and regions, and Dice of each region over the batch."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 9, generator=rng)
    values = torch.randint(0, 4, (2, 8, 9), generator=rng)
    truth = torch.stack([torch.isin(values, torch.tensor(region)) for region in BRATS.values], 1).float()
    p = logits.sigmoid()
    overlap, both = ((a * truth).sum((0, 2, 3)) for a in (p, torch.ones_like(p)))
    expected = [
        torch.nn.functional.binary_cross_entropy_with_logits(logits, truth),
        (1 - (2 * overlap + 1e-5) / (p.sum((0, 2, 3)) + both + 1e-5)).mean(),
    ]
    sets = torch.tensor([BRATS.sets(255)[value] for value in range(4)])[values]
    for loss, value in zip((CrossEntropyLoss(use_sigmoid=True), BatchDiceLoss()), expected, strict=True):
        torch.testing.assert_close(EachClass([loss])(logits, sets), value)


# --- Data, training, prediction -----------------------------------------------------------------------------------


def test_the_doctor_reads_regions_and_writes_them(tmp_path: Path) -> None:
    description = examine(scans(tmp_path / "data")).proposal()
    assert (description.classes, description.multi_label) == (("whole tumour", "tumour core", "enhancing"), True)
    assert description.regions == BRATS
    write_description(description, tmp_path / "data.yaml")
    read = read_description(tmp_path / "data.yaml")
    assert (read.regions, read.classes) == (BRATS, description.classes)
    assert "region_order: [1, 2, 3]" in (tmp_path / "data.yaml").read_text()
    label = read.dataset("train").load(0).label
    assert label is not None
    assert set(np.unique(label)) <= {0, 0b001, 0b011, 0b111}
    assert read.names_of(2) == ("whole tumour", "tumour core")
    assert examine(tmp_path / "data", multi_label=False).proposal().multi_label is False


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("region_order: [1]", "one is missing"),
        ("regions: {a: [1]}\nregion_order: [1, 2]", "the values of 'b' are missing"),
        ("regions: {a: [1], b: [2], c: [3]}\nregion_order: [1, 2]", "c"),
        ("regions: {a: [1], b: [2]}\nregion_order: [1]", "each of 2 regions, found 1"),
    ],
)
def test_what_cannot_be_in_a_description_is_said(lines: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(
        f"classes: [a, b]\nmulti_label: true\n{lines}\nsplits: {{train: {{images: images, labels: labels}}}}\n"
    )
    with pytest.raises(ValueError, match=message):
        read_description(file)


def test_regions_are_trained_and_written_in_their_order(tmp_path: Path) -> None:
    data = scans(tmp_path / "data")
    run, out = tmp_path / "run", tmp_path / "out"
    words = ["train", "nnunet", "--data", str(data), "--out", str(run), "--for", "2 steps", "--batch", "2"]
    assert main([*words, "--crop", "32", "32", "--workers", "0", "--device", "cpu"]) == 0
    meta = read_meta(run / "weights.safetensors")
    assert Regions.from_json(meta.regions) == BRATS
    losses = meta.config["model"]["decode_head"]["loss_decode"]
    assert [(loss["type"], loss.get("use_sigmoid")) for loss in losses] == [
        ("CrossEntropyLoss", True), ("BatchDiceLoss", None),
    ]  # fmt: skip
    patch = meta.config["train_dataloader"]["dataset"]["pipeline"][3]
    assert (patch["foreground"], patch["sets"]) == ([0, 1, 2], True)
    assert main(["predict", str(run), str(data / "imagesTr"), "-o", str(out), "--device", "cpu"]) == 0
    written = np.asarray(nib.load(out / "case1_0000.nii.gz").dataobj)
    assert written.shape == (40, 36, 3)
    assert set(np.unique(written)) <= {0, 1, 2, 3}


# --- Checkpoints --------------------------------------------------------------------------------------------------


def nnunet_label_map(logits: torch.Tensor, order: list[int]) -> np.ndarray:
    """What nnU-Net writes: region after region where its sigmoid is above one half."""
    found = np.zeros(logits.shape[1:], np.uint8)
    for region, value in zip(logits.sigmoid(), order, strict=True):
        found[(region > 0.5).numpy()] = value
    return found


@pytest.mark.parametrize("labels", [LABELS, {"background": 0, "whole tumour": [1, 2]}], ids=["three", "one"])
def test_a_checkpoint_of_regions_writes_the_same_label_maps(labels: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
    torch.manual_seed(0)
    order = [3, 1, 2][: len(labels) - 1]
    theirs = network("plain", 1, classes=len(order)).eval()
    folder = results(
        tmp_path, model=theirs, channels=("T1",), labels=labels, dataset={"regions_class_order": order},
        normalization_schemes=["NoNormalization"],
    )  # fmt: skip
    assert main(["weights", "convert", str(folder), "-o", str(tmp_path / "model.safetensors")]) == 0
    volume = np.random.default_rng(0).normal(0, 1, (PATCH[1], PATCH[0], 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "scan.nii.gz")
    out = tmp_path / "out.nii.gz"
    words = ["predict", str(tmp_path / "model.safetensors"), str(tmp_path / "scan.nii.gz"), "-o", str(out)]
    assert main([*words, "--device", "cpu"]) == 0
    with torch.no_grad():
        slices = torch.from_numpy(volume.transpose(2, 1, 0))[:, None]  # (2, 1, Y, X)
        ways = ((), (3,), (2,), (2, 3))
        logits = sum(theirs(slices.flip(axes)).flip(axes) for axes in ways) / len(ways)
    expected = np.stack([nnunet_label_map(one, order) for one in logits], axis=-1).transpose(1, 0, 2)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj), expected)
