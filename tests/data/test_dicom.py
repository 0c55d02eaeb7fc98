"""DICOM: the numbers that pydicom and plain arithmetic give, windows, frames, damaged files, a data set of slices."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from intarsia.cli.main import main
from intarsia.data.dicom import count_frames, header_window
from intarsia.data.doctor.examine import examine
from intarsia.data.image_io import decode_image, read_image
from intarsia.data.pages import count_pages


def save(path: Path, stored: np.ndarray, *, bits: int = 12, **tags: object) -> Path:
    """stored: (H, W), (N, H, W), or (H, W, 3) for colours."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    is_colour = stored.ndim == 3 and stored.shape[2] == 3 and stored.dtype == np.uint8
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.Modality, found.PhotometricInterpretation = "CT", "RGB" if is_colour else "MONOCHROME2"
    found.SamplesPerPixel = 3 if is_colour else 1
    found.Rows, found.Columns = stored.shape[:2] if is_colour else stored.shape[-2:]
    if is_colour:
        found.PlanarConfiguration = 0
    elif stored.ndim == 3:
        found.NumberOfFrames = len(stored)
    found.BitsAllocated = 8 * stored.dtype.itemsize
    found.BitsStored = 8 if stored.dtype == np.uint8 else bits
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(stored.dtype.kind == "i")
    for name, value in tags.items():
        setattr(found, name, value)
    found.PixelData = stored.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def greys(*shape: int, high: int = 4096) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape or (9, 7)).astype(np.uint16)


# --- Numbers ------------------------------------------------------------------------------------------------------


def test_hounsfield_units_are_those_of_the_header(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", greys(), RescaleSlope=1, RescaleIntercept=-1024)
    found = decode_image(path)
    assert found.samples.dtype == np.int16
    assert np.array_equal(found.samples[:, :, 0], greys().astype(int) - 1024)
    assert np.array_equal(
        found.samples[:, :, 0], pydicom.pixels.apply_rescale(pydicom.dcmread(path).pixel_array, pydicom.dcmread(path))
    )
    assert found.file.roles == ("grey",)


def test_slopes_that_are_no_whole_numbers_give_real_ones(tmp_path: Path) -> None:
    found = read_image(save(tmp_path / "a.dcm", greys(), RescaleSlope="0.5", RescaleIntercept=3), bands="raw")
    assert found.dtype == np.float32
    assert np.array_equal(found[:, :, 0], greys() * 0.5 + 3)


def test_twelve_bits_become_colours_of_eight(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", greys())
    assert read_image(path, bands="raw").dtype == np.uint16
    assert decode_image(path).file.bits == 12
    assert np.array_equal(read_image(path), np.repeat((greys() >> 4)[:, :, None], 3, 2))


def test_a_white_of_zero_is_inverted(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.dcm", greys(), PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read_image(plain, bands="raw")[:, :, 0], 4095 - greys())
    units = save(
        tmp_path / "b.dcm", greys(), PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-9
    )
    found = read_image(units, bands="raw")[:, :, 0].astype(int)
    assert np.array_equal(found, (4095 - greys().astype(int)) * 2 - 9)  # the same as rescaling the inverted numbers


def test_colours_are_rgb(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    assert np.array_equal(read_image(save(tmp_path / "a.dcm", colours)), colours)
    found = pydicom.dcmread(save(tmp_path / "b.dcm", pydicom.pixels.convert_color_space(colours, "RGB", "YBR_FULL")))
    found.PhotometricInterpretation = "YBR_FULL"
    found.save_as(tmp_path / "c.dcm")
    assert np.abs(read_image(tmp_path / "c.dcm").astype(int) - colours).max() <= 2


def test_palettes_are_looked_up(tmp_path: Path) -> None:
    tables = {
        f"{colour}PaletteColorLookupTableData": (np.arange(256) * 257 * factor % 65536).astype(np.uint16).tobytes()
        for colour, factor in (("Red", 1), ("Green", 2), ("Blue", 3))
    }
    stored = np.arange(63, dtype=np.uint8).reshape(9, 7)
    descriptors = {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in ("Red", "Green", "Blue")}
    path = save(tmp_path / "a.dcm", stored, PhotometricInterpretation="PALETTE COLOR", **descriptors, **tables)
    expected = np.stack([(stored.astype(int) * 257 * factor % 65536) >> 8 for factor in (1, 2, 3)], 2)
    assert np.array_equal(read_image(path), expected)


def test_frames_are_pages_and_slices(tmp_path: Path) -> None:
    stored = greys(4, 9, 7)
    path = save(tmp_path / "a.dcm", stored)
    assert count_frames(path) == count_pages(path) == 4
    for number in range(4):
        assert np.array_equal(read_image(path, bands="raw", page=number)[:, :, 0], stored[number])
        assert np.array_equal(read_image(f"{path}#z{number}", bands="raw")[:, :, 0], stored[number])
    with pytest.raises(ValueError, match="no frame 4"):
        read_image(path, page=4)


def test_run_lengths_are_unpacked(tmp_path: Path) -> None:
    found = pydicom.dcmread(save(tmp_path / "a.dcm", greys(2, 9, 7)))
    found.compress(pydicom.uid.RLELossless)
    found.save_as(tmp_path / "b.dcm")
    assert np.array_equal(read_image(tmp_path / "b.dcm", bands="raw", page=1)[:, :, 0], greys(2, 9, 7)[1])


def test_the_window_of_a_header(tmp_path: Path) -> None:
    assert header_window(save(tmp_path / "a.dcm", greys())) is None
    assert header_window(save(tmp_path / "b.dcm", greys(), WindowCenter=[41, 5], WindowWidth=[401, 9])) == (
        -159.5,
        240.5,
    )
    inverted = save(
        tmp_path / "c.dcm", greys(), WindowCenter=1000.5, WindowWidth=2001, PhotometricInterpretation="MONOCHROME1"
    )
    assert header_window(inverted) == (4095 - 2000, 4095 - 0)


# --- Hostile files ------------------------------------------------------------------------------------------------


def changed(path: Path, **tags: object) -> bytes:
    found = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(found, name, value)
    buffer = io.BytesIO()
    found.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Rows": 60000, "Columns": 3000}, "promises 360,000,000 bytes of pixels"),
        ({"Rows": 60000, "Columns": 60000}, "60,000 x 60,000 pixels, more than"),
        ({"NumberOfFrames": 60000}, "bytes of pixels, the whole file has"),
        ({"NumberOfFrames": 10**8}, "100000000 frames"),
        ({"BitsAllocated": 24}, "24 bits"),
        ({"Rows": 0}, "0 pixels"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "a segmentation"),
    ],
)
def test_headers_are_not_believed(tmp_path: Path, tags: dict[str, object], reason: str) -> None:
    (tmp_path / "b.dcm").write_bytes(changed(save(tmp_path / "a.dcm", greys()), **tags))
    with pytest.raises(ValueError, match=rf"b\.dcm: .*{reason}"):
        read_image(tmp_path / "b.dcm", bands="raw")


def test_broken_files_are_named(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.dcm", greys()).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        data = bytearray(whole[: rng.integers(132, len(whole))] if number % 2 else whole)
        for _ in range(4):
            data[rng.integers(132, len(data))] = rng.integers(256)
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(bytes(data))
        with suppress(ValueError):  # and no other; some bytes change nothing that matters
            read_image(path, bands="raw")
    path.write_bytes(whole[:300])
    with pytest.raises(ValueError, match=r"59\.dcm: cannot be read as a DICOM image"):
        read_image(path, bands="raw")


def test_deflated_files_are_not_unpacked(tmp_path: Path) -> None:
    found = pydicom.dcmread(save(tmp_path / "a.dcm", greys()))
    found.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    found.save_as(tmp_path / "b.dcm")
    with pytest.raises(ValueError, match=r"b\.dcm: .*deflated"):
        read_image(tmp_path / "b.dcm", bands="raw")


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.dcm", greys())
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"a\.dcm: a DICOM file needs pydicom: pip install \"intarsia\[dicom\]\""):
        read_image(path)


# --- A data set ---------------------------------------------------------------------------------------------------


def series(root: Path, *, modality: str = "CT", **tags: object) -> Path:
    """Slices of three patients with masks of the same names."""
    for patient in range(3):
        for number in range(4):
            rng = np.random.default_rng(10 * patient + number)
            mask = np.zeros((40, 36), np.uint8)
            mask[10 + number : 24, 8 + patient : 20] = 255
            stored = (1024 + 50 * (mask > 0) + rng.normal(0, 9, mask.shape)).clip(0, 4095).astype(np.uint16)
            stored[:3] = 0
            name = f"patient{patient}/{number:03}"
            save(root / f"images/{name}.dcm", stored, Modality=modality, RescaleSlope=1, RescaleIntercept=-1024, **tags)
            (root / f"masks/patient{patient}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / f"masks/{name}.png")
    return root


def test_slices_with_masks_are_a_data_set(tmp_path: Path) -> None:
    description = examine(series(tmp_path)).proposal()
    assert (description.bands, description.scale) == ("rgb", (-160.0, 240.0))
    dataset = description.dataset("train")
    sample = dataset.load(0)
    units = pydicom.dcmread(dataset.paths(0)[0]).pixel_array.astype(int) - 1024
    expected = np.rint(np.clip((units + 160) * (255 / 400), 0, 255))
    assert np.abs(sample.image[:, :, 2] - expected).max() <= 1
    with Image.open(dataset.paths(0)[1]) as mask:
        assert np.array_equal(sample.label, np.array(mask) > 0)


def test_slices_of_one_series_in_two_splits_are_told(tmp_path: Path) -> None:
    warnings = [str(warning) for warning in examine(series(tmp_path)).warnings]
    assert any("folders of DICOM files whose series is not known are in more than one split" in w for w in warnings)
    assert main(["data", "split", str(tmp_path), "--by", "folder", "--val", "0.34", "-o", str(tmp_path / "out")]) == 0
    found = examine(tmp_path / "out/data.yaml")
    folders = {s: {Path(pair.image).parent for pair in found.proposal().pairs(s)} for s in ("train", "val")}
    assert not folders["train"] & folders["val"]
    assert found.proposal().scale == (-160.0, 240.0)


def test_the_window_of_most_headers_is_proposed_where_it_is_no_ct(tmp_path: Path) -> None:
    description = examine(series(tmp_path, modality="MR", WindowCenter=60, WindowWidth=201)).proposal()
    assert description.scale == (-40.5, 159.5)
    assert any("files' headers" in note for note in description.notes)


def test_scans_of_one_patient_are_no_labels_of_anothers(tmp_path: Path) -> None:
    """Series whose files have the same names were paired, and Hounsfield units learned as classes."""
    for patient in range(3):
        for number in range(3):
            save(tmp_path / f"P{patient}/CT/I{number}.dcm", greys(30, 20), RescaleSlope=1, RescaleIntercept=-1024)
    with pytest.raises(ValueError, match=r"no image in .* has a label file"):
        examine(tmp_path)
