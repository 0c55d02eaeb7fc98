"""A label that is drawn as one mask for each class, merged when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.data.image_io import read_label

Overlap = Literal["error", "last"]


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of one image: (value, file) in the order in which they are laid over each other.

    Where a mask is set, the merged label has its value; where none is, 0. overlap: what to do where two masks of
    different values are set: "error", or "last" to let the later one count.
    """

    files: tuple[tuple[int, str], ...]
    overlap: Overlap = "error"

    def __post_init__(self) -> None:
        if not self.files or any(value < 1 for value, _ in self.files):
            raise ValueError(f"masks need a file and a value from 1 on each, found {self.files!r}")

    def __str__(self) -> str:
        return " + ".join(file for _, file in self.files)


def read_masks(root: Path, masks: Masks) -> npt.NDArray[Any]:
    """The merged label (H, W), uint8 where its values fit.

    Raises ValueError naming the files if one cannot be read or is no mask of two values, if their sizes differ, or if
    they overlap and may not.
    """
    merged: npt.NDArray[Any] | None = None
    seen: list[tuple[int, str]] = []
    for value, file in masks.files:
        is_set = read_mask(root / file)
        if merged is None:
            merged = np.zeros(is_set.shape, np.min_scalar_type(max(number for number, _ in masks.files)))
        if merged.shape != is_set.shape:
            raise ValueError(
                f"{root / file}: the mask has {is_set.shape[0]} x {is_set.shape[1]} pixels (height x width), "
                f"{root / masks.files[0][1]} has {merged.shape[0]} x {merged.shape[1]}; masks of one image must agree"
            )
        if masks.overlap == "error":
            _check_overlap(root, merged, is_set, (value, file), seen)
        merged[is_set] = value
        seen.append((value, file))
    assert merged is not None
    return merged


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Where a mask file is set: where it is not 0 (black). Raises ValueError if it holds more than two values."""
    array = read_label(path)
    if array.ndim == 3:
        wide = array.astype(np.int32)
        array = wide[:, :, 0] << 16 | wide[:, :, 1] << 8 | wide[:, :, 2]
    is_set = np.asarray(array != 0)
    values = array[is_set]
    if values.size and (values != values[0]).any():
        count = len(np.unique(array))
        raise ValueError(f"{path}: a mask of one class holds two values, 0 and another, found {count}")
    return is_set


def overlap_of(masks: Sequence[npt.NDArray[np.bool_]]) -> int:
    """Pixels that are set in more than one mask."""
    return int((np.sum([mask.astype(np.uint16) for mask in masks], axis=0) > 1).sum()) if masks else 0


def _check_overlap(
    root: Path,
    merged: npt.NDArray[Any],
    is_set: npt.NDArray[np.bool_],
    own: tuple[int, str],
    seen: Sequence[tuple[int, str]],
) -> None:
    value, file = own
    both = is_set & (merged != 0) & (merged != value)
    if both.any():
        other = int(merged[both][0])
        first = next(name for number, name in seen if number == other)
        raise ValueError(
            f"{root / file}: {int(both.sum())} pixels are set in {first} too, and a pixel has one class. Correct the "
            "masks, or write `overlap: last` in the split of the description: then the later mask counts"
        )
