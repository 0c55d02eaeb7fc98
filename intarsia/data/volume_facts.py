"""What a slice has to know of its whole volume: how large its pixels are, where the volume is not empty, and the mean
and the deviation of its values.

So nnU-Net (Isensee et al., Nature Methods 18, 2021, supplementary note 2) prepares a case: cut to the smallest box that
holds everything that is not 0 in some channel, less its mean, divided by its deviation. Where a plan says so, mean and
deviation are of what lies inside of that, with its holes filled, and what is outside stays 0.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from intarsia.data.nifti import NiftiHeader, nifti_header
from intarsia.data.orientation import Axis, plane_of
from intarsia.data.slices import Part, is_volume, opened, part_of, volume_key

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""(top, left, height, width) of a part of an image."""

_KEPT = 64
"""Volumes of which a process remembers it."""


@dataclass(frozen=True, slots=True, eq=False)
class VolumeFacts:
    """box: along each axis of the volume, (from, to) of what is not 0; of an empty volume all of it.
    inside: bits, one for each voxel of the box, as `numpy.packbits` has them: whether something is there, or around it;
    None unless it was asked for. mean, std: of each band, of the voxels of the box, or of those inside.
    """

    box: tuple[tuple[int, int], ...]
    inside: npt.NDArray[np.uint8] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


def spacing_of(path: str | Path) -> tuple[float, float] | None:
    """How far apart rows and columns of a slice lie, in millimetres; None for an image that does not say it.

    Raises ValueError naming the file if it cannot be read.
    """
    found = _volume(path)
    if found is None:
        return None
    file, part = found
    header = nifti_header(file)
    plane = plane_of(cast("Axis", part.axis), header.raw)
    rows, columns = header.spacing[plane.rows.axis], header.spacing[plane.columns.axis]
    return (rows, columns) if rows > 0 and columns > 0 else None


def content_of(path: str | Path) -> Box | None:
    """The part of a slice that lies in its volume's box of what is not 0; without rows where the slice is not in it.

    None for an image that is no slice of a volume. Raises ValueError naming the file if it cannot be read.
    """
    found = _volume(path)
    if found is None:
        return None
    file, part = found
    header = nifti_header(file)
    plane, facts = plane_of(cast("Axis", part.axis), header.raw), facts_of(file)
    first, last = facts.box[plane.along.axis]
    (top, bottom), (left, right) = (
        _seen(facts.box[side.axis], header.shape[side.axis], side.backwards) for side in (plane.rows, plane.columns)
    )
    is_in = first <= plane.index(part.index, header.shape[plane.along.axis]) < last
    return top, left, (bottom - top) * is_in, right - left


def shown_of(path: str | Path) -> tuple[tuple[int, int], float] | None:
    """Rows and columns of the box of a slice's volume, and the share of the volume that lies in it; None as above."""
    found = _volume(path)
    if found is None:
        return None
    file, part = found
    header, lengths = nifti_header(file), [last - first for first, last in facts_of(file).box]
    plane = plane_of(cast("Axis", part.axis), header.raw)
    size = lengths[plane.rows.axis], lengths[plane.columns.axis]
    return size, math.prod(lengths) / math.prod(header.shape[:3])


def inside_of(path: str | Path) -> Bools | None:
    """Where a slice (H, W) is inside of what its volume shows; None for an image that is no slice of a volume.

    Raises ValueError naming the file if it cannot be read.
    """
    found = _volume(path)
    if found is None:
        return None
    file, part = found
    header, facts = nifti_header(file), facts_of(file, masked=True)
    plane = plane_of(cast("Axis", part.axis), header.raw)
    assert facts.inside is not None
    lengths = [last - first for first, last in facts.box]
    within = np.unpackbits(facts.inside, count=int(np.prod(lengths))).view(np.bool_).reshape(lengths)
    along = plane.along.axis
    sides = [number for number in range(3) if number != along]
    whole = np.zeros([header.shape[number] for number in sides], np.bool_)
    index = plane.index(part.index, header.shape[along]) - facts.box[along][0]
    if 0 <= index < lengths[along]:
        whole[tuple(slice(*facts.box[number]) for number in sides)] = within.take(index, axis=along)
    return plane.seen(whole)


def _volume(path: str | Path) -> tuple[Path, Part] | None:
    file, part = part_of(path)
    is_slice = part is not None and bool(part.axis) and is_volume(file)
    return (Path(file), part) if is_slice and part is not None else None


def _seen(ends: tuple[int, int], length: int, backwards: bool) -> tuple[int, int]:
    return (length - ends[1], length - ends[0]) if backwards else ends


# --- Looking at a whole volume ------------------------------------------------------------------------------------

_facts: OrderedDict[tuple[object, bool], VolumeFacts] = OrderedDict()
_lock = threading.Lock()


def facts_of(file: Path, *, masked: bool = False) -> VolumeFacts:
    """The facts of a volume, which is looked at whole the first time. masked: of what is inside.

    Raises ValueError naming the file if it cannot be read.
    """
    key = (volume_key(file), masked)
    with _lock:
        if key in _facts:
            _facts.move_to_end(key)
            return _facts[key]
    found = _look(*opened(file), masked=masked)
    with _lock:
        _facts[key] = found
        while len(_facts) > _KEPT:
            _facts.popitem(last=False)
    return found


def _look(header: NiftiHeader, stored: npt.NDArray[Any], *, masked: bool) -> VolumeFacts:
    """By slices along z, since that is how a file holds them."""
    depth = header.shape[2]
    filled = [_shown(header, stored, z) for z in range(depth)]
    there = np.array([plane.any() for plane in filled])
    flat = np.any(filled, axis=0)
    lines = (flat.any(1), flat.any(0), there)
    box = tuple(_ends(line) for line in lines)
    window = tuple(slice(*ends) for ends in box)
    inside: Bools | None = None
    if masked:
        from scipy.ndimage import binary_fill_holes

        inside = np.asarray(binary_fill_holes(np.stack(filled[window[2]], axis=2)[window[:2]]), np.bool_)
    mean, std = _moments(header, stored, window, inside)
    return VolumeFacts(box, None if inside is None else np.packbits(inside), mean, std)


def _values(header: NiftiHeader, stored: npt.NDArray[Any], z: int, window: tuple[slice, ...] = ()) -> npt.NDArray[Any]:
    """(X, Y, N) of one slice along z."""
    values = header.values(np.array(stored[:, :, z][window]))
    return values if values.ndim == 3 else values[:, :, None]


def _shown(header: NiftiHeader, stored: npt.NDArray[Any], z: int) -> Bools:
    return np.asarray((_values(header, stored, z) != 0).any(axis=2))


def _ends(line: Bools) -> tuple[int, int]:
    places = np.flatnonzero(line)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, len(line))


def _moments(
    header: NiftiHeader, stored: npt.NDArray[Any], window: tuple[slice, ...], inside: Bools | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each band, in two passes, since the difference of two large sums has no digits left."""

    def slices() -> Any:
        for number, z in enumerate(range(window[2].start, window[2].stop)):
            values = _values(header, stored, z, window[:2])
            flat = values[inside[:, :, number]] if inside is not None else values.reshape(-1, values.shape[2])
            yield np.where(np.isfinite(flat), flat, np.nan).astype(np.float64)

    count: Floats = np.sum([np.isfinite(values).sum(0) for values in slices()], axis=0).clip(min=1)
    mean: Floats = np.sum([np.nansum(values, axis=0) for values in slices()], axis=0) / count
    std: Floats = np.sqrt(np.sum([np.nansum((values - mean) ** 2, axis=0) for values in slices()], axis=0) / count)
    return tuple(map(float, mean)), tuple(map(float, std))
