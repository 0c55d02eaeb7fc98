"""Whom a DICOM file shows, by its header: patient, study and series, and where in the series it lies.

Source: DICOM PS3.3 (C.7.1.1 patient, C.7.2.1 study, C.7.3.1 series, C.7.6.2 the place of a plane).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.data.dicom import dicom_header

_TAGS = (
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a header says; "" and None for what it does not.

    place: in millimetres along the normal of the planes. number: of the image in its series.
    """

    patient: str = ""
    study: str = ""
    series: str = ""
    place: float | None = None
    number: int | None = None


_known: dict[tuple[str, int, int], Identity] = {}
"""(file, when it changed, its size) -> what it says: the files of a split are listed several times in a run."""


def identity_of(path: Path) -> Identity:
    """What the header of a file says, read once in a process; nothing of a file that cannot be read as DICOM."""
    try:
        state = os.stat(path)
        key = (os.path.abspath(path), state.st_mtime_ns, state.st_size)
        if key not in _known:
            _known[key] = _read(path)
    except (OSError, ValueError):  # said by whoever reads the image
        return Identity()
    return _known[key]


def _read(path: Path) -> Identity:
    header = dicom_header(path, only=_TAGS)
    patient, study, series = (
        str(header.get(name) or "").strip() for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    number = _numbers(header.get("InstanceNumber"), 1)
    return Identity(patient, study, series, _place(header), None if number is None else int(number[0]))


def _place(header: Any) -> float | None:
    """Where the plane lies along its normal."""
    position = _numbers(header.get("ImagePositionPatient"), 3)
    axes = _numbers(header.get("ImageOrientationPatient"), 6)
    if position is None or axes is None:
        return None
    return float(np.cross(axes[:3], axes[3:]) @ np.array(position))


def _numbers(value: Any, count: int) -> list[float] | None:
    try:
        found = [float(one) for one in (value if count > 1 else (value,))]
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None
