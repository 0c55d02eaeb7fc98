"""What a slice knows of its volume, and slices at pixels of another size: cut, resampled, padded, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nnunet_results import PATCH, network, results
from scipy.ndimage import binary_fill_holes, map_coordinates

import intarsia
from intarsia.contracts import Sample, SampleMeta
from intarsia.data.description.read import read_description
from intarsia.data.image_io import decode_image
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.transforms.spacing import PadAround, ResampleToSpacing, resampled_image, resampled_label
from intarsia.data.value_range import Scale
from intarsia.data.volume_facts import content_of, facts_of, inside_of, spacing_of
from intarsia.inference.logits.lazy import HeadLogits, Placed
from intarsia.inference.logits.postprocess import postprocess
from intarsia.workflows.convert_weights import convert_weights

RNG = np.random.default_rng(0)


def a_volume(folder: Path, *, affine: np.ndarray | None = None, bands: int = 1) -> tuple[Path, np.ndarray]:
    """A file, and what it holds, (X, Y, Z, N): something with a hole in it, and nothing around it."""
    x, y, z = np.mgrid[:24, :20, :5]
    there = ((x - 11) / 8) ** 2 + ((y - 9) / 7) ** 2 + ((z - 2) / 1.5) ** 2 < 1
    hole = (abs(x - 11) < 2) & (abs(y - 9) < 2) & (z == 2)
    numbers = np.where(there & ~hole, 50 + np.random.default_rng(1).normal(0, 10, there.shape), 0)
    volume = np.stack([numbers * (band + 1) for band in range(bands)], axis=-1).astype(np.float32)
    file = folder / "scan.nii.gz"
    affine = np.diag([0.5, 0.8, 3.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(volume if bands > 1 else volume[..., 0], affine), file)
    return file, volume


def test_a_slice_knows_spacing_box_and_inside_of_its_volume(tmp_path: Path) -> None:
    file, volume = a_volume(tmp_path)
    shown = volume[..., 0] != 0
    inside = binary_fill_holes(shown)
    ends = [np.flatnonzero(shown.any(tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    (left, right), (top, bottom), (first, last) = ends
    assert spacing_of(f"{file}#z2") == pytest.approx((0.8, 0.5))  # rows run along y
    assert content_of(f"{file}#z2") == (top, left, bottom - top + 1, right - left + 1)
    assert content_of(f"{file}#z0") == (top, left, 0, right - left + 1)
    assert (first, last) == (1, 3)
    np.testing.assert_array_equal(inside_of(f"{file}#z2"), inside[:, :, 2].T)
    np.testing.assert_array_equal(inside_of(f"{file}#x11"), inside[11].T)
    assert not inside_of(f"{file}#z0").any()
    box = volume[left : right + 1, top : bottom + 1, 1:4, 0].astype(np.float64)
    facts = facts_of(file)
    assert (facts.mean[0], facts.std[0]) == pytest.approx((box.mean(), box.std()))
    within = volume[..., 0][inside].astype(np.float64)
    masked = facts_of(file, masked=True)
    assert (masked.mean[0], masked.std[0]) == pytest.approx((within.mean(), within.std()))
    assert content_of("photo.png") is spacing_of("photo.png") is inside_of("photo.png") is None


def test_planes_of_the_patient_are_turned_along(tmp_path: Path) -> None:
    file, volume = a_volume(tmp_path, affine=np.diag([-0.5, 0.8, 3.0, 1.0]))
    seen = decode_image(f"{file}#axial2").samples[:, :, 0]
    top, left, height, width = content_of(f"{file}#axial2") or (0, 0, 0, 0)
    rows, columns = (np.flatnonzero((volume[..., 0] != 0).any((2, axis))) for axis in (0, 1))
    assert (height, width) == (np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert np.count_nonzero(seen[top : top + height, left : left + width]) == np.count_nonzero(seen)
    np.testing.assert_array_equal(inside_of(f"{file}#axial2") & (seen != 0), seen != 0)


@pytest.mark.parametrize("bands", [1, 2])
def test_what_is_outside_stays_zero(bands: int, tmp_path: Path) -> None:
    file, volume = a_volume(tmp_path, bands=bands)
    reader = ImageReader(ImageSpec("raw", bands, scale=Scale.of(["zscore", "nonzero"])))
    inside = binary_fill_holes((volume != 0).any(-1))
    image = reader.read(f"{file}#z2")
    assert not image[~inside[:, :, 2].T].any()
    whole = np.concatenate([reader.read(f"{file}#z{z}")[inside[:, :, z].T] for z in (1, 2, 3)])
    np.testing.assert_allclose((whole.mean(0), whole.std(0)), ([0] * bands, [1] * bands), atol=1e-5)
    assert whole.shape[1] == bands
    assert Scale.of(["zscore", "nonzero"]).ends == ("zscore", "nonzero")
    one = np.zeros((8, 8, 1), np.float32)
    one[2:6, 2:6, 0] = np.arange(16).reshape(4, 4) + 1
    found = reader.convert(decoded(one)) if bands == 1 else None
    assert found is None or (found[0, 0, 0] == 0 and abs(found[2:6, 2:6].mean()) < 1e-6)


def decoded(samples: np.ndarray) -> Any:
    from intarsia.data.bands import FileBands
    from intarsia.data.decoders import DecodedImage

    return DecodedImage(samples, FileBands(("",)))


# --- Resampling ---------------------------------------------------------------------------------------------------


def places(size: int, target: int) -> np.ndarray:
    """Where in `size` pixels the middles of `target` lie."""
    return (np.arange(target) + 0.5) * size / target - 0.5


@pytest.mark.parametrize("size", [(30, 17), (11, 40)])
def test_images_by_splines_labels_by_their_shares(size: tuple[int, int]) -> None:
    image, label = RNG.normal(size=(20, 24, 2)), RNG.integers(0, 3, (20, 24)).astype(np.uint8)
    at = np.meshgrid(*(places(old, new) for old, new in zip((20, 24), size, strict=True)), indexing="ij")
    expected = np.stack([map_coordinates(image[..., band], at, order=3, mode="nearest") for band in range(2)], -1)
    expected = expected.clip(image.min((0, 1)), image.max((0, 1)))
    np.testing.assert_allclose(resampled_image(image, size), expected, atol=1e-5)
    shares = [map_coordinates((label == value).astype(float), at, order=1, mode="nearest") for value in range(3)]
    most = np.max(shares, axis=0)
    found = resampled_label(label, size)
    chosen = np.choose(found, shares)
    np.testing.assert_allclose(chosen, most)
    assert found.dtype == np.uint8


def test_a_slice_is_cut_and_resampled_with_its_label(tmp_path: Path) -> None:
    file, volume = a_volume(tmp_path)
    image = volume[:, :, 2].transpose(1, 0, 2)
    label = (image[..., 0] > 50).astype(np.uint8)
    meta = SampleMeta(image_path=f"{file}#z2", original_size=(20, 24))
    found = ResampleToSpacing((0.4, 1.0), content=True)(Sample(image, label, meta=meta), RNG)
    top, left, height, width = content_of(f"{file}#z2") or (0, 0, 0, 0)
    assert found.meta.box == (top, left, height, width)
    size = (round(height * 0.8 / 0.4), round(width * 0.5 / 1.0))
    assert found.image.shape[:2] == size
    assert found.label is not None
    np.testing.assert_array_equal(found.label, resampled_label(label[top : top + height, left : left + width], size))


def test_images_without_a_spacing_are_left_with_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    sample = Sample(np.zeros((8, 9, 1), np.float32), meta=SampleMeta(name="a"))
    assert ResampleToSpacing((1.0, 1.0), content=True)(sample, RNG) is sample
    assert not recwarn.list
    with pytest.warns(UserWarning, match="does not say how large its pixels are"):
        assert ResampleToSpacing((0.5, 1.0))(sample, RNG) is sample
    with pytest.raises(ValueError, match="above 0"):
        ResampleToSpacing((0.0, 1.0))


def test_small_images_lie_in_the_middle() -> None:
    sample = Sample(np.ones((5, 9, 1), np.float32), np.ones((5, 9), np.uint8))
    found = PadAround((8, 6), pad_val=[-1.0])(sample, RNG)
    assert found.image.shape == (8, 9, 1)
    assert (found.meta.corner, found.meta.valid) == ((1, 0), (5, 9))
    assert (found.image[1:6] == 1).all()
    assert (found.image[[0, 6, 7]] == -1).all()
    assert found.label is not None
    assert (found.label[[0, 6, 7]] == 255).all()
    assert PadAround((4, 4))(sample, RNG) is sample


# --- And back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sets", [False, True])
def test_outside_of_the_box_is_the_first_class_or_none(sets: bool) -> None:
    logits = torch.randn(3, 4, 5)
    thresholds = (0.5,) * 3 if sets else None
    whole = Placed(HeadLogits(logits), (7, 9), (2, 3, 4, 5), sets=sets)
    found = postprocess([whole], thresholds=thresholds, budget=1)
    inside = postprocess([HeadLogits(logits)], thresholds=thresholds)
    np.testing.assert_array_equal(found.label[2:6, 3:8], inside.label)
    outside = found.label.clone()
    outside[2:6, 3:8] = 0
    assert not outside.any()
    nothing = postprocess([Placed(HeadLogits(logits), (7, 9), (2, 3, 0, 5), sets=sets)], thresholds=thresholds)
    assert not nothing.label.any()


def test_a_volume_of_another_spacing_is_predicted_on_its_own_grid(tmp_path: Path) -> None:
    """Cut, less mean and deviation inside, splines, the middle of a patch, four ways, linearly back."""
    torch.manual_seed(0)
    model = network("plain", 1).eval()
    folder = results(
        tmp_path, model=model, channels=("T1",), spacing=[0.6, 0.7], use_mask_for_norm=[True],
        normalization_schemes=["ZScoreNormalization"],
    )  # fmt: skip
    weights = convert_weights(folder, tmp_path / "model.safetensors")
    file, volume = a_volume(tmp_path)
    found = intarsia.load(weights, device="cpu").predict(f"{file}#z2", probabilities=True)
    inside = binary_fill_holes(volume[..., 0] != 0)
    within = volume[..., 0][inside].astype(np.float64)
    normalised = np.where(inside, (volume[..., 0] - within.mean()) / within.std(), 0)[:, :, 2].T
    top, left, height, width = content_of(f"{file}#z2") or (0, 0, 0, 0)
    part = normalised[top : top + height, left : left + width]
    size = (round(height * 0.8 / 0.6), round(width * 0.5 / 0.7))
    at = np.meshgrid(*(places(old, new) for old, new in zip(part.shape, size, strict=True)), indexing="ij")
    spline = map_coordinates(part, at, order=3, mode="nearest").clip(part.min(), part.max())
    corner = [(patch - side) // 2 for patch, side in zip(PATCH, size, strict=True)]
    bands = torch.zeros(1, *PATCH)
    place = tuple(slice(begin, begin + side) for begin, side in zip(corner, size, strict=True))
    bands[0][place] = torch.from_numpy(spline).float()
    with torch.no_grad():
        ways = ((), (3,), (2,), (2, 3))
        logits = sum(model(bands[None].flip(axes)).flip(axes) for axes in ways) / 4
    logits = F.interpolate(logits[:, :, place[0], place[1]], size=(height, width), mode="bilinear")
    expected = torch.zeros(3, 20, 24)
    expected[0] = 1
    expected[:, top : top + height, left : left + width] = logits.softmax(1)[0]
    np.testing.assert_allclose(np.asarray(found.probabilities), expected, atol=1e-4)
    assert found.label.shape == (20, 24)


def test_a_description_may_ask_for_what_is_inside(tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(
        "classes: [a, b]\nimage: {bands: raw, channels: 1, scale: [zscore, nonzero]}\n"
        "splits: {train: {images: images, labels: labels}}\n"
    )
    assert read_description(file).scale == ("zscore", "nonzero")
