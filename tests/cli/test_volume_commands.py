"""Volumes from the command line: trained on for two steps, evaluated, predicted into volumes that lie there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.io.whole_files import aside_name

AFFINE = np.array([[-0.8, 0, 0, 10], [0, 0.8, 0.1, 20], [0, -0.1, 5, -3], [0, 0, 0, 1.0]])


def scans(root: Path) -> Path:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        rng = np.random.default_rng(number)
        label = np.zeros((40, 36, 3), np.uint8)
        label[8 + number : 24, 10:22] = 1
        image = 90 * label + rng.normal(0, 9, label.shape)
        image[:2] = -1000
        nib.save(nib.Nifti1Image(image.astype(np.int16), AFFINE), root / f"images/case{number}.nii.gz")
        nib.save(nib.Nifti1Image(label, AFFINE), root / f"labels/case{number}.nii.gz")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volumes")
    words = ["train", "fast_scnn", "--data", str(scans(root / "data")), "--out", str(root / "run"), "--for", "2 steps"]
    assert main([*words, "--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu"]) == 0
    return root


def test_what_training_saw_stands_in_data_and_weights(run: Path) -> None:
    from intarsia.weights.file import read_meta

    description = read_description(run / "run/data.yaml")
    assert description.scale == (-160.0, 240.0)
    assert "slices: z" in (run / "run/data.yaml").read_text()
    image = read_meta(run / "run/weights.safetensors").image
    assert (image["scale"], image["slices"]) == ([-160.0, 240.0], "z")
    assert list(json.loads((run / "run/eval.json").read_text())["classes"]) == ["background", "foreground"]


def test_labels_of_volumes_lie_where_the_volumes_lie(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import intarsia

    assert main(["predict", str(run / "run"), str(run / "data/images"), "-o", str(tmp_path), "--device", "cpu"]) == 0
    assert "3 of 3 volumes, slices along z" in capsys.readouterr().err
    source, found = nib.load(run / "data/images/case1.nii.gz"), nib.load(tmp_path / "case1.nii.gz")
    assert np.array_equal(found.affine, source.affine)
    assert found.shape == source.shape
    assert found.get_data_dtype() == np.uint8
    predictor = intarsia.load(run / "run", device="cpu")
    window = np.rint(np.clip((source.get_fdata()[:, :, 2] + 160) * (255 / 400), 0, 255)).astype(np.uint8)
    alone = predictor.predict(f"{run / 'data/images/case1.nii.gz'}#z2").label
    assert np.array_equal(np.asarray(found.dataobj)[:, :, 2], alone.T)
    assert np.array_equal(alone, predictor.predict(np.repeat(window.T[:, :, None], 3, 2)).label)


def test_one_volume_and_what_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume, words = str(run / "data/images/case0.nii.gz"), ["predict", str(run / "run")]
    assert main([*words, volume, "-o", str(tmp_path / "out.nii"), "--device", "cpu"]) == 0
    assert nib.load(tmp_path / "out.nii").shape == (40, 36, 3)
    for more, reason in (
        (["-o", volume], "would be overwritten"),
        (["-o", str(tmp_path / "x"), "--save", "probs"], "of volumes, labels are written"),
        ([str(run / "data/images/case1.nii.gz"), "-o", str(tmp_path / "both.nii.gz")], "made of one volume"),
    ):
        assert main([*words, volume, *more, "--device", "cpu"]) != 0
        assert reason in " ".join(capsys.readouterr().err.split())
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    assert main([*words, str(tmp_path / "bad.nii.gz"), volume, "-o", str(tmp_path / "y"), "--device", "cpu"]) == 1
    assert "bad.nii.gz: expected a NIfTI file" in " ".join(capsys.readouterr().err.split())
    assert [file.name for file in sorted((tmp_path / "y").glob("*.nii*"))] == ["case0.nii.gz"]


def test_parts_of_volumes_are_the_whole_and_what_is_done_is_left_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, gone = str(run / "data/images"), str(tmp_path / "gone.nii.gz")

    def predict(out: str, *more: str) -> tuple[int, str]:
        words = ["predict", str(run / "run"), images, gone, "-o", str(tmp_path / out), "--device", "cpu", *more]
        return main(words), " ".join(capsys.readouterr().err.split())

    assert predict("whole")[0] == 1
    said = [predict("parts", "--part", f"{number}/7") for number in range(1, 8)]
    assert sum(code for code, _ in said) == sum("gone.nii.gz" in text for _, text in said) == 1
    for number in range(3):
        name = f"case{number}.nii.gz"
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    left = tmp_path / "parts" / re.sub(r"-\d+-", "-999999999-", aside_name(".gz"))
    left.write_bytes(b"begun")
    assert "all 3 volumes were done before" in predict("parts", "--skip-existing")[1]
    assert not left.exists()
    (tmp_path / "parts/case1.nii.gz").unlink()
    assert "1 of 3 volumes (2 were done before)" in predict("parts", "--skip-existing")[1]


def test_labels_of_slices_are_converted(run: Path, tmp_path: Path) -> None:
    assert main(["data", "convert", str(run / "data"), "-o", str(tmp_path)]) == 0
    before, after = read_description(run / "run/data.yaml"), read_description(tmp_path / "data.yaml")
    assert after.image_spec.slices == "z"
    for split in before.splits:
        own, other = before.dataset(split), after.dataset(split)
        assert [own.paths(index)[0] for index in range(len(own))] == [
            other.paths(index)[0] for index in range(len(other))
        ]
        for index in range(len(own)):
            assert np.array_equal(own.load(index).label, other.load(index).label)
            assert np.array_equal(own.load(index).image, other.load(index).image)


def test_volumes_of_several_channels_are_predicted_by_their_patterns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = scans(tmp_path / "data")
    for file in sorted((root / "images").iterdir()):
        for channel in ("_0000.nii", "_0001.nii"):
            file.with_name(file.name.replace(".nii", channel)).write_bytes(file.read_bytes())
        file.unlink()
    words = ["train", "fast_scnn", "--data", str(root), "--out", str(tmp_path / "run"), "--for", "1 steps"]
    assert main([*words, "--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu"]) == 0
    capsys.readouterr()
    images, other = f"{root}/images/*_0000.nii.gz", f"channel_1={root}/images/*_0001.nii.gz"
    words = ["predict", str(tmp_path / "run"), images, "--input", other, "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 0
    assert "3 of 3 volumes, slices along z" in capsys.readouterr().err
    assert nib.load(tmp_path / "out/case1_0000.nii.gz").shape == nib.load(root / "labels/case1.nii.gz").shape
