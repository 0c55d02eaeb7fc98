"""Looks at one label file: its values with their pixels, and what the file says besides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.contracts import Size
from intarsia.data.annotations.drawn import ClassValues, Drawn, draw_label
from intarsia.data.containers import file_or_member, packed_sample
from intarsia.data.description.model import LabelValue
from intarsia.data.description.pairing import Pair
from intarsia.data.dicom import DICOM_SUFFIXES
from intarsia.data.image_io import read_label
from intarsia.data.instance_ids import ClassOf
from intarsia.data.labels import Colour
from intarsia.data.masks import Masks, merge, overlapping, read_layers, united
from intarsia.data.slices import part_of, whole_numbers

MOST_COLOURS = 256
MOST_NUMBERS = 65536
"""Distinct values of one label file that are told apart; a file with more is no label picture."""

_HIGH = 200
_OPAQUE = 128
_GDAL_NODATA = 42113
_LARGEST_SIDECAR = 2**20


@dataclass(slots=True)
class LabelFacts:
    """One label file. values: pixels of each value; `many`: there were too many to tell apart, the rarest are left out.

    inner: pixels of each value whose right and lower neighbours have the same, counted where labels may be blurred.
    flat: share of the pixels beside the most frequent value whose right and lower neighbours are the same.
    palette: colours of a palette file, by index. grey: a colour file whose three channels agree, read as one.
    nodata: the value that the file itself declares as no data. transparent: pixels that an alpha channel hides, if the
    values under it occur in others, too. overlap: pixels in more than one of several masks. shapes: how many a
    drawn label has, None for files; passed_over: what of its annotations has no area, in words.
    """

    mode: str
    size: Size
    dtype: str
    values: dict[LabelValue, int]
    many: bool = False
    inner: dict[int, int] = field(default_factory=dict)
    flat: float = 1.0
    palette: tuple[Colour, ...] | None = None
    grey: bool = False
    nodata: int | None = None
    transparent: int = 0
    overlap: int = 0
    shapes: int | None = None
    passed_over: tuple[str, ...] = ()


def label_of_masks(root: Path, pair: Pair, values: Mapping[str, int]) -> tuple[npt.NDArray[Any], LabelFacts]:
    """The label that masks of the classes make together."""
    layers = read_layers(root, Masks(tuple((values[name], file) for name, file in pair.masks)))
    merged = united(layers) if pair.overlap == "set" else merge(layers)
    overlap = 0 if pair.overlap == "set" else overlapping(layers)
    return merged, LabelFacts("masks", (merged.shape[0], merged.shape[1]), str(merged.dtype), {}, overlap=overlap)


def label_of_annotations(root: Path, pair: Pair, classes: ClassValues) -> tuple[npt.NDArray[Any], LabelFacts]:
    """The label that is drawn from the annotations of a tool."""
    assert pair.annotations is not None
    assert pair.label is not None
    drawn = draw_label(root, Drawn(pair.annotations, pair.label, pair.image, pair.key, classes))
    label = drawn.label
    size = (label.shape[0], label.shape[1])
    facts = LabelFacts("shapes", size, str(label.dtype), {}, shapes=drawn.shapes, passed_over=drawn.passed_over)
    return label, facts


def label_of_file(path: Path, class_of: ClassOf | None = None) -> tuple[npt.NDArray[Any], LabelFacts]:
    """What a label file stores, (H, W) or (H, W, 3), and what else is in it; values are filled in by `value_codes`.

    Raises ValueError naming the file if it cannot be read or holds neither whole numbers nor colours.
    """
    array = read_label(path) if class_of is None else class_of.apply(read_label(path))
    mode, palette, nodata, hidden = str(array.dtype), None, None, None
    is_file = packed_sample(path) is None and part_of(path)[1] is None
    if is_file and path.suffix.lower() not in (".npy", *DICOM_SUFFIXES):
        with Image.open(file_or_member(path)) as image:  # the header again: `read_label` has shown that it is whole
            mode = image.mode
            flat = image.getpalette("RGB") if mode in ("P", "PA") else None
            nodata = _nodata(image, path)
            if mode in ("RGBA", "LA", "PA") and (alpha := np.asarray(image.getchannel("A")) < _OPAQUE).any():
                hidden = alpha
        if flat:
            palette = tuple((flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) - 2, 3))
    array = whole_numbers(array, path)
    if array.dtype.kind not in "biu":
        raise ValueError(f"{path}: a label must hold whole numbers or colours, found {array.dtype} ({mode})")
    if array.ndim == 3 and array.shape[2] != 3:
        raise ValueError(f"{path}: a label must have one channel or three (colours), found {array.shape[2]}")
    grey = array.ndim == 3 and bool(
        (array[:, :, 0] == array[:, :, 1]).all() and (array[:, :, 0] == array[:, :, 2]).all()
    )
    if grey:
        array = array[:, :, 0]
    size = (array.shape[0], array.shape[1])
    facts = LabelFacts(mode, size, str(array.dtype), {}, palette=palette, grey=grey, nodata=nodata)
    if hidden is not None and hidden.shape == size:
        under = np.unique(array[hidden].reshape(int(hidden.sum()), -1), axis=0)
        beside = np.unique(array[~hidden].reshape(int((~hidden).sum()), -1), axis=0)
        is_shared = any((beside == value).all(1).any() for value in under[:MOST_COLOURS])
        facts.transparent = int(hidden.sum()) if len(under) > 1 or is_shared or not len(beside) else 0
    return array, facts


def _nodata(image: Image.Image, path: Path) -> int | None:
    """The value that GDAL's tag of a TIFF, or its file beside any image, declares as no data."""
    text = str(getattr(image, "tag_v2", {}).get(_GDAL_NODATA, ""))
    beside = path.with_name(f"{path.name}.aux.xml")
    if not text and beside.is_file() and beside.stat().st_size < _LARGEST_SIDECAR:
        found = re.search(rb"<NoDataValue[^>]*>([^<]{1,40})<", beside.read_bytes())
        text = found[1].decode("ascii", "replace") if found is not None else ""
    try:
        number = float(text.strip("\0 "))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def value_codes(array: npt.NDArray[Any], facts: LabelFacts) -> tuple[npt.NDArray[np.intp] | None, list[LabelValue]]:
    """The position of each pixel's value in the list of distinct ones; fills in `facts.values`."""
    if array.ndim == 3:
        wide = array.astype(np.int32)
        array = wide[:, :, 0] << 16 | wide[:, :, 1] << 8 | wide[:, :, 2]
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)  # not a view: Pillow's True is the byte 255
    found, counts = _distinct(array)
    colours = facts.mode in ("RGB", "RGBA", "CMYK", "YCbCr") and not facts.grey
    values: list[LabelValue] = [_unpacked(int(code)) if colours else int(code) for code in found]
    most = MOST_COLOURS if colours else MOST_NUMBERS
    facts.flat = _flat(array, found[int(np.argmax(counts))])
    if len(found) > most:
        facts.many = True
        common = np.argsort(-counts, kind="stable")[:most]
        facts.values = {values[index]: int(counts[index]) for index in sorted(common)}
        return None, []
    facts.values = {value: int(count) for value, count in zip(values, counts, strict=True)}
    if array.dtype == np.uint8:
        if len(found) >= 4 and found[-1] >= _HIGH:
            facts.inner = _inner(array)
        position = np.zeros(256, dtype=np.intp)
        position[found] = np.arange(len(found))
        return position[array], values
    return np.searchsorted(found, array), values


def _distinct(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct values, ascending, and their counts; without sorting the pixels where values are few or small."""
    if array.dtype == np.uint8:
        counts = np.bincount(array.ravel(), minlength=256)
        found = np.flatnonzero(counts)
        return found, counts[found]
    rest = array.ravel()
    pieces: dict[int, int] = {}
    while rest.size and len(pieces) < 32:
        value = rest[0]
        same = rest == value
        pieces[int(value)] = int(np.count_nonzero(same))
        rest = rest[~same]
    others, counts = np.unique(rest, return_counts=True)
    pieces.update(zip((int(value) for value in others), (int(count) for count in counts), strict=True))
    found = np.array(sorted(pieces), dtype=np.int64)
    return found, np.array([pieces[int(value)] for value in found], dtype=np.int64)


def _flat(array: npt.NDArray[Any], most_frequent: int) -> float:
    """See `LabelFacts.flat`."""
    corner = array[:-1, :-1]
    others = corner != most_frequent
    count = int(np.count_nonzero(others))
    same = others & (corner == array[1:, :-1]) & (corner == array[:-1, 1:])
    return int(np.count_nonzero(same)) / count if count else 1.0


def _inner(array: npt.NDArray[np.uint8]) -> dict[int, int]:
    """Pixels inside flat areas by value: the greys of a blurred edge have hardly any."""
    corner = array[:-1, :-1]
    flat = corner[(corner == array[1:, :-1]) & (corner == array[:-1, 1:])]
    counts = np.bincount(flat, minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _unpacked(code: int) -> Colour:
    return code >> 16 & 255, code >> 8 & 255, code & 255
