"""The recipe `nnunet` on volumes of several spacings: what it chooses; scores are of the volumes as they are."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.weights.file import read_meta
from intarsia.workflows.plan_nnunet import plan, topology

SPACINGS = (0.8, 1.0, 1.0, 1.25, 1.0, 1.0)
THEIRS = [
    ((0.8, 0.8), (512, 512), 3000, (512, 512), 12, "=======", "33333333"),
    ((0.5, 1.0), (320, 260), 500, (320, 288), 23, "-=====", "r333333"),
    ((0.3, 1.2), (900, 200), 800, (1024, 224), 7, "--=====", "rr333333"),
    ((2.0, 0.7), (120, 400), 2000, (128, 448), 38, "|=====", "c333333"),
    ((0.4, 0.7), (2500, 1700), 300, (1536, 1024), 2, "========", "333333333"),
]
"""Spacing, median size, images -> patch, batch, halvings, kernels (r: 3 x 1, c: 1 x 3) of nnunetv2 2.8.1's
`get_plans_for_configuration`."""
ALONG = {"=": (2, 2), "|": (1, 2), "-": (2, 1)}
KERNELS = {"3": (3, 3), "r": (3, 1), "c": (1, 3)}


@pytest.mark.parametrize(("spacing", "size", "images", "patch", "batch", "halvings", "kernels"), THEIRS)
def test_pixels_that_are_not_square_are_halved_as_by_the_original(
    spacing: tuple[float, float], size: tuple[int, int], images: int, patch: tuple[int, int], batch: int,
    halvings: str, kernels: str,
) -> None:  # fmt: skip
    found = plan("nnunet", image_size=size, images=images, num_logits=2, spacing=spacing)
    assert (found.topology.patch, found.batch) == (patch, batch)
    assert found.topology.strides == ((1, 1), *(ALONG[one] for one in halvings))
    assert found.topology.kernel_sizes == tuple(KERNELS[one] for one in kernels)
    assert topology((64, 64), (2.0, 2.0)) == topology((64, 64))


def scans(root: Path, *, channel: str) -> Path:
    """Something in the middle of nothing; the same thing has more pixels where they are smaller."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number, spacing in enumerate(SPACINGS):
        sides = [round(60 / spacing), round(50 / spacing), 3]
        x, y, _ = np.mgrid[: sides[0], : sides[1], : sides[2]]
        there = abs(x * spacing - 30) < 20
        there &= abs(y * spacing - 25) < 18
        label = (((x * spacing - 27) / 9) ** 2 + ((y * spacing - 24) / 8) ** 2 < 1).astype(np.uint8)
        image = np.where(there, 200 + 90.0 * label + np.random.default_rng(number).normal(0, 9, label.shape), 0)
        affine = np.diag([spacing, spacing, 5.0, 1.0])
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), root / f"imagesTr/case{number}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), root / f"labelsTr/case{number}.nii.gz")
    content = {"labels": {"background": 0, "organ": 1}, "channel_names": {"0": channel}}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spacing")
    data = scans(root / "data", channel="T1")
    words = ["train", "nnunet", "--data", str(data), "--out", str(root / "run"), "--for", "6 steps", "--batch", "2"]
    assert main([*words, "--crop", "32", "32", "--workers", "0", "--device", "cpu"]) == 0
    return root


def test_spacing_box_and_inside_are_chosen_from_the_volumes(run: Path) -> None:
    description = read_description(run / "run/data.yaml")
    assert (description.bands, description.channels, description.scale) == ("raw", 1, ("zscore", "nonzero"))
    meta = read_meta(run / "run/weights.safetensors")
    step = {"type": "ResampleToSpacing", "spacing": [1.0, 1.0], "content": True}
    for name in ("train_dataloader", "val_dataloader"):
        steps = meta.config[name]["dataset"]["pipeline"]
        assert step in [{**one, "spacing": list(one.get("spacing", ()))} for one in steps]
    assert meta.image["scale"] == ["zscore", "nonzero"]
    assert meta.image["slices"] == "z"
    sample = description.dataset("train").load(1)
    assert sample.image.min() < 0 or (sample.image == 0).any()


def test_scores_are_of_the_volumes_as_they_are(run: Path, tmp_path: Path) -> None:
    words = ["--device", "cpu"]
    assert main(["predict", str(run / "run"), str(run / "data/imagesTr"), "-o", str(tmp_path / "out"), *words]) == 0
    assert main(["eval", str(run / "run"), "--out", str(tmp_path / "scores"), "--workers", "0", *words]) == 0
    report = json.loads((tmp_path / "scores/eval.json").read_text())
    cases = {Path(pair.image.partition("#")[0]).name for pair in read_description(run / "run/data.yaml").pairs("val")}
    assert cases
    counts = np.zeros((2, 2), np.int64)
    for case in cases:
        truth = np.asarray(nib.load(run / "data/labelsTr" / case.replace("_0000", "")).dataobj)
        written = nib.load(tmp_path / "out" / case)
        said = np.asarray(written.dataobj)
        assert said.shape == truth.shape
        assert np.array_equal(written.affine, nib.load(run / "data/imagesTr" / case).affine)
        np.add.at(counts, (truth.ravel(), said.ravel()), 1)
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    found = [report["classes"][name]["IoU"] for name in ("background", "organ")]
    np.testing.assert_allclose(found, iou, atol=1e-6)


def test_ct_is_cut_off_at_percentiles_of_what_is_labelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from intarsia.workflows.adjust import TrainingOptions
    from intarsia.workflows.training_config import TrainingRequest, training_config

    data = scans(tmp_path / "data", channel="CT")
    training = TrainingOptions(workers=0)
    config = training_config(
        TrainingRequest(name="nnunet", out=tmp_path / "run", data=data, training=training), tmp_path / "d.yaml"
    )
    said = capsys.readouterr().err
    assert "values: cut off at" in said
    assert "become 0 and 255" not in said  # what the doctor proposes for other recipes
    description = read_description(tmp_path / "d.yaml")
    values = []
    for case in {pair.image.partition("#")[0] for pair in description.pairs("train")}:
        label = np.asarray(nib.load(data / case.replace("imagesTr", "labelsTr").replace("_0000", "")).dataobj)
        values.append(np.asarray(nib.load(data / case).dataobj)[label == 1])
    joined = np.concatenate(values)
    assert description.scale is not None
    assert description.scale[0] == "clip"
    np.testing.assert_allclose(description.scale[1:], np.percentile(joined, (0.5, 99.5)), rtol=1e-5)
    assert description.mean == pytest.approx((joined.mean(),), rel=1e-5)
    assert description.std == pytest.approx((joined.std(),), rel=1e-5)
    preprocessor = config.values["model"]["data_preprocessor"]
    assert (list(preprocessor["mean"]), list(preprocessor["std"])) == (
        list(description.mean or ()),
        list(description.std or ()),
    )
