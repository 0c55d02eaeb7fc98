"""How a label table is applied to an array: by a sum, by a table of 256 entries, or by a search among its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer[Any]]
_AT_ONCE = 1 << 18  # comparisons of values with listed ones


@dataclass(frozen=True, eq=False)
class Lookup:
    """Sorted keys with their targets; and for 8-bit input a direct table, in which `stranger` marks unlisted values.

    moved: where the same is added to all values of 0 to n - 1, modulo 256, and one more may be listed: n, what is
    added, the other value (or n - 1) and its target.
    """

    keys: npt.NDArray[np.int64]
    targets: Labels
    direct: Labels
    stranger: int
    moved: tuple[int, int, int, int] | None

    @classmethod
    def of(cls, table: Mapping[int, int], ignore_index: int) -> Lookup:
        """Of the values of files and their targets. Raises ValueError for what are no integers."""
        for key, target in table.items():
            if not isinstance(key, (int, np.integer)) or not isinstance(target, (int, np.integer)):
                raise ValueError(f"label table: {key!r}: {target!r} is not a pair of integers")
        used = {ignore_index, *table.values()}
        stranger = next(value for value in range(len(used) + 1) if value not in used)
        keys = np.array(sorted(table), dtype=np.int64)
        targets = np.array([table[int(key)] for key in keys], dtype=np.min_scalar_type(max(used)))
        direct = np.full(256, stranger, dtype=np.min_scalar_type(max(stranger, *used)))
        small = (keys >= 0) & (keys < 256)
        direct[keys[small]] = targets[small]
        return cls(keys, targets, direct, stranger, _moved(keys, targets))

    def apply(self, codes: Labels) -> tuple[Labels, npt.NDArray[np.bool_] | None]:
        """The mapped codes as a new array, and where they are meaningless because unlisted (None: nowhere)."""
        if codes.dtype == np.uint8 and codes.size:
            quick = self._by_sum(codes)
            if quick is not None:
                return quick, None
            looked: npt.NDArray[Any] = (
                cv2.LUT(codes, self.direct) if self.direct.dtype == np.uint8 else self.direct[codes]
            )
            unknown = np.asarray(looked == self.stranger)
            mapped: Labels = looked.astype(self.targets.dtype, copy=False)
        else:
            position = np.searchsorted(self.keys, codes).clip(max=len(self.keys) - 1)
            mapped = self.targets[position]
            unknown = np.asarray(self.keys[position] != codes)
        return mapped, unknown if unknown.any() else None

    def _by_sum(self, codes: Labels) -> Labels | None:
        """Codes of 8 bits by one sum, in a tenth to a half of the time of a table; None where that is not enough."""
        if self.moved is None:
            return None
        count, added, other, target = self.moved
        has_others = codes.max() >= count
        if has_others and ((codes >= count) & (codes != other)).any():
            return None
        found = np.add(codes, np.uint8(added), order="C")
        if has_others:
            np.copyto(found, np.uint8(target), where=codes == other)
        return found

    def apply_near(
        self,
        codes: Labels,
        mapped: Labels,
        unknown: npt.NDArray[np.bool_],
        tolerance: int,
        coloured: bool,
    ) -> npt.NDArray[np.bool_] | None:
        """Fills in `mapped` where an unlisted code is near a listed one. Gives what remains unknown (None: nothing)."""
        found, inverse = np.unique(codes[unknown], return_inverse=True)
        targets = np.zeros(len(found), self.targets.dtype)
        is_near = np.zeros(len(found), bool)
        keys = _channels(self.keys) if coloured else self.keys[:, None]
        step = max(1, _AT_ONCE // len(keys))  # a photograph for a label has a million colours
        for start in range(0, len(found), step):
            part = found[start : start + step].astype(np.int64)
            apart = np.abs((_channels(part) if coloured else part[:, None])[:, None] - keys[None])
            best = np.argmin(apart.max(2) * 1000 + apart.sum(2), axis=1)
            is_near[start : start + step] = apart.max(2)[np.arange(len(part)), best] <= tolerance
            targets[start : start + step] = self.targets[best]
        inverse = inverse.reshape(-1)
        mapped[unknown] = np.where(is_near[inverse], targets[inverse], mapped[unknown])
        left = unknown.copy()
        left[unknown] = ~is_near[inverse]
        return left if left.any() else None


def _moved(keys: npt.NDArray[np.int64], targets: Labels) -> tuple[int, int, int, int] | None:
    """`Lookup.moved` of sorted keys."""
    count = len(keys) - 1
    if count < 1 or keys[0] != 0 or keys[count - 1] != count - 1 or keys[count] > 255 or targets.dtype != np.uint8:
        return None
    added = targets[:count].astype(np.int64) - keys[:count]
    if ((added - added[0]) % 256).any():
        return None
    return count, int(added[0]) % 256, int(keys[count]), int(targets[count])


def _channels(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) packed colours as (n, 3)."""
    return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255], axis=1)
