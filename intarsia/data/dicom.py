"""DICOM images (.dcm), by pydicom: one frame of a file, in the numbers that it stands for, the brighter the more.

What the header says of numbers is applied (rescale slope and intercept: Hounsfield units of CT; a palette; MONOCHROME1,
whose 0 is white; colours that are no RGB), but no window: which values become black and white is said once for all
images of a training (`image: scale` of a description), for which `header_window` is a proposal.

Nothing in a file is believed before it is compared with its size, and pydicom's errors become errors that name the
file. Source: DICOM PS3.3 (C.7.6.3, C.11.1, C.11.2) and PS3.5.
"""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import GREY, RGB, FileBands
from intarsia.data.headers import check_size

DICOM_SUFFIXES = (".dcm", ".dicom")
MOST_FRAMES = 65_536

_MARK, _PREAMBLE, _META = b"DICM", 128, 4096
_UNPACKED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes that store pixels as they are."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
"""A transfer syntax that packs the whole file, whose size nothing limits."""
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_NEEDED = 'needs pydicom: pip install "intarsia[dicom]"; or convert it to NIfTI or PNG'


def is_dicom(data: bytes) -> bool:
    """Whether bytes are a DICOM file with its usual beginning."""
    return data[_PREAMBLE : _PREAMBLE + 4] == _MARK


def dicom_library(path: str | Path) -> Any:
    """Pydicom. Raises ValueError naming the file that needs it if it is not installed."""
    try:
        import pydicom
    except ImportError:
        raise ValueError(f"{path}: a DICOM file {_NEEDED}") from None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # what matters is checked here
    return pydicom


def read_dicom(
    data: bytes, path: str | Path, *, frame: int = 0, max_pixels: int | None = None
) -> tuple[npt.NDArray[Any], FileBands]:
    """One frame (H, W, 1) or (H, W, 3) in the numbers that it stands for, and what its bands are.

    Greys are of the smallest of uint8, uint16, int16 and int32 that the file's stored numbers and rescale allow, or
    float32; colours are uint8.

    Raises ValueError naming the file if it is damaged, too large, of another kind, or compressed in a way that nothing
    that is installed decodes.
    """
    pydicom = dicom_library(path)
    try:
        _refuse_deflated(data)
        header = pydicom.dcmread(io.BytesIO(data), force=False)
        frames = _checked(header, len(data), max_pixels)
        if frame >= frames:
            raise ValueError(f"there is no frame {frame} (from 0); the file holds {frames}")
        stored = np.asarray(pydicom.pixels.pixel_array(header, index=frame))
        return _meant(pydicom, header, stored)
    except MemoryError:
        raise
    except Exception as error:  # whatever pydicom and its decoders trip over
        raise ValueError(f"{path}: cannot be read as a DICOM image: {_reason(error)}") from None


def count_frames(path: Path) -> int:
    """How many frames a file says that it has, at least 1. Raises ValueError naming the file if it cannot be read."""
    header = dicom_header(path)
    try:
        return min(max(1, int(header.get("NumberOfFrames") or 1)), MOST_FRAMES)
    except (TypeError, ValueError):
        return 1


def dicom_header(path: Path, *, only: tuple[str, ...] = ()) -> Any:
    """What a file says before its pixels, as pydicom's data set. only: these elements, which is faster.

    Raises ValueError naming the file.
    """
    pydicom = dicom_library(path)
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError("there is no file of this name")
        with open(path, "rb") as stream:
            _refuse_deflated(stream.read(_META))
        return pydicom.dcmread(path, stop_before_pixels=True, force=False, specific_tags=list(only) or None)
    except Exception as error:  # whatever pydicom trips over
        raise ValueError(f"{path}: cannot be read as a DICOM file: {_reason(error)}") from None


def header_window(path: Path) -> tuple[float, float] | None:
    """The values that the first window of a file shows as black and as white; None without one."""
    header = dicom_header(path)
    centre, width = _number(header.get("WindowCenter")), _number(header.get("WindowWidth"))
    if centre is None or width is None or width <= 1:
        return None
    low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2  # C.11.2.1.2.1
    ends = _inverted_ends(header)
    return (low, high) if ends is None else (sum(ends) - high, sum(ends) - low)


# --- Header -------------------------------------------------------------------------------------------------------


def _refuse_deflated(data: bytes) -> None:
    if _DEFLATED in data[:_META]:
        raise ValueError("its whole content is deflated, which is not read: unpack it first (dcmconv +te)")


def _checked(header: Any, there: int, max_pixels: int | None) -> int:
    """The number of frames. Raises ValueError if the header makes no sense, or promises more than there can be."""
    if header.file_meta.get("MediaStorageSOPClassUID") == _SEGMENTATION or header.get("SOPClassUID") == _SEGMENTATION:
        raise ValueError("it is a segmentation (DICOM SEG), which is a label and no image")
    if "PixelData" not in header:
        raise ValueError(f"it holds no pixels ({header.get('Modality', 'no modality')})")
    rows, columns = int(header.Rows), int(header.Columns)
    check_size(columns, rows, most=max_pixels)
    samples, bits = int(header.get("SamplesPerPixel", 1)), int(header.BitsAllocated)
    frames = int(header.get("NumberOfFrames") or 1)
    if samples not in (1, 3) or bits not in (1, 8, 16, 32) or not 1 <= frames <= MOST_FRAMES:
        raise ValueError(f"expected 1 or 3 samples of 1 to 32 bits, found {samples} of {bits} bits in {frames} frames")
    promised = math.ceil(rows * columns * samples * bits / 8) * frames
    if "YBR_FULL_422" in str(header.get("PhotometricInterpretation")):
        promised = promised * 2 // 3
    if str(header.file_meta.get("TransferSyntaxUID", _UNPACKED[0])) in _UNPACKED and promised > there:
        raise ValueError(
            f"it is cut off: its header promises {promised:,} bytes of pixels, the whole file has {there:,}; copy or "
            "download it again"
        )
    return frames


def _number(value: Any) -> float | None:
    """The first of one or several decimal strings."""
    try:
        first = value[0] if hasattr(value, "__getitem__") and not isinstance(value, str | bytes) else value
        number = float(first)
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None


def _rescale(header: Any) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 without them. Those of enhanced files lie in the groups of all frames."""
    place = header
    for name in ("SharedFunctionalGroupsSequence", "PixelValueTransformationSequence"):
        sequence = place.get(name)
        place = sequence[0] if sequence else {}
        if not place:
            break
    slope = _number(header.get("RescaleSlope") or place.get("RescaleSlope"))
    offset = _number(header.get("RescaleIntercept") or place.get("RescaleIntercept"))
    return (slope if slope else 1.0), offset or 0.0


def _inverted_ends(header: Any) -> tuple[float, float] | None:
    """What the least and the greatest stored number stand for, where 0 is white."""
    if str(header.get("PhotometricInterpretation", "")).strip() != "MONOCHROME1":
        return None
    bits, (slope, offset) = int(header.get("BitsStored", 8)), _rescale(header)
    low = -(2 ** (bits - 1)) if header.get("PixelRepresentation") == 1 else 0
    return low * slope + offset, (low + 2**bits - 1) * slope + offset


# --- Numbers ------------------------------------------------------------------------------------------------------


def _meant(pydicom: Any, header: Any, stored: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], FileBands]:
    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2")).strip()
    if photometric == "PALETTE COLOR":
        colours = np.asarray(pydicom.pixels.apply_color_lut(stored, header))[:, :, :3]
        colours = (colours >> 8 if colours.dtype == np.uint16 else colours).astype(np.uint8)
        return colours, FileBands(RGB)
    if stored.ndim == 3:  # pydicom has made RGB of YBR
        if stored.shape[2] != 3 or stored.dtype != np.uint8:
            raise ValueError(f"expected colours of 8 bits, found {stored.dtype} x {stored.shape[2]}")
        return np.ascontiguousarray(stored), FileBands(RGB)
    if stored.ndim != 2:
        raise ValueError(f"expected one frame (H, W), found {stored.shape}")
    if "ModalityLUTSequence" in header:
        values = np.asarray(pydicom.pixels.apply_modality_lut(stored, header))
    else:
        slope, offset = _rescale(header)
        is_whole = float(slope).is_integer() and float(offset).is_integer() and stored.dtype.kind in "iu"
        values = stored if (slope, offset) == (1, 0) else stored.astype(np.float64) * slope + offset
        values = _smallest(np.rint(values).astype(np.int64), header, slope, offset) if is_whole else values
    if (ends := _inverted_ends(header)) is not None:
        values = (sum(ends) - values.astype(np.float64)).astype(values.dtype)
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
    bits = int(header.get("BitsStored", 0)) if values.dtype.kind == "u" and _rescale(header) == (1.0, 0.0) else 0
    return np.ascontiguousarray(values)[:, :, None], FileBands((GREY,), bits=bits if bits in range(1, 17) else 0)


def _smallest(values: npt.NDArray[np.int64], header: Any, slope: float, offset: float) -> npt.NDArray[Any]:
    """In a type that holds whatever a file of this header may hold, so that all files of a series have the same."""
    bits = int(header.get("BitsStored", 16))
    low = -(2 ** (bits - 1)) if header.get("PixelRepresentation") == 1 else 0
    ends = sorted((low * slope + offset, (low + 2**bits - 1) * slope + offset))
    for kind in (np.uint8, np.uint16, np.int16, np.int32):
        if np.iinfo(kind).min <= ends[0] and ends[1] <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float32)


def _reason(error: Exception) -> str:
    """What went wrong, with the way out where a decoder is missing."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "plugin" in text or "decompress" in text.lower():
        text = f"{text[:300]}; decompress it first (dcmdjpeg, gdcmconv --raw), or install what is named"
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text[:300]}"


# --- Segmentations ------------------------------------------------------------------------------------------------

_MOST_NUMBERS = 2**30
_KEPT_SEGMENTATIONS = 8
_segmentations: OrderedDict[tuple[str, int, int], Segmentation] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """frames: (N, H, W), as they are stored. kind: BINARY, FRACTIONAL or LABELMAP. most: what stands for the whole."""

    frames: npt.NDArray[Any]
    kind: str
    most: int


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation, by its beginning alone."""
    return _is_of(path, _SEGMENTATION)


def is_structure_set(path: Path) -> bool:
    """Whether a file holds the contours of radiotherapy (RTSTRUCT), by its beginning alone."""
    return _is_of(path, _STRUCTURE_SET)


def _is_of(path: Path, kind: str) -> bool:
    """Whether the beginning of a file names a class of storage."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as stream:
            head = stream.read(_META)
    except OSError:
        return False
    place = head.find(kind.encode())
    return is_dicom(head) and place >= 0 and head[place + len(kind) :][:1] not in b".0123456789"


def check_segmentation(header: Any) -> None:
    """Raises ValueError, naming no file, for a header that is none of a segmentation, or makes no sense."""
    if header.get("SOPClassUID") != _SEGMENTATION:
        raise ValueError("no DICOM segmentation")
    frames, kind = int(header.get("NumberOfFrames") or 1), str(header.get("SegmentationType", "BINARY"))
    check_size(int(header.Columns), int(header.Rows))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP") or not 1 <= frames <= MOST_FRAMES:
        raise ValueError(f"expected a binary or fractional segmentation, or a label map, found {kind}, {frames} frames")
    if frames * int(header.Rows) * int(header.Columns) > _MOST_NUMBERS:
        raise ValueError(f"more than {_MOST_NUMBERS:,} pixels in {frames} frames; divide it by segments")


def read_segmentation(path: Path) -> Segmentation:
    """The frames of a segmentation; the last ones that were read are kept.

    Raises ValueError naming the file if it is damaged, or promises more than it holds.
    """
    pydicom = dicom_library(path)
    try:
        state = path.stat()
        key = (str(path), state.st_mtime_ns, state.st_size)
        with _lock:
            if key in _segmentations:
                _segmentations.move_to_end(key)
                return _segmentations[key]
            data = path.read_bytes()
            _refuse_deflated(data)
            header = pydicom.dcmread(io.BytesIO(data), force=False)
            check_segmentation(header)
            promised = math.ceil(int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) / 8) * int(
                header.get("NumberOfFrames") or 1
            )
            is_unpacked = str(header.file_meta.get("TransferSyntaxUID", _UNPACKED[0])) in _UNPACKED
            if is_unpacked and promised > len(data) + int(header.get("NumberOfFrames") or 1):
                raise ValueError(f"it is cut off: its header promises {promised:,} bytes, there are {len(data):,}")
            frames = np.asarray(pydicom.pixels.pixel_array(header))
            found = Segmentation(
                frames if frames.ndim == 3 else frames[None], str(header.get("SegmentationType", "BINARY")),
                int(header.get("MaximumFractionalValue") or 1),
            )  # fmt: skip
            _segmentations[key] = found
            while len(_segmentations) > _KEPT_SEGMENTATIONS:
                _segmentations.popitem(last=False)
            return found
    except MemoryError:
        raise
    except Exception as error:  # whatever pydicom and its decoders trip over
        raise ValueError(f"{path}: cannot be read as a DICOM segmentation: {_reason(error)}") from None


def frame_of(found: Segmentation, frame: int, number: int) -> npt.NDArray[np.bool_]:
    """(H, W): where a segment is, in one frame. Raises ValueError if there is no such frame."""
    if frame >= len(found.frames):
        raise ValueError(f"there is no frame {frame + 1}; the segmentation has {len(found.frames)}")
    if found.kind == "LABELMAP":
        return np.asarray(found.frames[frame] == number)
    least = (found.most + 1) // 2 if found.kind == "FRACTIONAL" else 1
    return np.asarray(found.frames[frame] >= least)
