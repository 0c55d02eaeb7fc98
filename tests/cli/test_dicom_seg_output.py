"""`predict --save dicom_seg`: a segmentation for each series, which pydicom and our own reader read as label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from intarsia.cli.main import main
from intarsia.data.annotations.dicom_seg import Segmentations
from intarsia.inference.outputs.dicom_seg import SegmentedImage, cielab, write_dicom_seg

CPU = ["--device", "cpu"]
CLASSES = ("sky", "road", "car")


def slice_file(path: Path, number: int, *, series: str | None, frames: int = 1) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.Modality, found.PhotometricInterpretation, found.SamplesPerPixel = "CT", "MONOCHROME2", 1
    found.Rows, found.Columns, found.PixelRepresentation = 64, 80, 0
    found.BitsAllocated, found.BitsStored, found.HighBit = 8, 8, 7
    if series is not None:
        found.StudyInstanceUID, found.SeriesInstanceUID, found.PatientID = "1.2.3", series, "somebody"
        found.FrameOfReferenceUID = f"{series}.9"
        found.ImagePositionPatient, found.PixelSpacing = [0, 0, 5.0 * number], [0.8, 0.8]
        found.ImageOrientationPatient, found.SliceThickness = [1, 0, 0, 0, 1, 0], 5
    if frames > 1:
        found.NumberOfFrames = frames
    found.InstanceNumber = number
    rng = np.random.default_rng(number)
    field = rng.integers(0, 256, (frames, 8, 10), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    found.PixelData = field.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def label(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def read_again(file: Path, images: Path) -> dict[str, np.ndarray]:
    """The label map of each image, by our own reader of annotations."""
    found = {}
    opened = Segmentations(file)
    assert list(opened.faults) == []
    for key in opened.keys:
        drawn = np.full((64, 80), 255, np.uint8)
        for shape in opened.draw(key, lambda: (64, 80)).shapes:
            area: Any = shape.area
            drawn[area.mask] = CLASSES.index(shape.name)
        found[Path(key).stem] = drawn
    return found


def test_each_series_has_a_file_that_says_what_the_labels_say(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "scans/out"
    for name, series in (("p1", "1.2.3.1"), ("p2", "1.2.3.2")):
        for number in range(3):
            slice_file(scans / f"{name}/{9 - number}.dcm", number, series=series)  # names against the places
    words = ["predict", str(weights), str(scans), "-o", str(out), "--save", "dicom_seg", *CPU]
    assert main(words) == 0
    assert sorted(path.name for path in out.rglob("*.dcm")) == ["segmentation.dcm"] * 2
    for name in ("p1", "p2"):
        again = read_again(out / name / "segmentation.dcm", scans / name)
        assert len(again) == 3
        for stem, drawn in again.items():
            assert np.array_equal(drawn, label(out / name / f"{stem}.png"))
        found = pydicom.dcmread(out / name / "segmentation.dcm")
        assert (found.Modality, found.PatientID, found.StudyInstanceUID) == ("SEG", "somebody", "1.2.3")
        assert found.FrameOfReferenceUID == f"1.2.3.{name[1]}.9"
        assert found.SeriesInstanceUID != f"1.2.3.{name[1]}"
        assert [segment.SegmentLabel for segment in found.SegmentSequence] == list(CLASSES)
        frames = np.asarray(found.pixel_array)
        assert frames.shape == (int(found.NumberOfFrames), 64, 80)
        instances = {}
        for number in range(3):
            header = pydicom.dcmread(scans / f"{name}/{9 - number}.dcm", stop_before_pixels=True)
            instances[str(header.SOPInstanceUID)] = 9 - number, float(header.ImagePositionPatient[2])
        heights = []
        for frame, group in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
            source = group.DerivationImageSequence[0].SourceImageSequence[0]
            assert source.SpatialLocationsPreserved == "YES"
            stem, height = instances[str(source.ReferencedSOPInstanceUID)]
            segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            assert np.array_equal(frame > 0, label(out / name / f"{stem}.png") == segment - 1)
            assert float(group.PlanePositionSequence[0].ImagePositionPatient[2]) == height
            place = group.FrameContentSequence[0].DimensionIndexValues
            assert list(place) == [segment, 1 + int(height / 5)]
            heights.append((segment, height))
        assert heights == sorted(heights)
    capsys.readouterr()
    assert main([*words[:-2], "--overwrite", "--format", "source", *CPU]) == 2
    assert "--save dicom_seg is made of class indices" in " ".join(capsys.readouterr().err.split())


def test_images_that_say_no_place_and_frames_of_a_file(weights: Path, tmp_path: Path) -> None:
    slice_file(tmp_path / "scans/a.dcm", 1, series=None, frames=3)
    words = ["predict", str(weights), str(tmp_path / "scans"), "-o", str(tmp_path / "out"), "--pages", "all", *CPU]
    assert main([*words, "--save", "label,dicom_seg"]) == 0
    found = pydicom.dcmread(tmp_path / "out/segmentation.dcm")
    assert "FrameOfReferenceUID" not in found
    labels = sorted((tmp_path / "out").glob("*.png"))
    assert len(labels) == 3
    for frame, group in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        assert "PlanePositionSequence" not in group
        number = int(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        assert np.array_equal(frame > 0, label(labels[number - 1]) == segment - 1)


def test_what_is_no_dicom_image_is_named(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(weights), str(photos), "-o", str(tmp_path / "out"), "--save", "dicom_seg", *CPU]
    assert main(words) == 2
    assert "--save dicom_seg is for DICOM images, and" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


# --- The file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "lab"),
    [((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((255, 0, 0), (54.29, 80.80, 69.89))],
)
def test_colours_are_those_of_cielab(colour: tuple[int, ...], lab: tuple[float, ...]) -> None:
    """Red by the tables of Bruce Lindbloom (sRGB, white D50)."""
    stored = np.array(cielab(colour)) / 65535
    assert stored * (100, 255, 255) - (0, 128, 128) == pytest.approx(lab, abs=0.06)


def test_frames_whose_bits_do_not_fill_bytes(tmp_path: Path) -> None:
    header = pydicom.dcmread(slice_file(tmp_path / "a.dcm", 0, series="1.2"))
    header.Rows, header.Columns = 5, 7
    masks = np.random.default_rng(0).random((3, 2, 5, 7)) > 0.5
    masks[1, 0] = False
    images = [SegmentedImage(header, None, lambda own=own: list(own)) for own in masks]
    count = write_dicom_seg(
        tmp_path / "s.dcm", images, segments=["a", "b"], palette=((1, 2, 3), (4, 5, 6)), algorithm="x" * 90
    )
    assert count == 5
    found = pydicom.dcmread(tmp_path / "s.dcm")
    expected = [masks[0, 0], masks[2, 0], masks[0, 1], masks[1, 1], masks[2, 1]]
    assert np.array_equal(found.pixel_array > 0, np.stack(expected))
    nothing = [SegmentedImage(header, None, lambda: [np.zeros((5, 7), bool)] * 2)]
    assert not write_dicom_seg(
        tmp_path / "e.dcm", nothing, segments=["a", "b"], palette=((1, 2, 3), (4, 5, 6)), algorithm="x"
    )
    assert not (tmp_path / "e.dcm").exists()
