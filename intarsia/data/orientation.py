"""How a NIfTI volume lies in the patient, and the planes of it that are looked at.

The affine of the header (sform, or else qform: https://nifti.nimh.nih.gov/nifti-1) leads from places in the volume to
millimetres to the right, to the front and to the top of the patient. Here only the nearest of the 48 ways to lie along
these directions counts: nothing is resampled. That is what nibabel calls the closest canonical orientation
(`tests/data/test_orientation.py` compares).

A plane is seen as radiologists see it: of an axial slice the patient's right is on the left and the front on top, of a
coronal one the head is on top, of a sagittal one the front is on the left.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Axis = Literal["x", "y", "z", "axial", "coronal", "sagittal"]
AXES: tuple[Axis, ...] = ("x", "y", "z")
PLANES: tuple[Axis, ...] = ("sagittal", "coronal", "axial")
"""Planes that keep away from left-right, back-front and feet-head, in this order."""

Floats = npt.NDArray[np.float64]

_FIELDS = {
    348: {"qform": (252, "h"), "sform": (254, "h"), "rows": (280, "12f"), "turn": (256, "3f"), "spacing": (76, "4f")},
    540: {"qform": (344, "i"), "sform": (348, "i"), "rows": (400, "12d"), "turn": (352, "3d"), "spacing": (104, "4d")},
}
"""Size of a header -> where in it what is needed lies: (offset, struct format)."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a plane: the axis of the volume along which it runs, and whether from its end."""

    axis: int
    backwards: bool = False


@dataclass(frozen=True, slots=True)
class Plane:
    """Which slices of a volume are taken: one after the other along `along`, each with its rows and columns."""

    along: Side
    rows: Side
    columns: Side

    def index(self, number: int, length: int) -> int:
        """Where in the volume a slice lies."""
        return length - 1 - number if self.along.backwards else number

    def seen(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A slice as the volume has it, (first axis, second axis, ...), -> as it is seen, (H, W, ...)."""
        turned = np.swapaxes(stored, 0, 1) if self.rows.axis > self.columns.axis else stored
        rows, columns = (slice(None, None, -1 if side.backwards else 1) for side in (self.rows, self.columns))
        return turned[rows, columns]

    def stored(self, seen: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The way back."""
        rows, columns = (slice(None, None, -1 if side.backwards else 1) for side in (self.rows, self.columns))
        turned = seen[rows, columns]
        return np.swapaxes(turned, 0, 1) if self.rows.axis > self.columns.axis else turned


def plane_of(axis: Axis, raw: bytes) -> Plane:
    """The plane of a volume with the header `raw`. Slices along x, y and z are as they are stored.

    Raises ValueError for a plane of the patient where the header does not say how the volume lies.
    """
    if axis in AXES:
        along = AXES.index(axis)
        columns, rows = (number for number in range(3) if number != along)
        return Plane(Side(along), Side(rows), Side(columns))
    right, front, top = orientation(raw)
    left, back = Side(right.axis, not right.backwards), Side(front.axis, not front.backwards)
    down = Side(top.axis, not top.backwards)
    if axis == "axial":
        return Plane(top, rows=back, columns=left)
    return Plane(back, rows=down, columns=left) if axis == "coronal" else Plane(left, rows=down, columns=back)


def orientation(raw: bytes) -> tuple[Side, Side, Side]:
    """The axes of a volume that run most nearly to the right, to the front and to the top of the patient.

    Raises ValueError where the header does not say it.
    """
    matrix = _matrix(raw)
    lengths = np.linalg.norm(matrix, axis=0)
    if not (np.isfinite(matrix).all() and (lengths > 0).all()):
        raise ValueError(f"{_UNKNOWN}: its affine is no way to lie; write `slices: x`, y or z")
    along = matrix / lengths
    order = max(itertools.permutations(range(3)), key=lambda order: sum(abs(along[n, a]) for n, a in enumerate(order)))
    right, front, top = (Side(axis, bool(along[number, axis] < 0)) for number, axis in enumerate(order))
    return right, front, top


def letters(raw: bytes) -> str:
    """The directions in which the axes run, as "RAS" or "LPI"; "" where the header does not say it."""
    try:
        sides = orientation(raw)
    except ValueError:
        return ""
    found = {side.axis: "RAS LPI"[number + 4 * side.backwards] for number, side in enumerate(sides)}
    return "".join(found[axis] for axis in range(3))


_UNKNOWN = "the header does not say how the volume lies in the patient"


def _matrix(raw: bytes) -> Floats:
    """The part of the affine (3, 3) that turns and scales: from steps in the volume to millimetres."""
    order: Literal["<", ">"] = "<" if struct.unpack("<i", raw[:4])[0] in _FIELDS else ">"
    fields = _FIELDS[struct.unpack(f"{order}i", raw[:4])[0]]

    def read(name: str) -> tuple[Any, ...]:
        place, form = fields[name]
        return struct.unpack_from(order + form, raw, place)

    if read("sform")[0] > 0:
        return np.array(read("rows"), np.float64).reshape(3, 4)[:, :3]
    if read("qform")[0] <= 0:
        raise ValueError(f"{_UNKNOWN} (its sform and qform are unknown); write `slices: x`, y or z")
    b, c, d = read("turn")
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    turn = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    handed, *spacing = read("spacing")
    return np.asarray(turn * np.abs(spacing) * (1, 1, -1 if handed < 0 else 1), np.float64)
