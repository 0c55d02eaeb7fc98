"""Looks at one image and its label, and sums up what many of them hold. No judgement here: that is `examine.py`."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.contracts import Size
from intarsia.data.bands import Bands
from intarsia.data.description.model import LabelValue
from intarsia.data.description.pairing import Pair
from intarsia.data.image_io import decode_image, read_label
from intarsia.data.image_reader import ImageReader
from intarsia.data.labels import Colour
from intarsia.data.value_range import extent

MOST_COLOURS = 256
MOST_NUMBERS = 65536
"""Distinct values of one label file that are told apart; a file with more is no label picture."""

_MOMENT_PIXELS = 2**18
_HIGH = 200
_COLOUR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sums and sums of squares per channel of some pixels, in float64."""

    count: int
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]


@dataclass(slots=True)
class ImageFacts:
    """One image file. mode: Pillow's, or its type and bands. digest: of the pixels. alpha: not opaque everywhere.

    dtype, low, high: of what is stored in it. names: of its bands, "" where it does not say them.
    """

    mode: str
    size: Size
    channels: int
    dtype: str
    bands: Bands
    digest: bytes
    alpha: bool = False
    low: float = 0.0
    high: float = 255.0
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class LabelFacts:
    """One label file. values: pixels of each value; `many`: there were too many to tell apart, the rarest are left out.

    inner: pixels of each value whose right and lower neighbours have the same, counted where labels may be blurred.
    palette: colours of a palette file, by index. grey: a colour file whose three channels agree, read as one.
    """

    mode: str
    size: Size
    dtype: str
    values: dict[LabelValue, int]
    many: bool = False
    inner: dict[int, int] = field(default_factory=dict)
    palette: tuple[Colour, ...] | None = None
    grey: bool = False


@dataclass(slots=True)
class Measured:
    """What one pair holds. errors: what could not be read, as messages that name the file.

    moments: of the image's pixels, by the value of the label there (None where there is no usable label).
    """

    pair: Pair
    image: ImageFacts | None = None
    label: LabelFacts | None = None
    errors: dict[str, str] = field(default_factory=dict)
    moments: dict[LabelValue | None, Moments] = field(default_factory=dict)


def measure_all(
    root: Path, pairs: Sequence[Pair], *, workers: int, done: Callable[[], None], reader: ImageReader | None = None
) -> list[Measured]:
    """Measure every pair in threads; decoding leaves Python's lock. `done` is called after each, in this thread."""
    result = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for measured in pool.map(lambda pair: measure(root, pair, reader), pairs):
            result.append(measured)
            done()
    return result


def measure(root: Path, pair: Pair, reader: ImageReader | None = None) -> Measured:
    """Read both files whole. `reader` None: as rgb, unless the file holds more than 8 bits or other bands."""
    result = Measured(pair)
    image = label = None
    try:
        image, result.image = _image(root / pair.image, reader)
    except ValueError as error:
        result.errors[pair.image] = str(error)
    codes: npt.NDArray[np.intp] | None = None
    values: list[LabelValue] = []
    if pair.label is not None:
        try:
            label, result.label = _label(root / pair.label)
            codes, values = _codes(label, result.label)
        except ValueError as error:
            result.errors[pair.label] = str(error)
    if image is not None:
        usable = codes is not None and codes.shape == image.shape[:2]
        result.moments = _moments(image, codes if usable else None, values)
    return result


def combine(moments: Iterable[Moments]) -> Moments | None:
    """The moments of all pixels together, or None of nothing or of differing channel counts."""
    found = list(moments)
    if not found or len({entry.sums.shape for entry in found}) > 1:
        return None
    sums = np.sum([entry.sums for entry in found], axis=0)
    squares = np.sum([entry.squares for entry in found], axis=0)
    return Moments(sum(entry.count for entry in found), sums, squares)


def mean_and_std(moments: Moments | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per channel, or None without pixels."""
    if moments is None or moments.count == 0:
        return None
    mean = moments.sums / moments.count
    variance = np.maximum(moments.squares / moments.count - mean**2, 0.0)
    return tuple(float(value) for value in mean), tuple(float(value) for value in np.sqrt(variance))


# --- Images -------------------------------------------------------------------------------------------------------


def _image(path: Path, reader: ImageReader | None) -> tuple[npt.NDArray[Any], ImageFacts]:
    mode, alpha = _mode_of(path)
    decoded = decode_image(path)
    stored = decoded.samples
    if reader is not None:
        chosen, pixels = reader.bands, reader.convert(decoded)
    elif mode in _COLOUR_MODES and stored.dtype == np.uint8:
        chosen, pixels = "rgb", decoded.rgb()
    else:  # also of what Pillow opens as colours of 8 bits although there are 16
        chosen, pixels = "raw", stored
    mode = mode if stored.dtype == np.uint8 and mode else f"{stored.dtype} x {stored.shape[2]}"
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(str(pixels.shape).encode())
    low, high = (0.0, 255.0) if stored.dtype == np.uint8 else extent(stored)
    facts = ImageFacts(
        mode, (pixels.shape[0], pixels.shape[1]), pixels.shape[2], str(stored.dtype), chosen, digest.digest(), alpha,
        low, high, decoded.file.names,
    )  # fmt: skip
    return pixels, facts


def _mode_of(path: Path) -> tuple[str, bool]:
    """Pillow's mode from the header, "" where Pillow does not know; and whether an alpha channel is not all opaque."""
    if path.suffix.lower() == ".npy":
        return "", False
    try:
        with Image.open(path) as image:
            alpha = image.mode in ("RGBA", "LA", "PA") and image.getchannel("A").getextrema()[0] != 255
            return image.mode, bool(alpha)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "", False


def _moments(
    image: npt.NDArray[Any], codes: npt.NDArray[np.intp] | None, values: Sequence[LabelValue]
) -> dict[LabelValue | None, Moments]:
    """Moments of the pixels under each label value. Large images are thinned to a regular grid."""
    step = max(1, math.ceil(math.sqrt(image.shape[0] * image.shape[1] / _MOMENT_PIXELS)))
    pixels = image[::step, ::step].reshape(-1, image.shape[2])
    groups = np.zeros(len(pixels), dtype=np.intp) if codes is None else codes[::step, ::step].ravel()
    kinds: Sequence[LabelValue | None] = [None] if codes is None else values
    counts = np.bincount(groups, minlength=len(kinds))
    sums = np.empty((len(kinds), pixels.shape[1]))
    squares = np.empty_like(sums)
    levels = np.arange(256, dtype=np.float64)
    for channel in range(pixels.shape[1]):
        band = pixels[:, channel]
        if band.dtype == np.uint8:
            histogram = np.bincount(groups * 256 + band, minlength=256 * len(kinds)).reshape(len(kinds), 256)
            sums[:, channel], squares[:, channel] = histogram @ levels, histogram @ levels**2
        else:
            exact = np.nan_to_num(band.astype(np.float64))
            sums[:, channel] = np.bincount(groups, weights=exact, minlength=len(kinds))
            squares[:, channel] = np.bincount(groups, weights=exact**2, minlength=len(kinds))
    present = [index for index in range(len(kinds)) if counts[index]]
    return {kinds[index]: Moments(int(counts[index]), sums[index], squares[index]) for index in present}


# --- Labels -------------------------------------------------------------------------------------------------------


def _label(path: Path) -> tuple[npt.NDArray[Any], LabelFacts]:
    array = read_label(path)
    mode, palette = str(array.dtype), None
    if path.suffix.lower() != ".npy":
        with Image.open(path) as image:  # the header again: `read_label` has shown that it is whole
            mode = image.mode
            flat = image.getpalette("RGB") if mode in ("P", "PA") else None
        if flat:
            palette = tuple((flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) - 2, 3))
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
    return array, LabelFacts(mode, size, str(array.dtype), {}, palette=palette, grey=grey)


def _codes(array: npt.NDArray[Any], facts: LabelFacts) -> tuple[npt.NDArray[np.intp] | None, list[LabelValue]]:
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


def _inner(array: npt.NDArray[np.uint8]) -> dict[int, int]:
    """Pixels inside flat areas by value: the greys of a blurred edge have hardly any."""
    corner = array[:-1, :-1]
    flat = corner[(corner == array[1:, :-1]) & (corner == array[:-1, 1:])]
    counts = np.bincount(flat, minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _unpacked(code: int) -> Colour:
    return code >> 16 & 255, code >> 8 & 255, code & 255


def unify(measured: Sequence[Measured]) -> None:
    """Read grey colour files as colours where others of the set hold real ones: black is (0, 0, 0) there, not 0."""
    labels = [entry.label for entry in measured if entry.label is not None]
    if not any(isinstance(value, tuple) for label in labels for value in label.values):
        return
    for entry in measured:
        if entry.label is not None and entry.label.grey:
            entry.label.values = {_grey(value): count for value, count in entry.label.values.items()}
            entry.moments = {None if value is None else _grey(value): sums for value, sums in entry.moments.items()}


def _grey(value: LabelValue) -> LabelValue:
    return (value, value, value) if isinstance(value, int) else value


# --- Sums over many -----------------------------------------------------------------------------------------------


def count_values(measured: Iterable[Measured]) -> Counter[LabelValue]:
    """Pixels of every file value."""
    total: Counter[LabelValue] = Counter()
    for entry in measured:
        if entry.label is not None:
            total.update(entry.label.values)
    return total


def count_inner(measured: Iterable[Measured]) -> Counter[int]:
    """Pixels inside flat areas of every number."""
    total: Counter[int] = Counter()
    for entry in measured:
        if entry.label is not None:
            total.update(entry.label.inner)
    return total


def count_images(measured: Iterable[Measured]) -> Counter[LabelValue]:
    """Images in which every file value occurs."""
    return Counter(value for entry in measured if entry.label is not None for value in entry.label.values)


def duplicates(measured: Sequence[Measured]) -> Iterator[list[Measured]]:
    """Groups of images with the same pixels."""
    groups: dict[bytes, list[Measured]] = {}
    for entry in measured:
        if entry.image is not None:
            groups.setdefault(entry.image.digest, []).append(entry)
    yield from (group for group in groups.values() if len(group) > 1)
