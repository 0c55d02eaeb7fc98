"""A label that is drawn as one mask for each class, merged when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.data.image_io import decode_image, read_label
from intarsia.data.slices import part_of

Overlap = Literal["error", "last", "set"]

Layer = tuple[int, npt.NDArray[np.bool_]]
"""The value of a mask, and where it is set (H, W)."""


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of one image: (value, file) in the order in which they are laid over each other.

    Where a mask is set, the merged label has its value; where none is, 0. overlap: what to do where two masks of
    different values are set: "error", or "last" to let the later one count, or "set": values are bits, and a pixel has
    those of all its masks (`label_sets`).
    """

    files: tuple[tuple[int, str], ...]
    overlap: Overlap = "error"

    def __post_init__(self) -> None:
        if not self.files or any(value < 1 for value, _ in self.files):
            raise ValueError(f"masks need a file and a value from 1 on each, found {self.files!r}")


def read_masks(root: Path, masks: Masks) -> npt.NDArray[Any]:
    """The merged label (H, W), uint8 where its values fit.

    Raises ValueError naming the files if one cannot be read or is no mask of two values, if their sizes differ, or if
    they overlap and may not.
    """
    layers = read_layers(root, masks)
    if masks.overlap == "error":
        _check_overlap(root, masks, layers)
    return united(layers) if masks.overlap == "set" else merge(layers)


def read_layers(root: Path, masks: Masks) -> list[Layer]:
    """The masks one by one. Raises ValueError as `read_masks` does, but for overlaps."""
    layers: list[Layer] = []
    bands: dict[str, npt.NDArray[Any]] = {}  # of a file with a band for each class, which is read once
    for value, name in masks.files:
        file, part = part_of(name)
        if part is None or part.axis:
            is_set = read_mask(root / name)
        else:
            if file not in bands:
                bands = {file: decode_image(root / file).samples}
            is_set = _band(bands[file], part.index, root / file)
        shape = layers[0][1].shape if layers else is_set.shape
        if is_set.shape != shape:
            raise ValueError(
                f"{root / name}: the mask has {is_set.shape[0]} x {is_set.shape[1]} pixels (height x width), "
                f"{root / masks.files[0][1]} has {shape[0]} x {shape[1]}; the masks of an image must agree"
            )
        layers.append((value, is_set))
    return layers


def _band(samples: npt.NDArray[Any], number: int, path: Path) -> npt.NDArray[np.bool_]:
    if not 1 <= number <= samples.shape[2]:
        raise ValueError(f"{path}: there is no band {number}; the file has {samples.shape[2]}")
    return _is_set(samples[:, :, number - 1], f"{path}#band{number}")


def _check_overlap(root: Path, masks: Masks, layers: Sequence[Layer]) -> None:
    for number, (value, is_set) in enumerate(layers):
        for (known, other), (_, file) in zip(layers[:number], masks.files, strict=False):
            if known != value and (count := int((is_set & other).sum())):
                raise ValueError(
                    f"{root / masks.files[number][1]}: {count} pixels are set in {file} too, and a pixel has one "
                    "class. Correct the masks, or write `overlap: last` in the split of the description: then the "
                    "later mask counts"
                )


def merge(layers: Sequence[Layer]) -> npt.NDArray[Any]:
    """One label map (H, W) of one or more masks; the later counts where two are set."""
    merged = np.zeros(layers[0][1].shape, np.min_scalar_type(max(value for value, _ in layers)))
    for value, is_set in layers:
        merged[is_set] = value
    return merged


def united(layers: Sequence[Layer]) -> npt.NDArray[Any]:
    """One map (H, W) of masks whose values are bits: those of all masks that are set."""
    merged = np.zeros(layers[0][1].shape, np.min_scalar_type(max(value for value, _ in layers)))
    for value, is_set in layers:
        merged[is_set] |= merged.dtype.type(value)
    return merged


def overlapping(layers: Sequence[Layer]) -> int:
    """Pixels that are set in masks of different values."""
    count = np.zeros(layers[0][1].shape, np.uint16)
    for value in dict(layers):
        count += np.any([is_set for known, is_set in layers if known == value], axis=0)
    return int((count > 1).sum())


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Where a mask file is set: where it is not 0 (black). Raises ValueError if it holds more than two values."""
    array = read_label(path)
    if array.ndim == 3:
        wide = array.astype(np.int32)
        array = wide[:, :, 0] << 16 | wide[:, :, 1] << 8 | wide[:, :, 2]
    return _is_set(array, path)


def _is_set(array: npt.NDArray[Any], path: str | Path) -> npt.NDArray[np.bool_]:
    is_set = np.asarray(array != 0)
    values = array[is_set]
    if values.size and (values != values[0]).any():
        raise ValueError(
            f"{path}: a mask of one class holds two values, 0 and another, found {len(np.unique(array))}; save it as "
            "PNG without smoothing"
        )
    return is_set
