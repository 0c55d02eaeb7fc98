"""Channels of a sample in files of their own, as nnU-Net stores them: images, and volumes slice by slice."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from painted import areas, kinds, picture, save

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.value_range import Scale

SHAPE = (36, 40, 4)


def pictures(root: Path, channels: int = 2) -> Path:
    for index in range(6):
        for channel in range(channels):
            save(root / f"imagesTr/x{index}_{channel:04}.png", picture(index)[:, :, channel])
        save(root / f"labelsTr/x{index}.png", areas(index))
    names = {str(channel): name for channel, name in enumerate(("red light", "nir"))}
    (root / "dataset.json").write_text(json.dumps({"channel_names": names, "labels": {"no": 0, "a": 1, "b": 2}}))
    return root


def volume(seed: int, channel: int) -> np.ndarray:
    return np.random.default_rng((seed, channel)).normal(100 * (channel + 1), 20 + seed, SHAPE).astype(np.int16)


def volumes(root: Path) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        label = np.zeros(SHAPE, np.uint8)
        label[5 + number : 20, 8:30, 1:] = 1
        for channel in range(2):
            nib.save(
                nib.Nifti1Image(volume(number, channel), np.eye(4)), root / f"imagesTr/c{number}_{channel:04}.nii.gz"
            )
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / f"labelsTr/c{number}.nii.gz")
    return root


def test_all_channels_of_pictures_are_read(tmp_path: Path) -> None:
    """One of two was trained on, with a warning of files that no split used."""
    findings = examine(pictures(tmp_path / "data"))
    description = findings.proposal()
    assert [one.name for one in description.inputs] == ["red_light", "nir"]
    assert "images not used" not in kinds(findings.warnings)
    write_description(description, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == description
    dataset = description.dataset("train")
    for index in range(len(dataset)):
        sample = dataset.load(index)
        seed = int(dataset.name(index).split("_")[0][-1])
        assert np.array_equal(sample.image, picture(seed)[:, :, :2])
        assert np.array_equal(sample.label, areas(seed))


def test_a_channel_that_a_sample_lacks_is_told(tmp_path: Path) -> None:
    (pictures(tmp_path) / "imagesTr/x3_0001.png").unlink()
    findings = examine(tmp_path)
    assert findings.proposal().inputs == ()
    (told,) = [one for one in findings.warnings if one.kind == "images not used"]
    assert "other channels of the same pictures" in told.text


def test_slices_of_volumes_have_all_channels(tmp_path: Path) -> None:
    """`slices` took the first file apart alone, and the others were refused as volumes."""
    description = examine(volumes(tmp_path / "data")).proposal()
    write_description(description, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == description
    dataset = description.dataset("train")
    assert len(dataset) in (4, 8)
    for index in range(len(dataset)):
        case, place = dataset.name(index).split("/")[-1].removeprefix("c").split("_0000_z")
        both = np.stack([volume(int(case), channel)[:, :, int(place)].T for channel in range(2)], axis=2)
        assert np.array_equal(dataset.load(index).image, both)


@pytest.mark.parametrize("scale", ["[zscore]", "[clip, 80, 120, 150, 240]"])
def test_a_scale_of_several_images_is_that_of_each(tmp_path: Path, scale) -> None:
    """It was read, and never used."""
    volumes(tmp_path)
    (tmp_path / "data.yaml").write_text(
        f"classes: [no, a]\nimage: {{scale: {scale}}}\nsplits:\n  train: "
        "{images: {t1: imagesTr/*_0000.nii.gz, t2: imagesTr/*_0001.nii.gz}, labels: labelsTr, slices: z}\n"
    )
    dataset = read_description(tmp_path / "data.yaml").dataset("train")
    for index, name in enumerate(map(dataset.name, range(len(dataset)))):
        case, place = name.split("/")[-1].removeprefix("c").split("_0000_z")
        whole = [volume(int(case), channel).astype(np.float64) for channel in range(2)]
        if scale == "[zscore]":
            expected = [(one - one.mean()) / one.std() for one in whole]
        else:
            expected = [one.clip(*ends) for one, ends in zip(whole, ((80, 120), (150, 240)), strict=True)]
        both = np.stack([one[:, :, int(place)].T for one in expected], axis=2)
        np.testing.assert_allclose(dataset.load(index).image, both, rtol=1e-5, atol=1e-5)


def test_bands_of_a_scale() -> None:
    pairs = Scale.of(["clip", 0, 1, 2, 3, 4, 5])
    assert pairs.of_bands(1, 3) == Scale((2.0, 4.0), (3.0, 5.0), "clip")
    assert Scale.of(["clip", 0, 1]).of_bands(2, 3) == Scale((0.0,), (1.0,), "clip")
