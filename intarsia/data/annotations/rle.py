"""Masks as run lengths: COCO's, down the columns, as numbers or as text; and CVAT's, along the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size

_LONGEST = 2**26
"""Characters or numbers of one mask."""


def counts_of_text(text: str) -> npt.NDArray[np.int64]:
    """COCO's compressed counts: digits of five bits, the lowest first, from the fourth number on as differences.

    Raises ValueError for what is no such text.
    """
    try:
        digits = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        digits = np.array([-1])
    if len(digits) > _LONGEST or (len(digits) and (digits.min() < 0 or digits.max() > 63 or digits[-1] & 32)):
        raise ValueError("its run lengths are damaged: expected the compressed text of COCO")
    if not len(digits):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 12:
        raise ValueError("its run lengths are damaged: one has more than 60 bits")
    places = np.arange(len(digits)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((digits & 31) << (5 * places), starts)
    numbers -= np.where(digits[ends] & 16, 1 << (5 * lengths), 0)  # the highest digit has the sign
    if np.abs(numbers).max() > 2**40:
        raise ValueError("its run lengths are damaged: one is longer than any image")
    result = numbers.copy()
    result[1:3] = numbers[1:3]
    for parity in (1, 2):  # each is a difference to the last but one
        result[parity::2] = np.cumsum(numbers[parity::2])
    return result


def mask_of_counts(counts: Any, size: Size, *, by_column: bool) -> npt.NDArray[np.bool_]:
    """The mask (H, W) of run lengths of background and mask in turn.

    Raises ValueError if they are no such numbers, or if they make more or fewer pixels than the mask has.
    """
    if isinstance(counts, Sequence) and len(counts) > _LONGEST:
        raise ValueError(f"it has {len(counts):,} run lengths; at most {_LONGEST:,} are read")
    try:
        runs = np.asarray(counts)
    except (ValueError, OverflowError):
        runs = np.zeros((0, 0))
    if runs.size == 0 and runs.ndim == 1:
        runs = runs.astype(np.int64)
    if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any():
        raise ValueError("expected run lengths as whole numbers from 0 on")
    total = size[0] * size[1]
    if runs.size and (runs > total).any():
        raise ValueError(f"a run of {int(runs.max()):,} pixels is longer than the mask of {size[1]} x {size[0]}")
    if int(runs.sum()) != total:
        raise ValueError(
            f"its run lengths make {int(runs.sum()):,} pixels, but {size[1]} x {size[0]} (width x height) are {total:,}"
        )
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[1], size[0]).T if by_column else flat.reshape(size)
