"""DICOM SEG: segmentations of a series, by pydicom. Each frame says which image it lies on and which segment it shows.

A segment has the name of its label. Segments lie over each other in the order of their numbers; of a fractional one,
what reaches half of the greatest value belongs to it. The images are found by their SOP instance UIDs, in the DICOM
files of the folders around the segmentation; another image of their series has a label without segments, whether or
not the segmentation names the series.

Source: DICOM PS3.3, A.51 and C.8.20.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from intarsia.contracts import Size
from intarsia.data.annotations.shapes import Bitmap, Drawing, Shape, SizeOf
from intarsia.data.dicom import (
    DICOM_SUFFIXES,
    check_segmentation,
    dicom_header,
    frame_of,
    is_segmentation,
    read_segmentation,
)
from intarsia.io.folders import walk_files

_LEVELS = 3
"""Folders above a segmentation in which its images are looked for, the nearest first."""
_MOST_FILES = 200_000


class DicomSeg:
    """The format. Its file may be a folder of such files."""

    name = "dicom_seg"
    title = "DICOM segmentations"
    suffix = ".dcm"
    per_image = False
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Never by text: the files are not text (`dicom.is_segmentation`)."""
        return False

    def look_through(self, path: Path, names: Path | None) -> Segmentations:
        """Look through a file, or all of a folder: which frames belong to which image."""
        return Segmentations(path)


class Segmentations:
    """Files that have been looked through. Satisfies `source.Opened`.

    files: the segmentations, which are no images. keys: images of their series, as paths below `top`.
    """

    subsets: Mapping[str, str] = MappingProxyType({})

    def __init__(self, path: Path) -> None:
        self.faults: list[str] = []
        self.files = _segmentations(path)
        self._size: dict[Path, Size] = {}
        self._segments: dict[Path, dict[int, str]] = {}
        self._frames: dict[str, list[tuple[Path, int, int]]] = {}
        series: set[str] = set()
        for file in self.files:
            series.update(self._scan(file))
        self.classes: Sequence[str] = tuple(
            dict.fromkeys(n for found in self._segments.values() for n in found.values())
        )
        shown = {(file, number) for found in self._frames.values() for file, _, number in found}
        self.used = frozenset(self._segments[file][number] for file, number in shown)
        self._images = dict(_images(path, set(self._frames), series, set(self.files)))
        self.keys: Mapping[str, tuple[str, ...]] = {name: (name,) for name in self._images}
        lost = len(set(self._frames) - set(self._images.values()))
        if lost:
            self.faults.append(f"{lost} images that segments lie on are in none of the folders around {path}")

    def _scan(self, file: Path) -> Iterator[str]:
        """Fill in segments and frames of a file; gives the series that it refers to."""
        header = dicom_header(file)
        try:
            check_segmentation(header)
            self._size[file] = int(header.Rows), int(header.Columns)
            self._segments[file] = {
                int(segment.SegmentNumber): str(
                    segment.get("SegmentLabel") or f"segment {segment.SegmentNumber}"
                ).strip()
                for segment in header.SegmentSequence
            }
            unplaced = 0
            shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
            for frame, group in enumerate(header.PerFrameFunctionalGroupsSequence):
                image, number = _reference(group, shared)
                if image is None or (number is not None and number not in self._segments[file]):
                    unplaced += 1
                    continue
                numbers = self._segments[file] if number is None else [number]  # None: a map of all segments
                self._frames.setdefault(image, []).extend((file, frame, one) for one in numbers)
        except (AttributeError, TypeError, IndexError, KeyError) as error:  # what the standard demands is missing
            raise ValueError(f"{file}: no complete DICOM segmentation: {error}") from None
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        if unplaced:
            self.faults.append(f"{file.name}: {unplaced} frames do not say on which image they lie, or show no segment")
        yield from (str(one.SeriesInstanceUID) for one in header.get("ReferencedSeriesSequence") or [])

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The segments of an image, those of greater numbers over the others."""
        shapes = []
        own: Size | None = None
        frames = sorted(self._frames.get(self._images[key], []), key=lambda found: (found[2], str(found[0]), found[1]))
        for file, frame, number in frames:
            if own is None:
                own = size()
            if self._size[file] != own:
                raise ValueError(
                    f"{file}: the segmentation has {self._size[file][0]} x {self._size[file][1]} pixels (height x "
                    f"width), the image {key} {own[0]} x {own[1]}"
                )
            mask = frame_of(read_segmentation(file), frame, number)
            shapes.append(
                Shape(self._segments[file][number], Bitmap(mask), f"frame {frame + 1} of {file.name} ({key})")
            )
        return Drawing(own, tuple(shapes))

    def drawn_from(self, key: str) -> tuple[Path, ...]:
        """The segmentations that have a frame of an image."""
        return tuple(dict.fromkeys(file for file, _, _ in self._frames.get(self._images[key], [])))


def _segmentations(path: Path) -> tuple[Path, ...]:
    """Raises ValueError if there are none."""
    files = [path / name for name in walk_files(path)] if path.is_dir() else [path]
    found = tuple(file for file in files if is_segmentation(file))
    if not found:
        raise ValueError(f"{path}: no DICOM segmentation, nor a folder of such")
    return found


def _reference(group: Any, shared: Any) -> tuple[str | None, int | None]:
    """(SOP instance UID of the image, number of the segment) of a frame; each may be said for all frames at once."""
    number = _first(group, shared, "SegmentIdentificationSequence")
    derived = _first(group, shared, "DerivationImageSequence")
    source = None if derived is None else (derived.get("SourceImageSequence") or [None])[0]
    image = None if source is None else str(source.ReferencedSOPInstanceUID)
    return image, None if number is None else int(number.ReferencedSegmentNumber)


def _first(group: Any, shared: Any, name: str) -> Any:
    for place in (group, shared):
        sequence = None if place is None else place.get(name)
        if sequence:
            return sequence[0]
    return None


def _images(path: Path, wanted: set[str], series: set[str], others: set[Path]) -> Iterator[tuple[str, str]]:
    """(path below the folder in which they were found, SOP instance UID) of the images of the series."""
    top = path if path.is_dir() else path.parent
    for _ in range(_LEVELS):
        there: list[tuple[str, str, str]] = []
        for count, name in enumerate(walk_files(top)):
            if count > _MOST_FILES:
                return
            if Path(name).suffix.lower() in DICOM_SUFFIXES and top / name not in others:
                try:
                    header = dicom_header(top / name, only=("SOPInstanceUID", "SeriesInstanceUID"))
                except ValueError:  # said when it is read
                    continue
                there.append((name, str(header.get("SOPInstanceUID")), str(header.get("SeriesInstanceUID"))))
        own = {one for _, identity, one in there if identity in wanted} - {"None"}
        found = [(name, identity) for name, identity, one in there if identity in wanted or one in series | own]
        if {identity for _, identity in found} & wanted:
            yield from found
            return
        top = top.parent
