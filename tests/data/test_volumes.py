"""Volumes: read, cropped, padded, mirrored, and noise of all kinds."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from intarsia.contracts import Sample, SampleMeta
from intarsia.data import nifti
from intarsia.data.collate import collate
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.nifti import read_nifti
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.arguments import around_one
from intarsia.data.transforms.load_volumes import (
    LoadBiomedicalAnnotation,
    LoadBiomedicalData,
    LoadBiomedicalImageFromFile,
)
from intarsia.data.transforms.noise import BioMedicalGaussianBlur, BioMedicalGaussianNoise, BioMedicalRandomGamma
from intarsia.data.transforms.volumes import BioMedical3DPad, BioMedical3DRandomCrop, BioMedical3DRandomFlip

SIDES = st.integers(1, 9)
SEEDS = st.integers(0, 2**32 - 1)
TYPES = {np.uint8: 2, np.int16: 4, np.float32: 16, np.float64: 64, np.uint16: 512, np.int64: 1024}


def drawn(*shape: int, dtype=np.float32, bands: int = 2, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    index = np.arange(np.prod(shape)).reshape(shape)
    image = (rng.random((*shape, bands)) * 100).astype(dtype)
    return Sample(image, rng.integers(0, 4, shape).astype(np.uint8), {"index": index})


# --- Geometry -----------------------------------------------------------------------------------------------------


@given(SIDES, SIDES, SIDES, st.sets(st.integers(0, 2)), SEEDS)
def test_mirroring_twice_is_nothing(depth, height, width, axes, seed):
    sample = drawn(depth, height, width)
    transform = BioMedical3DRandomFlip(1.0, tuple(axes))
    once = transform(sample, np.random.default_rng(seed))
    np.testing.assert_array_equal(once.image, np.flip(sample.image, tuple(axes)))
    np.testing.assert_array_equal(once.label.ravel(), sample.label.ravel()[once.maps["index"].ravel()])
    twice = transform(once, np.random.default_rng(seed))
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.label, sample.label)
    np.testing.assert_array_equal(twice.maps["index"], sample.maps["index"])


def test_pairs_change_places_only_where_something_was_mirrored():
    sample = drawn(2, 3, 4)
    flip = BioMedical3DRandomFlip(1.0, (1,), swap_label_pairs=[(1, 2)])
    swapped = np.array([0, 2, 1, 3], np.uint8)[sample.label]
    np.testing.assert_array_equal(flip(sample, np.random.default_rng(0)).label, swapped[:, ::-1])
    for still in (BioMedical3DRandomFlip(0.0, (1,), [(1, 2)]), BioMedical3DRandomFlip(1.0, None, [(1, 2)])):
        assert still(sample, np.random.default_rng(0)) is sample


def test_axes_are_mirrored_apart():
    sample = drawn(3, 3, 3)
    rng = np.random.default_rng(0)
    positions = {BioMedical3DRandomFlip(0.5, (0, 1, 2))(sample, rng).maps["index"].tobytes() for _ in range(200)}
    assert len(positions) == 8


@given(SIDES, SIDES, SIDES, st.tuples(SIDES, SIDES, SIDES), SEEDS, st.booleans())
def test_blocks_are_cut_from_everything_alike(depth, height, width, wanted, seed, foreground):
    sample = drawn(depth, height, width)
    after = BioMedical3DRandomCrop(wanted, keep_foreground=foreground)(sample, np.random.default_rng(seed))
    assert after.image.shape[:3] == tuple(min(a, b) for a, b in zip(wanted, (depth, height, width), strict=True))
    index = after.maps["index"]
    np.testing.assert_array_equal(after.image, sample.image.reshape(-1, 2)[index])
    np.testing.assert_array_equal(after.label, sample.label.ravel()[index])


def test_a_block_shows_the_foreground_and_each_class_as_often():
    label = np.zeros((20, 30, 40), np.uint8)
    label[3, 4, 5], label[10:, 10:, 10:], label[0, 0, 0] = 1, 2, 255
    sample = Sample(np.zeros((20, 30, 40, 1), np.float32), label)
    rng = np.random.default_rng(0)
    seen = [set(np.unique(BioMedical3DRandomCrop(4)(sample, rng).label)) for _ in range(300)]
    assert all(classes & {1, 2} for classes in seen)
    assert 110 < sum(1 in classes for classes in seen) < 190
    nowhere = Sample(sample.image, np.zeros_like(label))
    corners = {
        BioMedical3DRandomCrop((20, 30, 39))(Sample(drawn(20, 30, 40).image, nowhere.label), rng).image[0, 0, 0, 0]
        for _ in range(20)
    }
    assert len(corners) == 2


@given(SIDES, SIDES, SIDES, st.tuples(SIDES, SIDES, SIDES))
def test_padding_lies_on_both_sides(depth, height, width, wanted):
    sample = drawn(depth, height, width)
    after = BioMedical3DPad(wanted, pad_val=-3.5, seg_pad_val=255)(sample, np.random.default_rng(0))
    shape = tuple(max(a, b) for a, b in zip(wanted, (depth, height, width), strict=True))
    assert after.image.shape == (*shape, 2)
    assert after.label.shape == after.maps["index"].shape == shape
    first = [(new - old) // 2 for new, old in zip(shape, (depth, height, width), strict=True)]
    inside = tuple(slice(a, a + old) for a, old in zip(first, (depth, height, width), strict=True))
    np.testing.assert_array_equal(after.image[inside], sample.image)
    np.testing.assert_array_equal(after.label[inside], sample.label)
    outside = np.ones(shape, bool)
    outside[inside] = False
    assert (after.image[outside] == -3.5).all()
    assert (after.label[outside] == 255).all()
    assert (after.maps["index"][outside] == 0).all()
    assert (BioMedical3DPad(wanted)(sample, np.random.default_rng(0)).label[outside] == 0).all()


# --- Numbers ------------------------------------------------------------------------------------------------------


def test_noise_has_the_deviation_drawn():
    sample = drawn(20, 30, 40)
    deviations = []
    for seed in range(40):
        noise = (
            BioMedicalGaussianNoise(1.0, mean=2.0, std=4.0)(sample, np.random.default_rng(seed)).image - sample.image
        )
        assert noise.mean() == pytest.approx(2.0, abs=0.1)
        deviations.append(noise.std())
    assert min(deviations) < 1
    assert 3 < max(deviations) < 4.1
    assert BioMedicalGaussianNoise(0.0)(sample, np.random.default_rng(0)) is sample


def test_noise_does_not_wrap_around_in_8_bits():
    image = np.array([0, 255], np.uint8).repeat(500).reshape(10, 100, 1)
    after = BioMedicalGaussianNoise(1.0, std=20)(Sample(image), np.random.default_rng(1)).image
    assert after.dtype == np.uint8
    assert after[image == 0].max() < 100
    assert after[image == 255].min() > 155


def test_blur_of_each_band():
    sample = drawn(6, 7, 8, bands=4)
    alike = BioMedicalGaussianBlur((1.5, 1.5), 1.0, 1.0)(sample, np.random.default_rng(0)).image
    for band in range(4):
        np.testing.assert_array_equal(alike[..., band], gaussian_filter(sample.image[..., band], 1.5))
    some = BioMedicalGaussianBlur(prob=1.0, prob_per_channel=0.5)(sample, np.random.default_rng(0)).image
    changed = (some != sample.image).any(axis=(0, 1, 2))
    assert changed.any()
    assert not changed.all()
    assert BioMedicalGaussianBlur(prob=0.0)(sample, np.random.default_rng(0)) is sample


@pytest.mark.parametrize(("channel", "axis", "draws"), [(True, True, 6), (False, True, 3), (True, False, 2),
                                                      (False, False, 1)])  # fmt: skip
def test_how_often_a_sigma_is_drawn(channel, axis, draws, monkeypatch):
    used = []
    monkeypatch.setattr("scipy.ndimage.gaussian_filter", lambda image, sigma: used.append(sigma) or image)
    transform = BioMedicalGaussianBlur((0.5, 3.0), 1.0, 1.0, channel, axis)
    transform(drawn(3, 3, 3), np.random.default_rng(0))
    assert len({number for sigma in used for number in sigma}) == draws


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_gamma_keeps_order_and_ends(dtype, inverted, per_channel):
    sample = drawn(5, 6, 7, dtype=dtype)
    changed = set()
    for seed in range(10):
        after = BioMedicalRandomGamma(1.0, (0.5, 2), inverted, per_channel)(sample, np.random.default_rng(seed)).image
        assert after.dtype == dtype
        for before, now in zip(np.moveaxis(sample.image, -1, 0), np.moveaxis(after, -1, 0), strict=True):
            order = np.argsort(before, axis=None, kind="stable")
            assert (np.diff(now.ravel()[order].astype(float)) >= -1e-4).all()
        ends = (0, 1, 2) if per_channel else None
        np.testing.assert_allclose(after.min(axis=ends), sample.image.min(axis=ends), atol=1e-3)
        np.testing.assert_allclose(after.max(axis=ends), sample.image.max(axis=ends), rtol=1e-5)
        changed.add(bool(after.mean() > sample.image.mean()))
    assert changed == {False, True}


@pytest.mark.parametrize("per_channel", [False, True])
def test_gamma_can_keep_mean_and_deviation(per_channel):
    sample = drawn(5, 6, 7, dtype=np.float64)
    transform = BioMedicalRandomGamma(1.0, (0.3, 0.4), per_channel=per_channel, retain_stats=True)
    after = transform(sample, np.random.default_rng(0)).image
    axes = (0, 1, 2) if per_channel else None
    np.testing.assert_allclose(after.mean(axis=axes), sample.image.mean(axis=axes))
    np.testing.assert_allclose(after.std(axis=axes), sample.image.std(axis=axes))
    assert not np.allclose(after, sample.image)


def test_gamma_by_chance():
    sample = drawn(2, 2, 2)
    assert BioMedicalRandomGamma(0.0)(sample, np.random.default_rng(0)) is sample


def test_powers_of_a_range_on_one_side():
    for low, high in ((0.2, 0.5), (1.5, 3.0), (0.5, 2.0)):
        rng = np.random.default_rng(0)
        powers = [around_one(rng, (low, high)) for _ in range(300)]
        assert low <= min(powers)
        assert max(powers) <= high
        assert max(powers) - min(powers) > 0.9 * (high - low)


# --- Files --------------------------------------------------------------------------------------------------------


def written(path: Path, volume: np.ndarray, *, order: str = "<", slope: float = 0, offset: float = 0, second=False):
    """A NIfTI file of the numbers, first axis x, as its description says; `second`: version 2."""
    header = bytearray(540 if second else 348)
    axes = [volume.ndim, *volume.shape, *[1] * (7 - volume.ndim)]
    start = len(header) + 4
    fields = (
        [(0, "i", 540), (4, "8s", b"n+2\0\r\n\x1a\n"), (12, "h", TYPES[volume.dtype.type]), (168, "q", start),
         (176, "d", slope), (184, "d", offset)]
        if second
        else [(0, "i", 348), (344, "4s", b"n+1\0"), (70, "h", TYPES[volume.dtype.type]), (108, "f", start),
              (112, "f", slope), (116, "f", offset)]
    )  # fmt: skip
    for place, kind, value in fields:
        struct.pack_into(order + kind, header, place, value)
    struct.pack_into(f"{order}8{'q' if second else 'h'}", header, 16 if second else 40, *axes)
    numbers = volume.astype(volume.dtype.newbyteorder(order)).tobytes(order="F")
    data = bytes(header) + b"\0" * 4 + numbers
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@settings(deadline=None)
@given(st.sampled_from(list(TYPES)), st.sampled_from("<>"), st.booleans(), st.booleans(), SEEDS)
def test_nifti_of_all_kinds(tmp_path_factory, dtype, order, second, packed, seed):
    volume = (np.random.default_rng(seed).random((3, 4, 5)) * 100).astype(dtype)
    path = tmp_path_factory.mktemp("nifti") / ("a.nii.gz" if packed else "a.nii")
    written(path, volume, order=order, second=second)
    np.testing.assert_array_equal(read_nifti(path), volume.astype(float))
    written(path, volume, order=order, second=second, slope=2, offset=float("nan"))
    np.testing.assert_array_equal(read_nifti(path), volume.astype(float) * 2)
    written(path, volume, order=order, second=second, slope=0.5, offset=-3)
    np.testing.assert_array_equal(read_nifti(path), volume.astype(float) * 0.5 - 3)


def test_axes_and_bands_of_nifti(tmp_path):
    volume = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)  # x, y, z, band
    meta = SampleMeta(image_path=str(written(tmp_path / "a.nii.gz", volume)))
    empty = Sample(np.empty((0, 0, 1), np.uint8), meta=meta)
    rng = np.random.default_rng(0)
    image = LoadBiomedicalImageFromFile()(empty, rng)
    assert image.image.shape == (4, 3, 2, 5)
    assert image.meta.original_size == (3, 2)
    assert image.image.dtype == np.float32
    np.testing.assert_array_equal(image.image, volume.transpose(2, 1, 0, 3))
    np.testing.assert_array_equal(LoadBiomedicalImageFromFile(to_xyz=True)(empty, rng).image, volume)
    assert LoadBiomedicalImageFromFile(to_float32=False)(empty, rng).image.dtype == np.float64
    both = LoadBiomedicalData(with_seg=True, decode_backend="nifti")(empty, rng)
    np.testing.assert_array_equal(both.image, volume.transpose(2, 1, 0, 3)[..., :-1])
    np.testing.assert_array_equal(both.label, volume.transpose(2, 1, 0, 3)[..., -1])
    assert both.label.dtype == np.uint8
    assert LoadBiomedicalData(decode_backend="nifti")(empty, rng).label is None


def test_trailing_axes_of_one_are_none(tmp_path):
    assert read_nifti(written(tmp_path / "a.nii", np.ones((2, 3, 4, 1, 1), np.uint8))).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], "cut off: its header promises 240 bytes of numbers from byte 352"),
        (lambda data: data[:300], "expected a NIfTI file"),
        (lambda data: b"\x93NUMPY" + data, "expected a NIfTI file"),
        (lambda data: data[:70] + b"\x20\0" + data[72:], "found numbers of type 32"),
        (lambda data: data[:40] + b"\x09\0" + data[42:], "damaged NIfTI header: expected 1 to 7 axes"),
        (lambda data: data[:42] + b"\xff\x7f" * 3 + data[48:], "at most 268,435,456 numbers, found (32767, 32767,"),
        (lambda data: data[:40] + b"\x02\0" + data[42:], "expected a volume (X, Y, Z)"),
        (lambda data: gzip.compress(data)[:-30], "cannot be read as a NIfTI volume"),
        (lambda data: b"\x1f\x8b" + data, "cannot be read as a NIfTI volume"),
        (lambda data: b"", "expected a NIfTI file"),
    ],
)  # fmt: skip
def test_damaged_nifti(tmp_path, change, words):
    path = written(tmp_path / "a.nii", np.ones((3, 4, 5), np.float32))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read_nifti(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_what_is_compressed_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "MAX_PIXELS", 100)
    path = written(tmp_path / "a.nii.gz", np.zeros((128, 128, 128), np.float32))
    assert len(nifti._content(path.read_bytes())) <= 100 * 8 + 2**20
    with pytest.raises(ValueError, match="at most 100 numbers"):
        read_nifti(path)


def test_files_that_are_missing_or_something_else(tmp_path):
    rng = np.random.default_rng(0)
    missing = Sample(np.empty((0, 0, 1)), meta=SampleMeta(image_path=str(tmp_path / "no.nii"), label_path=""))
    with pytest.raises(ValueError, match=r"no\.nii: cannot be read as a NIfTI volume"):
        LoadBiomedicalImageFromFile()(missing, rng)
    with pytest.raises(ValueError, match=r"no\.nii"):
        LoadBiomedicalImageFromFile("numpy")(missing, rng)
    with pytest.raises(ValueError, match="expected a sample that names its file"):
        LoadBiomedicalData()(Sample(np.empty((0, 0, 1))), rng)
    path = str(tmp_path / "a.npy")
    np.save(path, np.full((2, 3, 4), 0.5))
    of_path = Sample(np.empty((0, 0, 1)), meta=SampleMeta(image_path=path, label_path=path))
    with pytest.raises(ValueError, match="expected labels, which are whole numbers"):
        LoadBiomedicalAnnotation("numpy")(of_path, rng)
    with pytest.raises(ValueError, match="found one band only"):
        LoadBiomedicalData()(of_path, rng)
    np.save(path, np.zeros((2, 2, 3, 4)))
    with pytest.raises(ValueError, match="found 2 of them at each place"):
        LoadBiomedicalAnnotation("numpy")(of_path, rng)
    np.save(path, np.zeros(4))
    with pytest.raises(ValueError, match=r"expected an array \(z, y, x\) or \(bands, z, y, x\), found shape \(4,\)"):
        LoadBiomedicalImageFromFile("numpy")(of_path, rng)


@pytest.mark.parametrize("values", [[-1, 3], [0, 255], [0, 300], [-200, 70000]])
def test_labels_keep_their_values(tmp_path, values):
    path = str(tmp_path / "a.npy")
    np.save(path, np.array(values, np.float64).reshape(1, 1, 2))
    sample = Sample(np.empty((0, 0, 1)), meta=SampleMeta(label_path=path))
    assert LoadBiomedicalAnnotation("numpy")(sample, np.random.default_rng(0)).label.ravel().tolist() == values


def test_a_data_set_of_volumes(tmp_path):
    for folder, dtype, most in (("images", np.int16, 900), ("labels", np.uint8, 3)):
        (tmp_path / folder).mkdir()
        for name in ("b", "a"):
            volume = np.random.default_rng(0).integers(0, most, (9, 8, 7)).astype(dtype)
            written(tmp_path / folder / f"{name}.nii.gz", volume)
    dataset = FolderDataset(
        root=str(tmp_path), images="images", labels="labels", image_suffix=".nii.gz", label_suffix=".nii.gz",
        classes=("x", "y", "z"), files_only=True,
    )  # fmt: skip
    steps = [LoadBiomedicalImageFromFile(), LoadBiomedicalAnnotation(), BioMedical3DRandomCrop((4, 5, 6))]
    sample = Pipeline(dataset, steps).get(0, np.random.default_rng(0))
    assert sample.meta.name == "a"
    assert sample.image.shape == (4, 5, 6, 1)
    assert sample.label.shape == (4, 5, 6)
    with pytest.raises(ValueError, match="take no volumes"):
        collate([sample])
    fewer = Pipeline(FolderDataset(
        root=str(tmp_path), images="images", labels="labels", image_suffix=".nii.gz", label_suffix=".nii.gz",
        classes=("x", "y"), files_only=True), steps[:2])  # fmt: skip
    with pytest.raises(ValueError, match=r"labels.a\.nii\.gz: after LoadBiomedicalAnnotation, the label holds 2"):
        fewer.get(0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BioMedical3DRandomCrop((4, 5)), "crop_shape must be (depth, height, width) of at least one voxel"),
        (lambda: BioMedical3DPad((4, 5, 0)), "pad_shape must be (depth, height, width)"),
        (lambda: BioMedical3DPad((4, 5, 6), seg_pad_val=0.5), "seg_pad_val must be a label, got 0.5"),
        (lambda: BioMedical3DRandomFlip(0.5, (3,)), "axes must be among 0, 1 and 2, got (3,)"),
        (lambda: BioMedical3DRandomFlip(0.5, (1,), [(1, 2, 3)]), "must be pairs"),
        (lambda: BioMedicalGaussianNoise(std=-1), "std must not be negative, got -1"),
        (lambda: BioMedicalGaussianBlur(sigma_range=(1, 0.5)), "(low, high) with 0 < low <= high, got (1, 0.5)"),
        (lambda: BioMedicalRandomGamma(gamma_range=(0, 2)), "(low, high) with 0 < low <= high, got (0, 2)"),
        (lambda: BioMedicalRandomGamma(prob=-0.1), "prob must be a chance between 0 and 1, got -0.1"),
        (lambda: LoadBiomedicalData(decode_backend="pickle"), "pickled files can run code"),
        (lambda: LoadBiomedicalAnnotation("pickle"), "pickled files can run code"),
        (lambda: BioMedical3DRandomFlip(-1, (0,)), "prob must be a chance between 0 and 1, got -1"),
        (lambda: BioMedicalGaussianNoise(prob=2), "prob must be a chance between 0 and 1, got 2"),
        (lambda: BioMedicalGaussianBlur(prob=2), "prob must be a chance between 0 and 1, got 2"),
        (lambda: BioMedicalGaussianBlur(prob_per_channel=2), "prob_per_channel must be a chance"),
        (lambda: LoadBiomedicalImageFromFile("dicom"), "one of nifti, numpy, got 'dicom'"),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    assert words in str(error.value)


@pytest.mark.parametrize(
    "transform", [BioMedical3DRandomCrop(4), BioMedical3DPad((4, 4, 4)), BioMedical3DRandomFlip(1.0, (0,))]
)
def test_images_are_no_volumes(transform):
    with pytest.raises(
        ValueError, match=r"expected a volume \(depth, height, width, bands\), found an image \(3, 4, 1\)"
    ):
        transform(Sample(np.zeros((3, 4, 1))), np.random.default_rng(0))
