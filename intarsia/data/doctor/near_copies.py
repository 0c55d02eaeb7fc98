"""Pictures that are nearly the same: a perceptual hash for each, and all pairs of hashes that differ in few bits.

The hash is the DCT hash of Zauner (2010, Implementation and Benchmarking of Perceptual Image Hash Functions, section
3.2.1): the picture in grey at 32 x 32, its cosine transform, and for each of the 64 lowest frequencies whether it is
above their median. It survives compression, resizing, brightness and a little cropping, not rotation or mirroring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

BITS = 64
NEAR = 6
"""Bits that two hashes may differ in. In photos, microscopy and street scenes unrelated pictures differed in 14 at
least; copies saved as JPEG of quality 30, at half the size or with noise in 0 to 4, nearly always."""

_SIDE, _SAMPLED = 32, 256
_FLAT = 2.0 / 255
_ORDER = sorted(((v, u) for v in range(_SIDE) for u in range(_SIDE) if u + v), key=lambda at: (sum(at), at))[:BITS]
_ROWS, _COLUMNS = (np.array(indices) for indices in zip(*_ORDER, strict=True))
_CHUNK = 2**22


def picture_hash(image: npt.NDArray[Any]) -> int | None:
    """The hash of a picture (H, W, C), 64 bits; None where there is next to nothing to see, as in a blank tile."""
    rows, columns = (max(1, side // _SAMPLED) for side in image.shape[:2])
    thinned = image[::rows, ::columns]
    if thinned.shape[2] > 3:
        thinned = thinned.astype(np.float32).mean(2, keepdims=True)
    elif thinned.dtype not in (np.uint8, np.uint16, np.float32):
        thinned = thinned.astype(np.float32)
    small = cv2.resize(np.ascontiguousarray(thinned), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = np.nan_to_num(np.asarray(small, np.float32), posinf=0, neginf=0)
    grey = grey.mean(2) if grey.ndim == 3 else grey
    brightest = 255.0 if image.dtype == np.uint8 else float(np.abs(grey).max())
    if grey.std() <= _FLAT * brightest:
        return None
    found = cv2.dct(np.ascontiguousarray(grey))[_ROWS, _COLUMNS]
    return int.from_bytes(np.packbits(found > np.median(found)).tobytes(), "big")


def near_pairs(hashes: Sequence[int], most: int = NEAR) -> list[tuple[int, int, int]]:
    """(i, j, bits) of all pairs i < j of hashes that differ in `most` bits at most, in order.

    An index by bands and not a comparison of all: of `most` + 1 bands of bits, two such hashes have at least one in
    common, so that only those with the same band are compared. Hashes that are equal are compared once.
    """
    same: dict[int, list[int]] = {}
    for index, number in enumerate(hashes):
        same.setdefault(number, []).append(index)
    values = np.array(list(same), np.uint64)
    members = list(same.values())
    found = [(i, j, 0) for group in members for n, i in enumerate(group) for j in group[n + 1 :]]
    for (first, second), bits in _near_values(values, most).items():
        found += [(min(i, j), max(i, j), bits) for i in members[first] for j in members[second]]
    return sorted(found)


def _near_values(values: npt.NDArray[np.uint64], most: int) -> Mapping[tuple[int, int], int]:
    """(position, position) -> bits that differ, of different values that differ in few."""
    found: dict[tuple[int, int], int] = {}
    edges = np.linspace(0, BITS, most + 2).round().astype(int)
    for low, high in pairwise(edges):
        band = (values >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(band[order]) > 0, True]) if len(order) else np.zeros(1, int)
        for begin, end in pairwise(starts):
            _compare(values, order[begin:end], most, found)
    return found


def _compare(
    values: npt.NDArray[np.uint64], group: npt.NDArray[np.intp], most: int, found: dict[tuple[int, int], int]
) -> None:
    """Add the pairs within a group that share a band, some rows at a time."""
    own = values[group]
    step = max(1, _CHUNK // max(1, len(group)))
    for start in range(0, len(group) if len(group) > 1 else 0, step):
        bits = np.bitwise_count(own[start : start + step, None] ^ own[None, :])
        for row, column in zip(*np.nonzero(bits <= most), strict=True):
            first, second = sorted((int(group[start + row]), int(group[column])))
            if first != second:
                found[first, second] = int(bits[row, column])
