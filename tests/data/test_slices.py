"""Slices of volumes as images: the numbers that nibabel reads, the pairs that a description makes of them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from intarsia.data.description.read import read_description
from intarsia.data.doctor.examine import examine
from intarsia.data.image_io import decode_image, read_image, read_label
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.nifti import label_volume_bytes, nifti_header
from intarsia.data.slices import count_slices, opened, part_of, slice_paths, stem_of, suffix_of, without_suffix
from intarsia.data.value_range import Scale

SHAPE = (13, 11, 7)
AFFINE = np.array([[-0.8, 0, 0, 10], [0, 0.8, 0.1, 20], [0, -0.1, 5, -3], [0, 0, 0, 1.0]])
PLANES = {"x": lambda v, k: v[k].T, "y": lambda v, k: v[:, k].T, "z": lambda v, k: v[:, :, k].T}


def numbers(shape: tuple[int, ...] = SHAPE, dtype: str = "int16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-100 if dtype[0] != "u" else 0, 100, shape).astype(dtype)


def save(path: Path, values: np.ndarray, *, kind: type = nib.Nifti1Image) -> Path:
    nib.save(kind(values, AFFINE), path)
    return path


# --- Numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", ">i2"])
def test_slices_are_those_of_nibabel(tmp_path: Path, name: str, kind: type, dtype: str) -> None:
    path = save(tmp_path / name, numbers(dtype=dtype), kind=kind)
    expected = nib.load(path).get_fdata()
    for axis, plane in PLANES.items():
        assert count_slices(path, axis) == SHAPE["xyz".index(axis)]
        for index, member in enumerate(slice_paths(str(path), axis, count_slices(path, axis))):
            found = read_image(member, bands="raw")
            assert found.dtype == np.dtype(dtype).newbyteorder("=")
            assert np.array_equal(found[:, :, 0], plane(expected, index))


def test_slope_and_intercept_of_the_header_count(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbers())
    data = bytearray(path.read_bytes())
    struct.pack_into("<2f", data, 112, 0.25, -7)
    path.write_bytes(data)
    found = read_image(f"{path}#z3", bands="raw")
    assert found.dtype == np.float32
    assert np.allclose(found[:, :, 0], nib.load(path).get_fdata()[:, :, 3].T, atol=1e-5)


def test_images_of_a_fourth_axis_are_bands(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", numbers((*SHAPE, 3)))
    found = read_image(f"{path}#y04", bands="raw")
    assert np.array_equal(found, np.swapaxes(nib.load(path).get_fdata()[:, 4], 0, 1))
    assert decode_image(f"{path}#y04").file.roles == ("", "", "")


def test_labels_of_real_numbers_are_whole(tmp_path: Path) -> None:
    values = numbers(dtype="uint8").astype(np.float64)
    label = read_label(f"{save(tmp_path / 'a.nii.gz', values)}#x2")
    assert label.dtype.kind == "i"
    assert np.array_equal(label, values[2].T)
    with pytest.raises(ValueError, match=r"b\.nii#z0: a label holds whole numbers, found .*nearest neighbour"):
        read_label(f"{save(tmp_path / 'b.nii', values + 0.5)}#z0")


def test_bands_of_a_label_file_have_names_of_their_own(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (6, 8, 5)).astype(np.uint8)
    np.save(tmp_path / "a.npy", values)
    assert np.array_equal(read_label(tmp_path / "a.npy#band4"), values[:, :, 3])
    with pytest.raises(ValueError, match="no band 6; the file has 5"):
        read_label(tmp_path / "a.npy#band6")


def test_names_of_slices() -> None:
    assert [stem_of(name) for name in ("a/b.c.NII.GZ", "a/b.nii#z03", "a/b.png", "a/b")] == ["b.c", "b_z03", "b", "b"]
    assert [suffix_of(name) for name in ("a.nii.gz#x1", "a.GZ", "b.tif#band2")] == [".nii.gz", ".gz", ".tif"]
    names = ("a", "a/.png", "x.y/a", "a/.b.PNG", "a.b.png", "a.", ".nii.gz", "", "a.png/", "#.png", "a..png")
    assert [suffix_of(name) for name in names] == [PurePosixPath(name).suffix.lower() for name in names]
    assert without_suffix("ct/a.nii.gz#z012") == "ct/a_z012"
    assert part_of("a#1.png") == ("a#1.png", None)
    assert slice_paths("a.nii", "z", 11)[9:] == ["a.nii#z09", "a.nii#z10"]


def test_a_packed_volume_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii.gz", numbers())
    assert opened(path)[1] is opened(path)[1]
    save(path, numbers((*SHAPE[:2], 9), seed=1))  # a file that changes is read again
    assert opened(path)[1].shape == (*SHAPE[:2], 9)
    monkeypatch.setattr("intarsia.data.slices._KEPT_BYTES", 1)
    first = opened(path)[1]
    opened(save(tmp_path / "b.nii.gz", numbers()))
    assert opened(path)[1] is not first


# --- Hostile files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_files_that_promise_too_much_are_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "whole.nii", numbers())
    data = bytearray(path.read_bytes())
    struct.pack_into("<8h", data, 40, 3, 1000, 1000, 1000, 1, 1, 1, 1)
    data = bytes(data) if name == "a.nii" else gzip.compress(bytes(data))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name}: .*promises 2,000,000,000 bytes"):
        read_image(f"{tmp_path / name}#z0", bands="raw")
    struct.pack_into("<8h", broken := bytearray(path.read_bytes()), 40, 3, 32000, 32000, 32000, 1, 1, 1, 1)
    (tmp_path / "huge.nii").write_bytes(broken)
    with pytest.raises(ValueError, match="at most 1,073,741,824 numbers"):
        read_image(f"{tmp_path / 'huge.nii'}#z0", bands="raw")


def test_volumes_that_are_cut_off_or_lack_the_slice_are_named(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.nii.gz", numbers()).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.nii\.gz: cannot be read as a NIfTI volume"):
        read_image(f"{tmp_path / 'cut.nii.gz'}#z6", bands="raw")
    with pytest.raises(ValueError, match=r"no slice 7 along z.*axes 13 x 11 x 7"):
        read_label(f"{tmp_path / 'whole.nii.gz'}#z7")
    with pytest.raises(ValueError, match=r"no such file|No such file"):
        read_image(f"{tmp_path / 'none.nii'}#z0")
    with pytest.raises(ValueError, match="`slices: z`"):
        read_image(tmp_path / "whole.nii.gz")


# --- Writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("dtype", "shape"), [(np.uint8, SHAPE), (np.uint16, (*SHAPE, 2))])
def test_labels_lie_where_their_volume_lies(tmp_path: Path, kind: type, dtype: type, shape: tuple[int, ...]) -> None:
    source = save(tmp_path / "a.nii.gz", numbers(shape, dtype=">f4"), kind=kind)
    labels = numbers(SHAPE, "uint8").astype(dtype)
    for name in ("out.nii", "out.nii.gz"):
        (tmp_path / name).write_bytes(label_volume_bytes(nifti_header(source), labels, packed=name.endswith("gz")))
        found = nib.load(tmp_path / name)
        assert type(found) is kind
        assert found.get_data_dtype() == dtype
        assert np.array_equal(found.affine, nib.load(source).affine)
        assert np.array_equal(found.header["pixdim"][:4], nib.load(source).header["pixdim"][:4])
        assert np.array_equal(np.asanyarray(found.dataobj), labels)


# --- Data sets ----------------------------------------------------------------------------------------------------


def scans(root: Path, count: int = 4, *, low: int = -1000, thick: int = 2, channel: str = "_0000") -> Path:
    """Volumes with a ball (1) and a rod (2); the first and last slices along the thick axis hold nothing."""
    for number in range(count):
        rng = np.random.default_rng(number)
        x, y, z = np.mgrid[:36, :32, :6]
        label = np.zeros((36, 32, 6), np.uint8)
        label[(x - 14 - number) ** 2 + (y - 12) ** 2 + 9 * (z - 2.5) ** 2 < 50] = 1
        label[(x - 28) ** 2 + (y - 24) ** 2 < 9] = 2
        label[:, :, [0, 5]] = 0
        image = np.array([0, 60, 120])[label] + rng.normal(0, 8, label.shape)
        image[:3] = low
        affine = np.eye(4)
        affine[thick, thick] = 5
        (root / "imagesTr").mkdir(parents=True, exist_ok=True)
        (root / "labelsTr").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), root / f"imagesTr/case_{number}{channel}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), root / f"labelsTr/case_{number}.nii.gz")
    return root


def test_the_doctor_takes_slices_and_a_window(tmp_path: Path) -> None:
    root = scans(tmp_path / "scans")
    (root / "dataset.json").write_text('{"labels": {"0": "background", "1": "ball", "2": "rod"}}')
    found = examine(root)
    assert not found.problems
    assert not found.warnings
    description = found.proposal()
    assert description.classes == ("background", "ball", "rod")
    assert (description.bands, description.channels, description.scale) == ("rgb", 3, (-160.0, 240.0))
    assert any("soft tissue, centre 40, width 400" in note for note in description.notes)
    assert any("4 volumes are taken as 24 slices along z" in note for note in description.notes)
    assert description.image_spec.slices == "z"
    sides = {split: {name.partition("#")[0] for name in images(description, split)} for split in ("train", "val")}
    assert not sides["train"] & sides["val"]  # the slices of one volume stay together
    assert len(images(description, "train")) + len(images(description, "val")) == 24
    assert len(images(description, "val")) % 6 == 0


def images(description, split: str) -> list[str]:
    return [pair.image for pair in description.pairs(split)]


def test_pairs_hold_the_numbers_of_the_files(tmp_path: Path) -> None:
    description = examine(scans(tmp_path / "scans")).proposal()
    dataset = description.dataset("train")
    for index in range(len(dataset)):
        sample = dataset.load(index)
        file, part = part_of(dataset.paths(index)[0])
        volume = nib.load(file).get_fdata()[:, :, part.index].T
        expected = np.rint(np.clip((volume + 160) * (255 / 400), 0, 255))
        assert np.abs(sample.image[:, :, 1] - expected).max() <= 1  # a half is rounded either way in float32
        label = file.replace("imagesTr", "labelsTr").replace("_0000", "")
        assert np.array_equal(sample.label, nib.load(label).get_fdata()[:, :, part.index].T)
        assert sample.meta.name == f"imagesTr/{stem_of(dataset.paths(index)[0])}"
    pixels = np.stack([dataset.load(index).image for index in range(len(dataset))]).reshape(-1, 3)
    assert np.allclose(description.mean, pixels.mean(0), rtol=1e-4)
    assert np.allclose(description.std, pixels.std(0), rtol=1e-4)


def test_slices_without_a_label_are_left_out_if_that_is_said(tmp_path: Path) -> None:
    root = scans(tmp_path / "scans", 3)
    text = (
        f"root: {root}\nclasses: [nothing, ball, rod]\nsplits:\n  train: {{images: imagesTr, labels: labelsTr, "
        "image_suffix: _0000.nii.gz, label_suffix: .nii.gz, slices: z, empty_slices: RULE}\n"
    )
    (tmp_path / "data.yaml").write_text(text.replace("RULE", "keep"))
    assert len(read_description(tmp_path / "data.yaml").pairs("train")) == 18
    (tmp_path / "data.yaml").write_text(text.replace("RULE", "skip"))
    pairs = read_description(tmp_path / "data.yaml").pairs("train")
    assert [pair.image[-1] for pair in pairs] == list("1234" * 3)
    (tmp_path / "data.yaml").write_text(text.replace("slices: z", "slices: t"))
    with pytest.raises(ValueError, match=r"data\.yaml:4: .*slices: expected .*sagittal or coronal or axial, found 't'"):
        read_description(tmp_path / "data.yaml")


def test_the_axis_across_the_finest_planes_is_proposed(tmp_path: Path) -> None:
    description = examine(scans(tmp_path / "scans", thick=1)).proposal()
    assert {pair.image[-4:-2] for pair in description.pairs("train")} == {"#y"}


@pytest.mark.parametrize("files", [1, 2])
def test_one_volume_is_divided_by_its_slices(tmp_path: Path, files: int) -> None:
    description = examine(scans(tmp_path / "scans", files, channel="")).proposal()
    sizes = {split: len(images(description, split)) for split in ("train", "val")}
    assert sum(sizes.values()) == 6 * files
    assert min(sizes.values()) >= 1


def test_numbers_without_a_unit_are_scaled_by_percentiles_of_their_volume(tmp_path: Path) -> None:
    description = examine(scans(tmp_path / "scans", low=0)).proposal()
    assert description.scale == ("p1", "p99")
    dataset = description.dataset("val")
    sample = dataset.load(2)
    file, part = part_of(dataset.paths(2)[0])
    volume = nib.load(file).get_fdata()
    low, high = np.percentile(volume, [1, 99])
    expected = np.rint(np.clip((volume[:, :, part.index].T - low) * (255 / (high - low)), 0, 255))
    assert np.abs(sample.image[:, :, 0] - expected).max() <= 1
    kept = ImageSpec.from_json(description.image_spec.to_json(), bands="rgb", channels=3)
    assert kept == description.image_spec  # weights say it again
    assert np.array_equal(ImageReader(kept).read(dataset.paths(2)[0]), sample.image)


def test_a_label_with_other_slices_is_a_problem(tmp_path: Path) -> None:
    root = scans(tmp_path / "scans")
    nib.save(nib.Nifti1Image(np.zeros((36, 32, 4), np.uint8), np.eye(4)), root / "labelsTr/case_2.nii.gz")
    problems = [str(problem) for problem in examine(root).problems]
    assert any("case_2.nii.gz" in text and "no slice 4 along z" in text for text in problems)


def test_a_damaged_volume_is_a_problem(tmp_path: Path) -> None:
    root = scans(tmp_path / "scans")
    (root / "imagesTr/case_1_0000.nii.gz").write_bytes(b"no volume")
    found = examine(root)
    assert any("case_1_0000.nii.gz" in str(problem) for problem in found.problems)


def test_tiff_stacks_with_as_many_pages_are_slices(tmp_path: Path) -> None:
    for number in range(3):
        rng = np.random.default_rng(number)
        label = (rng.random((4, 30, 34)) < 0.3).astype(np.uint8)
        image = (rng.normal(90, 9, label.shape) + 60 * label).astype(np.uint8)
        for folder, pages in (("images", image), ("masks", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            first, *others = [Image.fromarray(page) for page in pages]
            first.save(tmp_path / folder / f"{number}.tif", save_all=True, append_images=others)
    description = examine(tmp_path).proposal()
    assert any("3 stacks are taken as 12 slices along z" in note for note in description.notes)
    dataset = description.dataset("train")
    for index in range(len(dataset)):
        sample = dataset.load(index)
        file, part = part_of(dataset.paths(index)[0])
        with Image.open(file) as pages:
            pages.seek(part.index)
            assert np.array_equal(sample.image[:, :, 0], np.array(pages))
        with Image.open(file.replace("images", "masks")) as pages:
            pages.seek(part.index)
            assert np.array_equal(sample.label, np.array(pages))


# --- Scale --------------------------------------------------------------------------------------------------------


def test_windows_and_percentiles_are_words_of_a_scale() -> None:
    assert Scale.parse("c40,w400") == Scale.parse("-160,240")
    assert Scale.parse("p1,p99").ends == ("p1", "p99")
    assert Scale.of(Scale.parse("p0.5,p99.5").ends) == Scale.parse("p0.5,p99.5")
    values = np.stack([np.arange(101), np.arange(0, 1010, 10)], 1)
    assert Scale.parse("p10,p90").of_values(values[:, :1]).ends == (10.0, 90.0)
    assert Scale.parse("p10,p90,p0,p100").of_values(values).ends == (10.0, 90.0, 0.0, 1000.0)
    assert Scale.parse("p10,p90").of_values(values).ends == tuple(np.percentile(values, [10, 90]))
    assert Scale.parse("p1,p99").of_values(np.full((5, 1), np.nan)).ends == (0.0, 1.0)
    assert Scale.parse("p1,p99").of_values(np.full((5, 1), 7)).ends == (7.0, 8.0)
    for text in ("p1,99", "c40", "w400,c40", "p1,p101", "p99,p1", "c40,w0", "px,p9"):
        with pytest.raises(ValueError, match="--scale"):
            Scale.parse(text)


def test_grey_images_of_sixteen_bits_stay_as_they_are_with_a_hint(tmp_path: Path) -> None:
    for number in range(3):
        mask = np.zeros((30, 34), np.uint8)
        mask[5 + number : 15, 6:20] = 1
        values = np.random.default_rng(number).integers(300, 4000, mask.shape).astype(np.uint16)
        for folder, picture in (("images", values), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{number}.png")
    description = examine(tmp_path).proposal()
    assert (description.bands, description.scale) == ("raw", None)
    assert any("scale: [p1, p99]" in note and "uint16 numbers from 30" in note for note in description.notes)
