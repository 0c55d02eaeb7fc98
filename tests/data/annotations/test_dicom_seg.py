"""DICOM SEG: frames find their images by the identity of these, segments their class by their label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    SegmentationStorage,
    generate_uid,
)

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine

SIZE = (36, 40)
NAMES = {1: "liver", 2: "tumour"}


def item(**values: object) -> Dataset:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def new(path: Path, kind: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    found.Rows, found.Columns, found.SamplesPerPixel, found.PhotometricInterpretation = *SIZE, 1, "MONOCHROME2"
    found.PixelRepresentation = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    return found


def masks(patient: int, number: int) -> dict[int, np.ndarray]:
    """The tumour lies in the liver; the last image has neither."""
    liver, tumour = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    if number < 3:
        liver[6 + patient : 24, 5 : 20 + number] = True
        tumour[10:14, 8 + number : 13] = True
    return {1: liver, 2: tumour}


def series(root: Path, *, kind: str = "BINARY", patients: int = 3) -> Path:
    for patient in range(patients):
        identity, images = generate_uid(), []
        for number in range(4):
            path = root / f"ct/patient{patient}/{number:02}.dcm"
            image = new(path, CTImageStorage)
            image.Modality, image.SeriesInstanceUID = "CT", identity
            image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
            image.RescaleSlope, image.RescaleIntercept = 1, -1024
            found = masks(patient, number)
            noise = np.random.default_rng(number).normal(0, 5, SIZE)
            values = 1024 + 60 * found[1] + 40 * found[2] + noise
            values[:2] = 0
            image.PixelData = values.astype(np.uint16).tobytes()
            image.save_as(path, enforce_file_format=True)
            images.append(str(image.SOPInstanceUID))
        segmentation(root / f"seg/patient{patient}.dcm", patient, images, identity, kind)
    return root


def segmentation(path: Path, patient: int, images: list[str], identity: str, kind: str) -> None:
    found = new(path, SegmentationStorage)
    found.Modality, found.SegmentationType = "SEG", kind
    found.SegmentSequence = Sequence(item(SegmentNumber=n, SegmentLabel=name) for n, name in NAMES.items())
    found.ReferencedSeriesSequence = Sequence([item(SeriesInstanceUID=identity)])
    frames, groups = [], []
    for number, image in reversed(list(enumerate(images[:3]))):
        source = item(SourceImageSequence=Sequence([item(ReferencedSOPInstanceUID=image)]))
        parts = masks(patient, number)
        if kind == "LABELMAP":
            frames.append(np.where(parts[2], 2, parts[1]).astype(np.uint8))
            groups.append(item(DerivationImageSequence=Sequence([source])))
            continue
        for segment in (2, 1):  # not in their order
            frames.append(parts[segment])
            identified = item(ReferencedSegmentNumber=segment)
            groups.append(
                item(DerivationImageSequence=Sequence([source]), SegmentIdentificationSequence=Sequence([identified]))
            )
    stored = np.stack(frames)
    found.NumberOfFrames, found.PerFrameFunctionalGroupsSequence = len(stored), Sequence(groups)
    if kind == "BINARY":
        found.BitsAllocated, found.BitsStored, found.HighBit = 1, 1, 0
        data = np.packbits(stored.ravel(), bitorder="little").tobytes()
    else:
        found.BitsAllocated, found.BitsStored, found.HighBit = 8, 8, 7
        if kind == "FRACTIONAL":
            found.MaximumFractionalValue, found.SegmentationFractionalType = 200, "PROBABILITY"
            stored = np.where(stored, 100, 99).astype(np.uint8)
        data = stored.tobytes()
    found.PixelData = data + b"\0" * (len(data) % 2)
    found.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_segments_lie_on_their_images(tmp_path: Path, kind: str) -> None:
    found = examine(series(tmp_path / "data", kind=kind))
    assert not found.problems
    description = found.proposal()
    assert description.classes == ("background", "liver", "tumour")
    assert (description.bands, description.scale) == ("rgb", (-160.0, 240.0))
    write_description(description, tmp_path / "data.yaml")
    assert "format: dicom_seg" in (tmp_path / "data.yaml").read_text()
    description, seen = read_description(tmp_path / "data.yaml"), 0
    for split in description.splits:
        dataset = description.dataset(split)
        for index in range(len(dataset)):
            image = Path(dataset.paths(index)[0])
            parts = masks(int(image.parent.name[-1]), int(image.stem))
            assert np.array_equal(dataset.load(index).label, np.where(parts[2], 2, parts[1]))
            seen += 1
    assert seen == 12  # an image of a series that no frame names shows nothing


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    root = series(tmp_path)
    path = root / "seg/patient1.dcm"
    whole = pydicom.dcmread(path)
    whole.Rows, whole.Columns = SIZE[1], SIZE[0]
    whole.save_as(path)
    problems = " ".join(map(str, examine(root).problems))
    assert "patient1.dcm: the segmentation has 40 x 36 pixels (height x width), the image" in problems
    whole.Rows = 30_000
    whole.save_as(path)
    problems = " ".join(map(str, examine(root).problems))
    assert "patient1.dcm: the segmentation has 30000 x 36 pixels" in problems
    whole.Rows, whole.Columns, whole.NumberOfFrames = *SIZE, 60
    whole.save_as(path)
    problems = " ".join(map(str, examine(root).problems))
    assert "patient1.dcm: cannot be read as a DICOM segmentation: it is cut off: its header promises 10,800" in problems
    del whole.SegmentSequence
    whole.save_as(path)
    with pytest.raises(ValueError, match=r"patient1\.dcm: no complete DICOM segmentation"):
        examine(root)


def test_a_segmentation_without_its_images_is_told(tmp_path: Path) -> None:
    root = series(tmp_path, patients=2)
    for file in (root / "ct/patient1").iterdir():
        file.unlink()
    warnings = " ".join(map(str, examine(root).warnings))
    assert "3 images that segments lie on are in none of the folders" in warnings


def test_a_segmentation_that_names_no_series_has_that_of_its_images(tmp_path: Path) -> None:
    """An image that no frame names was without a label then."""
    root = series(tmp_path)
    for file in (root / "seg").iterdir():
        found = pydicom.dcmread(file)
        del found.ReferencedSeriesSequence
        found.save_as(file)
    description = examine(root).proposal()
    assert sum(len(description.pairs(split)) for split in description.splits) == 12


def test_frames_that_name_no_image_are_told(tmp_path: Path) -> None:
    root = series(tmp_path, patients=1)
    found = pydicom.dcmread(root / "seg/patient0.dcm")
    for group in found.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    found.save_as(root / "seg/patient0.dcm")
    with pytest.raises(ValueError, match=r"6 frames do not say on which image they lie.*export them with references"):
        examine(root)


def test_contours_of_radiotherapy_are_told(tmp_path: Path) -> None:
    root = series(tmp_path, patients=1)
    (root / "seg/patient0.dcm").unlink()
    contours = new(root / "ct/patient0/RS.dcm", RTStructureSetStorage)
    contours.save_as(root / "ct/patient0/RS.dcm", enforce_file_format=True)
    with pytest.raises(
        ValueError, match=r"ct/patient0/RS\.dcm are contours of radiotherapy .* which are not read: make"
    ):
        examine(root)
