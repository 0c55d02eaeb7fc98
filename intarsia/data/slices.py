"""One image of a file that holds many, as a path: ``ct/a.nii.gz#z012``, ``stack.tif#z003``, ``masks/a.tif#band2``.

A slice of a volume (NIfTI), a page of a TIFF or a frame of a DICOM file is an image like any other, and so needs a name
like any other, which lists, splits, caches and messages can hold. The name is that of the file with the slice behind
it, counted from 0: ``#z`` along the third axis of a volume, or pages; ``#x`` and ``#y`` along the others. ``#band`` is
one band of a label file, counted from 1. Image and label have the same slices, since they have the same axes.

These slices are taken as they are stored: rows run along the later of the two axes that are left (along y in a ``#z``
slice), nothing is turned or mirrored. ``#axial``, ``#coronal`` and ``#sagittal`` are planes of the patient, however the
volume is stored (`orientation.py`).
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from intarsia.data.dicom import DICOM_SUFFIXES, count_frames
from intarsia.data.headers import check_size
from intarsia.data.nifti import NiftiHeader, nifti_header, open_nifti
from intarsia.data.orientation import Axis, Plane, plane_of
from intarsia.data.pages import count_pages

VOLUME_SUFFIXES = (".nii", ".nii.gz")
STACK_SUFFIXES = (".tif", ".tiff", *DICOM_SUFFIXES)

_PART = re.compile(rf"#(?:(?P<axis>{'|'.join(get_args(Axis))})(?P<index>\d{{1,7}})|band(?P<band>\d{{1,5}}))$")

_SAMPLED_SIDE = 32
"""Places along each axis of a volume, at least, of which percentiles are taken; fewer than twice as many."""

_KEPT_BYTES = 2**30
_KEPT = 64
"""Unpacked volumes that a process keeps: bytes, and number."""

_Volume = tuple[NiftiHeader, npt.NDArray[Any]]
_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What of a file is meant: the slice `index` (from 0) along `axis`; or for axis "" the band `index` (from 1)."""

    axis: Axis | Literal[""]
    index: int


def part_of(path: str | Path) -> tuple[str, Part | None]:
    """The file of a path, and what of it is meant; None where it is all of it."""
    text = str(path)
    match = _PART.search(text) if "#" in text else None
    if match is None:
        return text, None
    if match["band"]:
        return text[: match.start()], Part("", int(match["band"]))
    return text[: match.start()], Part(cast("Axis", match["axis"]), int(match["index"]))


def file_of(path: str) -> str:
    """The file in which an image lies."""
    return part_of(path)[0]


def slice_paths(path: str, axis: str, count: int) -> list[str]:
    """The names of all slices of a file, which sort in their order."""
    digits = len(str(count - 1))
    return [f"{path}#{axis}{index:0{digits}}" for index in range(count)]


def suffix_of(path: str | Path) -> str:
    """The ending of a file's name in lower case, with both of .nii.gz; slices have that of their file."""
    name = file_of(str(path)).rstrip("/").rpartition("/")[2].lower()
    if name.endswith(".nii.gz") and len(name) > len(".nii.gz"):
        return ".nii.gz"
    stem, dot, ending = name.rpartition(".")
    return dot + ending if stem and ending else ""


def stem_of(path: str | Path) -> str:
    """The name of a file without folders and ending; of slices with their number behind it: ``a_z012``."""
    file, part = part_of(str(path))
    name = PurePosixPath(file).name
    stem = name[: len(name) - len(suffix_of(name))]
    return stem if part is None else f"{stem}_{str(path)[len(file) + 1 :]}"


def without_suffix(path: str) -> str:
    """A path with what `stem_of` says in place of its name."""
    return PurePosixPath(path).with_name(stem_of(path)).as_posix()


def is_volume(path: str | Path) -> bool:
    """Whether a file is one of which only slices are images, by its name."""
    return suffix_of(path) in VOLUME_SUFFIXES


def count_slices(path: Path, axis: Axis) -> int:
    """How many slices a volume has along an axis; pages of a TIFF and frames of a DICOM file are those along z.

    Raises ValueError naming the file if it cannot be read, or if an axis is asked of pages that they do not have.
    """
    if is_volume(path):
        header = nifti_header(path)
        return header.shape[_plane(path, header, axis).along.axis]
    if axis != "z":
        raise ValueError(f"{path}: pages and frames are slices along z; along {axis} there are none")
    return count_frames(path) if suffix_of(path) in DICOM_SUFFIXES else count_pages(path)


def read_slice(path: Path, part: Part, *, max_pixels: int | None = None) -> npt.NDArray[Any]:
    """A slice (H, W, N) of a volume in the numbers that it stands for: N is 1, or what the fourth axis has.

    Raises ValueError naming the file if it cannot be read or has no such slice.
    """
    header, stored = opened(path)
    plane = _plane(path, header, cast("Axis", part.axis))
    along = plane.along.axis
    if part.index >= header.shape[along]:
        raise ValueError(
            f"{path}: there is no slice {part.index} along {part.axis} (from 0); the volume has {header.shape[along]} "
            f"(axes {' x '.join(map(str, header.shape))}): do image and label belong together?"
        )
    left = [length for number, length in enumerate(header.shape[:3]) if number != along]
    try:
        check_size(left[0], left[1], most=max_pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    index = plane.index(part.index, header.shape[along])
    values = header.values(np.array(stored[(slice(None),) * along + (index,)]))
    return np.ascontiguousarray(plane.seen(values if values.ndim == 3 else values[:, :, None]))


def _plane(path: Path, header: NiftiHeader, axis: Axis) -> Plane:
    try:
        return plane_of(axis, header.raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def whole_numbers(values: npt.NDArray[Any], path: str | Path) -> npt.NDArray[Any]:
    """Labels that a volume stores as real numbers, as integers. Raises ValueError naming the file if they are none."""
    if values.dtype.kind != "f":
        return values
    rounded = np.rint(values)
    if not np.isfinite(values).all() or (rounded != values).any() or (np.abs(rounded) >= 2**31).any():
        other = values[~np.isfinite(values) | (rounded != values) | (np.abs(rounded) >= 2**31)]
        raise ValueError(
            f"{path}: a label holds whole numbers, found {other.flat[0]:g}: it is no label, or was resampled with "
            "interpolation; resample labels to the nearest neighbour"
        )
    whole: npt.NDArray[np.int32] = rounded.astype(np.int32)
    return whole


def some_values(path: Path) -> npt.NDArray[Any]:
    """Values (n, N) from all over a volume, the same every time, of which percentiles are taken."""
    key, (header, stored) = volume_key(path), opened(path)
    if key in _values:
        return _values[key]
    steps = [max(1, length // _SAMPLED_SIDE) for length in header.shape[:3]]
    some = np.array(stored[tuple(slice(None, None, step) for step in steps)])
    found = header.values(some).reshape(-1, some.shape[3] if some.ndim == 4 else 1)
    with _lock:
        while len(_values) >= _KEPT:
            _values.pop(next(iter(_values)))
        _values[key] = found
    return found


# --- Volumes in memory --------------------------------------------------------------------------------------------

_volumes: OrderedDict[_Key, _Volume] = OrderedDict()
_values: dict[_Key, npt.NDArray[Any]] = {}
_gates: dict[_Key, threading.Lock] = {}
_lock = threading.Lock()


def opened(path: Path) -> _Volume:
    """Header and stored numbers of a volume. A packed one is unpacked once, and the last ones are kept.

    Raises ValueError as `open_nifti` does.
    """
    key = volume_key(path)
    with _lock:
        gate = _gates.setdefault(key, threading.Lock())
    with gate:  # threads that want slices of one volume wait for one of them to unpack it
        with _lock:
            if key in _volumes:
                _volumes.move_to_end(key)
                return _volumes[key]
        found = open_nifti(path)
        with _lock:
            _volumes[key] = found
            while len(_volumes) > 1 and (len(_volumes) > _KEPT or _held() > _KEPT_BYTES):
                _gates.pop(_volumes.popitem(last=False)[0], None)
        return found


def volume_key(path: Path) -> _Key:
    """What a volume is known by, so that a file that has changed is read again. Raises ValueError if there is none."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as a NIfTI volume: {error.strerror or error}") from None
    return os.path.abspath(path), state.st_mtime_ns, state.st_size


def _held() -> int:
    """Bytes of what is unpacked; what lies in its file takes none."""
    return sum(numbers.nbytes for _, numbers in _volumes.values() if not isinstance(numbers, np.memmap))
