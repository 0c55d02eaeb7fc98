"""Label maps of a DICOM series as a DICOM segmentation: binary segments, each frame with the image it lies on.

Patient, study, frame of reference and the places of the slices are those of the images; where these do not say one, it
is left out, or made anew if the standard demands it. A frame is written for each class that an image shows.

Source: DICOM PS3.3, A.51, C.7.6.16 and C.8.20; PS3.5, 8.2 (single bits).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.dicom import dicom_library
from intarsia.io.whole_files import whole_file

Mask = npt.NDArray[np.bool_]

_OF_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_OF_STUDY = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID")
_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_UID_ROOT = "1.2.826.0.1.3680043.8.498."
"""Pydicom's root, below which its users' identities are."""


@dataclass(frozen=True)
class SegmentedImage:
    """An image of a series. header: pydicom's, of its file. frame: of a file of several, from 1; None of others.

    masks: the pixels (H, W) of each class that is a segment, read when they are asked for.
    """

    header: Any
    frame: int | None
    masks: Callable[[], Sequence[Mask]]


def write_dicom_seg(
    path: Path,
    images: Sequence[SegmentedImage],
    *,
    segments: Sequence[str],
    palette: Sequence[Sequence[int]],
    algorithm: str,
) -> int:
    """Write the segmentation of one series; gives the number of its frames. Without any, no file is written.

    segments: the classes that `masks` has. algorithm: what made the masks, at most 64 letters.

    Raises ValueError if pydicom is missing, OSError if the file cannot be written.
    """
    pydicom = dicom_library(path)
    frames = list(_frames(images))
    if not frames:
        return 0
    found = _head(pydicom, images[0].header)
    found.SegmentSequence = pydicom.Sequence(
        _segment(pydicom, number, name, colour, algorithm)
        for number, (name, colour) in enumerate(zip(segments, palette, strict=True), 1)
    )
    _describe_frames(pydicom, found, images, frames)
    packed = np.packbits(np.concatenate([mask.ravel() for _, _, mask in frames]), bitorder="little").tobytes()
    found.PixelData = packed + b"\0" * (len(packed) % 2)
    with whole_file(path) as part:
        found.save_as(part, enforce_file_format=True)
    return len(frames)


def _frames(images: Sequence[SegmentedImage]) -> Iterator[tuple[int, int, Mask]]:
    """(number of the image, number of the segment from 1, its pixels), segment by segment as viewers expect it."""
    found = [
        (place, number, mask)
        for place, image in enumerate(images)
        for number, mask in enumerate(image.masks(), 1)
        if mask.any()
    ]
    yield from sorted(found, key=lambda frame: (frame[1], frame[0]))


def _head(pydicom: Any, source: Any) -> Any:
    """Everything but segments and frames."""
    now = datetime.datetime.now()  # local time is what the standard asks for
    found = pydicom.Dataset()
    for name in (*_OF_PATIENT, *_OF_STUDY):
        setattr(found, name, source.get(name, ""))
    found.StudyInstanceUID = source.get("StudyInstanceUID") or pydicom.uid.generate_uid(prefix=_UID_ROOT)
    found.SeriesInstanceUID = pydicom.uid.generate_uid(prefix=_UID_ROOT)
    found.SOPInstanceUID = pydicom.uid.generate_uid(prefix=_UID_ROOT)
    found.SOPClassUID, found.Modality = _SEGMENTATION_STORAGE, "SEG"
    found.SeriesNumber, found.InstanceNumber = 1000, 1
    found.SeriesDescription = "Segmentation"
    if source.get("FrameOfReferenceUID"):
        found.FrameOfReferenceUID = source.FrameOfReferenceUID
        found.PositionReferenceIndicator = source.get("PositionReferenceIndicator", "")
    found.Manufacturer = found.ManufacturerModelName = "Intarsia"
    found.DeviceSerialNumber, found.SoftwareVersions = "0", _version()
    found.ContentDate = found.InstanceCreationDate = now.strftime("%Y%m%d")
    found.ContentTime = found.InstanceCreationTime = now.strftime("%H%M%S")
    found.SeriesDate, found.SeriesTime = found.ContentDate, found.ContentTime
    found.ImageType, found.LossyImageCompression = ["DERIVED", "PRIMARY"], "00"
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.Rows, found.Columns = int(source.Rows), int(source.Columns)
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 1, 1, 0, 0
    found.SegmentationType, found.ContentLabel = "BINARY", "SEGMENTATION"
    found.ContentDescription, found.ContentCreatorName = "Classes of pixels", ""
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    found.file_meta.ImplementationClassUID = f"{_UID_ROOT}1"
    return found


def _version() -> str:
    from intarsia.version import __version__

    return __version__


def _segment(pydicom: Any, number: int, name: str, colour: Sequence[int], algorithm: str) -> Any:
    found = pydicom.Dataset()
    found.SegmentNumber, found.SegmentLabel = number, name[:64]
    found.SegmentAlgorithmType, found.SegmentAlgorithmName = "AUTOMATIC", algorithm[:64]
    found.SegmentedPropertyCategoryCodeSequence = _code(pydicom, "85756007", "SCT", "Tissue")
    found.SegmentedPropertyTypeCodeSequence = _code(pydicom, "85756007", "SCT", "Tissue")
    found.RecommendedDisplayCIELabValue = cielab(colour)
    return found


def _code(pydicom: Any, value: str, scheme: str, meaning: str) -> Any:
    found = pydicom.Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = value, scheme, meaning
    return pydicom.Sequence([found])


def _describe_frames(
    pydicom: Any, found: Any, images: Sequence[SegmentedImage], frames: Sequence[tuple[int, int, Mask]]
) -> None:
    """Which image and which segment each frame is, and where it lies."""
    places = [_place(image) for image in images]
    placed = all("ImagePositionPatient" in place for place in places)
    found.NumberOfFrames = len(frames)
    organization = pydicom.Dataset()
    organization.DimensionOrganizationUID = pydicom.uid.generate_uid(prefix=_UID_ROOT)
    found.DimensionOrganizationSequence = pydicom.Sequence([organization])
    pointers = [(0x0062000B, 0x0062000A)]  # ReferencedSegmentNumber in SegmentIdentificationSequence
    if placed:
        pointers.append((0x00200032, 0x00209113))  # ImagePositionPatient in PlanePositionSequence
    found.DimensionIndexSequence = pydicom.Sequence(_index(pydicom, organization, *pair) for pair in pointers)
    shared = pydicom.Dataset()
    if placed:
        measures, turned = pydicom.Dataset(), pydicom.Dataset()
        for name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
            if name in places[0]:
                setattr(measures, name, places[0][name])
        turned.ImageOrientationPatient = places[0]["ImageOrientationPatient"]
        shared.PixelMeasuresSequence = pydicom.Sequence([measures])
        shared.PlaneOrientationSequence = pydicom.Sequence([turned])
    found.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    groups = []
    for place, number, _ in frames:
        group, content, segment = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        content.DimensionIndexValues = [number, place + 1] if placed else [number]
        segment.ReferencedSegmentNumber = number
        group.FrameContentSequence = pydicom.Sequence([content])
        group.SegmentIdentificationSequence = pydicom.Sequence([segment])
        group.DerivationImageSequence = pydicom.Sequence([_derivation(pydicom, images[place])])
        if placed:
            position = pydicom.Dataset()
            position.ImagePositionPatient = places[place]["ImagePositionPatient"]
            group.PlanePositionSequence = pydicom.Sequence([position])
        groups.append(group)
    found.PerFrameFunctionalGroupsSequence = pydicom.Sequence(groups)
    if images[0].header.get("SeriesInstanceUID"):
        series = pydicom.Dataset()
        series.SeriesInstanceUID = images[0].header.SeriesInstanceUID
        sources = {str(image.header.SOPInstanceUID): image for image in images}.values()
        series.ReferencedInstanceSequence = pydicom.Sequence(_reference(pydicom, image) for image in sources)
        found.ReferencedSeriesSequence = pydicom.Sequence([series])


def _index(pydicom: Any, organization: Any, pointer: int, group: int) -> Any:
    found = pydicom.Dataset()
    found.DimensionOrganizationUID = organization.DimensionOrganizationUID
    found.DimensionIndexPointer, found.FunctionalGroupPointer = pointer, group
    return found


def _reference(pydicom: Any, image: SegmentedImage) -> Any:
    found = pydicom.Dataset()
    found.ReferencedSOPClassUID = image.header.SOPClassUID
    found.ReferencedSOPInstanceUID = image.header.SOPInstanceUID
    return found


def _derivation(pydicom: Any, image: SegmentedImage) -> Any:
    """How a frame came about: by a segmentation of this image."""
    source = _reference(pydicom, image)
    if image.frame is not None:
        source.ReferencedFrameNumber = image.frame
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = _code(
        pydicom, "121322", "DCM", "Source image for image processing operation"
    )
    found = pydicom.Dataset()
    found.SourceImageSequence = pydicom.Sequence([source])
    found.DerivationCodeSequence = _code(pydicom, "113076", "DCM", "Segmentation")
    return found


def _place(image: SegmentedImage) -> dict[str, Any]:
    """Where an image lies: of enhanced files as the groups of its frame, or of all frames, say."""
    header, found = image.header, {}
    groups = [header]
    if image.frame is not None:
        own = (header.get("PerFrameFunctionalGroupsSequence") or [])[image.frame - 1 : image.frame]
        for group in (*own, *(header.get("SharedFunctionalGroupsSequence") or [])[:1]):
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
                groups += (group.get(name) or [])[:1]
    wanted = (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "SpacingBetweenSlices",
    )
    for name in wanted:
        values = [group.get(name) for group in groups if group.get(name) not in (None, "")]
        if values:
            found[name] = values[0]
    if "ImageOrientationPatient" not in found or "PixelSpacing" not in found:
        found.pop("ImagePositionPatient", None)
    return found


def cielab(colour: Sequence[int]) -> list[int]:
    """A colour (sRGB, 0..255) in CIELab as DICOM stores it: three numbers of 16 bits (PS3.3, C.10.7.1.1).

    D50 is white, as in ICC profiles.
    """
    linear = np.asarray(colour, np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169],
                       [0.0139322, 0.0971045, 0.7141733]])  # fmt: skip
    ratio = to_xyz @ linear / (0.9642, 1.0, 0.8251)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    scaled = lab[0] / 100, (lab[1] + 128) / 255, (lab[2] + 128) / 255
    return [round(min(max(part, 0.0), 1.0) * 65535) for part in scaled]
