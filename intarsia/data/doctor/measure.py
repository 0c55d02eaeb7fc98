"""Looks at one image and its label, and sums up what many of them hold. No judgement here: that is `examine.py`."""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.contracts import Size
from intarsia.data.annotations.drawn import ClassValues
from intarsia.data.bands import Bands
from intarsia.data.containers import file_or_member
from intarsia.data.description.model import LabelValue
from intarsia.data.description.pairing import Pair
from intarsia.data.doctor.measure_labels import (
    LabelFacts,
    label_of_annotations,
    label_of_file,
    label_of_masks,
    value_codes,
)
from intarsia.data.doctor.measure_scenes import read_cell
from intarsia.data.doctor.near_copies import picture_hash
from intarsia.data.image_io import decode_image
from intarsia.data.image_reader import ImageReader
from intarsia.data.instance_ids import ClassOf
from intarsia.data.slices import is_volume
from intarsia.data.value_range import extent

_MOMENT_PIXELS = 2**18
_ORIENTATION = 274
_SAME_SIZE = {2: (False, True), 3: (True, True), 4: (True, False)}
"""EXIF orientations that keep the size: whether rows and columns are reversed."""

_NO_CLASSES = ClassValues({}, 255)
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

    orientation: by EXIF, 1 is upright. stored_fits: where the image is turned by it without changing its size, how much
    of its brightness the label leaves unexplained when it is laid on the picture as it is read, and as it is stored.
    dtype, low, high: of what is stored in it. names: of its bands, "" where it does not say them.
    hash: of what is seen, see `near_copies`.
    """

    mode: str
    size: Size
    channels: int
    dtype: str
    bands: Bands
    digest: bytes
    alpha: bool = False
    orientation: int = 1
    fits: tuple[float, float] | None = None
    low: float = 0.0
    high: float = 255.0
    names: tuple[str, ...] = ()
    hash: int | None = None


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
    root: Path,
    pairs: Sequence[Pair],
    *,
    workers: int,
    done: Callable[[], None],
    reader: ImageReader | None = None,
    class_values: ClassValues = _NO_CLASSES,
    class_of: ClassOf | None = None,
) -> list[Measured]:
    """Measure every pair in threads; decoding leaves Python's lock. `done` is called after each, in this thread."""
    result = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for measured in pool.map(lambda pair: measure(root, pair, reader, class_values, class_of), pairs):
            result.append(measured)
            done()
    return result


def measure(
    root: Path,
    pair: Pair,
    reader: ImageReader | None = None,
    class_values: ClassValues = _NO_CLASSES,
    class_of: ClassOf | None = None,
) -> Measured:
    """Read both files whole.

    reader: None stands for rgb, unless the file holds more than 8 bits or other bands. class_values: of the classes,
    where each has a mask of its own, or shapes. class_of: of file values that say objects besides.
    """
    if pair.window is not None:
        return _measure_window(root, pair, reader, class_values)
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
            label, result.label = _label(root, pair, pair.label, class_values, class_of)
            codes, values = value_codes(label, result.label)
        except ValueError as error:
            result.errors[pair.label] = str(error)
    if image is not None:
        usable = codes is not None and codes.shape == image.shape[:2]
        result.moments = _moments(image, codes if usable else None, values)
        if usable and codes is not None and result.image is not None and result.image.orientation in _SAME_SIZE:
            result.image.fits = _fits(image, codes, result.image.orientation)
    return result


def _measure_window(root: Path, pair: Pair, reader: ImageReader | None, class_values: ClassValues) -> Measured:
    """The cell of a window of a scene. Pixels without data count for nothing."""
    result = Measured(pair)
    assert pair.window is not None
    try:
        found = read_cell(root, pair.window, reader, class_values)
    except ValueError as error:
        result.errors[pair.window.scene] = str(error)
        return result
    stored = found.samples[found.valid]
    low, high = (0.0, 255.0) if stored.dtype == np.uint8 else extent(stored)
    mode = "RGB" if found.bands == "rgb" and stored.dtype == np.uint8 else f"{stored.dtype} x {stored.shape[-1]}"
    result.image = ImageFacts(
        mode, (found.image.shape[0], found.image.shape[1]), found.image.shape[2], str(stored.dtype), found.bands,
        pair.image.encode(), low=low, high=high, names=found.names,
    )  # fmt: skip
    codes, kinds = None, list[LabelValue]()
    if found.label is not None and found.facts is not None:
        result.label = found.facts
        if found.valid.any():
            codes, kinds = value_codes(found.label, found.facts)
        if not found.valid.all():  # pixels in a row have no neighbours to be blurred with
            found.facts.inner = {value: n for value, n in found.facts.values.items() if isinstance(value, int)}
    if found.valid.any():
        pixels = found.image if found.valid.all() else found.image[found.valid][None]
        result.moments = _moments(pixels, codes, kinds)
    return result


def _label(
    root: Path, pair: Pair, file: str, class_values: ClassValues, class_of: ClassOf | None
) -> tuple[npt.NDArray[Any], LabelFacts]:
    if pair.annotations is not None:
        return label_of_annotations(root, pair, class_values)
    if pair.masks:
        return label_of_masks(root, pair, class_values.values)
    return label_of_file(root / file, class_of)


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
    if reader is not None and reader.stack is not None:
        return _stack(path, reader)
    decoded = decode_image(path)  # before anything else opens it: a pipe or a device is refused there
    mode, alpha, orientation = _header(path)
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
        orientation if chosen == "rgb" else 1, low=low, high=high, names=decoded.file.names,
        hash=None if is_volume(path) else picture_hash(pixels),  # patients look alike
    )  # fmt: skip
    return pixels, facts


def _stack(path: Path, reader: ImageReader) -> tuple[npt.NDArray[Any], ImageFacts]:
    """Several images of one place, as they are seen together."""
    pixels = reader.read(path)
    digest = hashlib.blake2b(pixels.data, digest_size=16)
    digest.update(str(pixels.shape).encode())
    low, high = extent(pixels)
    size = (pixels.shape[0], pixels.shape[1])
    return pixels, ImageFacts(
        f"{pixels.dtype} x {pixels.shape[2]}", size, pixels.shape[2], str(pixels.dtype), reader.bands, digest.digest(),
        low=low, high=high, names=reader.spec.names, hash=picture_hash(pixels),
    )  # fmt: skip


def _header(path: Path) -> tuple[str, bool, int]:
    """Pillow's mode, "" where Pillow does not know; whether an alpha channel is not all opaque; EXIF's orientation."""
    if path.suffix.lower() == ".npy":
        return "", False, 1
    try:
        with Image.open(file_or_member(path)) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            alpha = image.mode in ("RGBA", "LA", "PA") and image.getchannel("A").getextrema()[0] != 255
            return image.mode, bool(alpha), orientation if orientation in range(1, 9) else 1
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        return "", False, 1


def _fits(image: npt.NDArray[Any], codes: npt.NDArray[np.intp], orientation: int) -> tuple[float, float]:
    """How much of the brightness the label does not explain: of the picture as it is read, and as it is stored."""
    step = max(1, math.ceil(math.sqrt(codes.size / _MOMENT_PIXELS)))
    grey = image.astype(np.float64).mean(2)
    rows, columns = _SAME_SIZE[orientation]
    total = float(grey.var()) or 1.0
    result = []
    for picture in (grey, grey[:: -1 if rows else 1, :: -1 if columns else 1]):
        values, groups = picture[::step, ::step].ravel(), codes[::step, ::step].ravel()
        counts = np.maximum(np.bincount(groups), 1)
        means = np.bincount(groups, weights=values) / counts
        result.append(float(((values - means[groups]) ** 2).mean()) / total)
    return result[0], result[1]


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


# --- Sums over many -----------------------------------------------------------------------------------------------

BySplit = Mapping[str, Sequence[Measured]]


def all_of(measured: BySplit) -> list[Measured]:
    """The pairs of all splits."""
    return [entry for entries in measured.values() for entry in entries]


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
        if entry.image is not None and entry.image.low < entry.image.high:  # slices beside the body are alike
            groups.setdefault(entry.image.digest, []).append(entry)
    yield from (group for group in groups.values() if len(group) > 1)
