"""Cropping, flipping, padding: whatever moves pixels without mixing them. Resizing is in `transforms/resize.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample, SampleMeta, Size
from intarsia.data.labels import is_varied, value_counts
from intarsia.data.rows import RowArray, rows_of
from intarsia.data.transforms.resize import Resizing, fast_chooser, map_interpolation, nearest_window
from intarsia.data.transforms.resize_window import fast_window, resized_window

Direction = Literal["horizontal", "vertical", "diagonal"]
Corner = tuple[int, int]
Array = npt.NDArray[Any]

_ATTEMPTS = 10
_FLIP_CODES = {"horizontal": 1, "vertical": 0, "diagonal": -1}
_FLIP_STEPS: dict[str, tuple[Literal["horizontal", "vertical"], ...]] = {
    "horizontal": ("horizontal",),
    "vertical": ("vertical",),
    "diagonal": ("horizontal", "vertical"),
}
_CV2_FLIPS = (np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64)
_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


@dataclass(frozen=True)
class RandomCrop:
    """Cut out a window at a random place. An image smaller than the window is kept whole in that direction.

    crop_size: (height, width), or one number for both.
    cat_max_ratio: with less than 1, a place is drawn again, up to ten times, until the window shows at least two
        classes and none covers this share of its labelled pixels; the last draw is taken as it is.
    ignore_index: the label value that counts as no class.
    rare: label values that windows are drawn around, where an image shows one: with the probability `rare_prob` the
        window holds a pixel, drawn from those of one of these values, each as likely as the others.

    The window of a sample that was drawn for a class (`SampleMeta.wanted`) holds a pixel of it, whatever is said here.
    """

    reads_rows: ClassVar[bool] = True

    crop_size: int | tuple[int, int]
    cat_max_ratio: float = 1.0
    ignore_index: int = IGNORE_INDEX
    rare: Sequence[int] = ()
    rare_prob: float = 0.5

    def __post_init__(self) -> None:
        size = (self.crop_size, self.crop_size) if isinstance(self.crop_size, int) else tuple(self.crop_size)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"RandomCrop: crop_size must be (height, width) of at least one, got {self.crop_size!r}")
        if not 0 < self.cat_max_ratio <= 1:
            raise ValueError(f"RandomCrop: cat_max_ratio must be in (0, 1], got {self.cat_max_ratio!r}")
        if not 0 <= self.rare_prob <= 1:
            raise ValueError(f"RandomCrop: rare_prob must be a probability, 0 to 1, got {self.rare_prob!r}")
        object.__setattr__(self, "crop_size", size)
        object.__setattr__(self, "rare", tuple(self.rare))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The window of the sample."""
        height, width = sample.image.shape[:2]
        label = sample.label
        cut = None if label is None else lambda corner, size: _window(label, corner, size)
        corner, size = self.choose((height, width), rng, cut, sample.meta.wanted)
        return cropped(sample, corner, size)

    def choose(
        self, size: Size, rng: np.random.Generator, cut: Callable[[Corner, Size], Array] | None, wanted: int = -1
    ) -> tuple[Corner, Size]:
        """Upper left corner and size of the window in an image of `size`. `cut` gives the label of a window.

        wanted: a label value that the window shall hold, if the image does; -1 for none.
        """
        assert isinstance(self.crop_size, tuple)
        window = (min(self.crop_size[0], size[0]), min(self.crop_size[1], size[1]))
        values = (wanted,) if wanted >= 0 else self.rare
        if cut is not None and values and (wanted >= 0 or rng.random() < self.rare_prob):
            around = _around(values, cut((0, 0), size), window, rng)
            if around is not None:
                return around, window
        corner = self._draw(size, window, rng)
        if cut is not None and self.cat_max_ratio < 1:
            for _ in range(_ATTEMPTS):
                if is_varied(cut(corner, window), self.cat_max_ratio, ignored=self.ignore_index):
                    break
                corner = self._draw(size, window, rng)
        return corner, window

    def _draw(self, size: Size, window: Size, rng: np.random.Generator) -> Corner:
        top = int(rng.integers(size[0] - window[0], endpoint=True))
        return top, int(rng.integers(size[1] - window[1], endpoint=True))


def _around(values: Sequence[int], label: Array, window: Size, rng: np.random.Generator) -> Corner | None:
    """The corner of a window that holds a pixel of one of the values; None if the label (H, W) has none."""
    place = pixel_of(label, values, rng)
    if place is None:
        return None

    def start(at: int, side: int, whole: int) -> int:
        return int(rng.integers(max(0, at - side + 1), min(at, whole - side), endpoint=True))

    return start(place[0], window[0], label.shape[0]), start(place[1], window[1], label.shape[1])


def pixel_of(label: Array, values: Sequence[int], rng: np.random.Generator) -> Corner | None:
    """A pixel (row, column) of a label (H, W) with one of some values: first a value of those that there are, each as
    likely as the others, then any pixel of it. None if there is none of them.
    """
    counts = value_counts(label)
    present = [value for value in values if counts.get(value)]
    return None if not present else _one_of(label == present[int(rng.integers(len(present)))], rng)


def pixel_of_class(label: Array, classes: Sequence[int], rng: np.random.Generator, *, ignored: int) -> Corner | None:
    """The same of a label (H, W) of sets (`label_sets`): first a class that there is, then any pixel that has it."""
    values = [value for value in value_counts(label) if value != ignored]
    present = [(k, having) for k in classes if (having := [value for value in values if value >> k & 1])]
    return None if not present else _one_of(np.isin(label, present[int(rng.integers(len(present)))][1]), rng)


def _one_of(places: Array, rng: np.random.Generator) -> Corner:
    """Any pixel (row, column) where a map (H, W) is true."""
    found = np.flatnonzero(places)
    row, column = divmod(int(found[int(rng.integers(len(found)))]), places.shape[1])
    return row, column


@dataclass(frozen=True)
class ResizeThenCrop:
    """A resizing transform with the crop that follows it, in one step: the same result with less work.

    Of the labels and integer maps, only the pixels of the window are computed, of the image what `resized_window` says;
    `data.pipeline` puts it in place.
    """

    reads_rows: ClassVar[bool] = True

    resize: Resizing
    crop: RandomCrop

    def prepare(self) -> None:
        """Load what is compiled, if it is to be used."""
        fast_window()
        fast_chooser()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The window of the resized sample."""
        if sample.meta.valid is not None:
            return self.crop(self.resize(sample, rng), rng)
        size = self.resize.target((sample.image.shape[0], sample.image.shape[1]), rng)
        label, backend = sample.label, self.resize.backend
        looked_at: dict[tuple[Corner, Size], Array] = {}  # the window that is accepted has been computed already

        def cut(corner: Corner, window: Size) -> Array:
            assert label is not None
            if (corner, window) not in looked_at:
                looked_at.clear()
                looked_at[corner, window] = nearest_window(label, size, corner, window, backend)
            return looked_at[corner, window]

        corner, window = self.crop.choose(size, rng, None if label is None else cut, sample.meta.wanted)

        def reduced(value: Array) -> Array:
            interpolation = map_interpolation(value)
            if interpolation == "nearest":
                return nearest_window(value, size, corner, window, backend)
            return resized_window(value, size, interpolation, corner, window, backend)

        return replace(
            sample,
            image=resized_window(sample.image, size, self.resize.interpolation, corner, window, backend),
            label=None if label is None else cut(corner, window),
            maps={name: reduced(value) for name, value in sample.maps.items()},
        )


@dataclass(frozen=True)
class RandomFlip:
    """Mirror at random.

    prob: chance of flipping; shared evenly by the directions if they are several. Or one chance for each direction.
    direction: "horizontal" mirrors left and right, "vertical" up and down, "diagonal" both; one or several.
    swap_seg_labels: pairs of classes that change places in a mirrored label: left arm, right arm.
    """

    prob: float | Sequence[float]
    direction: Direction | Sequence[Direction] = "horizontal"
    swap_seg_labels: Sequence[tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        directions = (self.direction,) if isinstance(self.direction, str) else tuple(self.direction)
        unknown = [name for name in directions if name not in _FLIP_CODES]
        if unknown or not directions:
            raise ValueError(f"RandomFlip: direction must be among {', '.join(_FLIP_CODES)}, got {self.direction!r}")
        if isinstance(self.prob, (int, float)):
            chances = tuple(self.prob / len(directions) for _ in directions)
        else:
            chances = tuple(self.prob)
        if len(chances) != len(directions):
            raise ValueError(f"RandomFlip: {len(chances)} chances for {len(directions)} directions")
        if min(chances) < 0 or sum(chances) > 1 + 1e-9:
            raise ValueError(f"RandomFlip: chances must be positive and at most 1 together, got {self.prob!r}")
        object.__setattr__(self, "direction", directions)
        object.__setattr__(self, "prob", chances)
        if self.swap_seg_labels is not None:
            object.__setattr__(self, "swap_seg_labels", tuple((a, b) for a, b in self.swap_seg_labels))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, mirrored or not."""
        direction = self._direction(rng)
        return sample if direction is None else self._swapped(flipped(sample, direction))

    def draw(self, sample: Sample, rng: np.random.Generator) -> tuple[float, ...]:
        """What would be done, as numbers: left and right changed, up and down changed, height and width."""
        steps = _FLIP_STEPS.get(self._direction(rng) or "", ())
        return "horizontal" in steps, "vertical" in steps, *sample.image.shape[:2]

    def _direction(self, rng: np.random.Generator) -> Direction | None:
        assert isinstance(self.prob, tuple)
        drawn = rng.random()
        reached = 0.0
        for name, chance in zip(self.direction, self.prob, strict=True):
            reached += chance
            if drawn < reached:
                return cast("Direction", name)
        return None

    def _swapped(self, sample: Sample) -> Sample:
        if not self.swap_seg_labels or sample.label is None:
            return sample
        label = sample.label.copy()
        for first, second in self.swap_seg_labels:
            label[sample.label == first] = second
            label[sample.label == second] = first
        return replace(sample, label=label)


@dataclass(frozen=True)
class Pad:
    """Add pixels at the right and the bottom. An image that is large enough already is left as it is.

    size: (width, height) to reach, or `size_divisor`: multiples to reach, or `pad_to_square`: the longer side.
    pad_val: value of the new pixels: one number for the image, or "img" and "seg". That of the image can be a number
        for each band, in the order of the image's bands. The label's is 255 unless it is said.
    padding_mode: "constant", or how the image is continued: "edge", "reflect", "symmetric".

    Raises ValueError unless exactly one of the three ways to give a size is used.
    """

    size: tuple[int, int] | None = None
    size_divisor: int | None = None
    pad_to_square: bool = False
    pad_val: float | Mapping[str, float | Sequence[float]] = 0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"

    def __post_init__(self) -> None:
        if (self.size is not None) + (self.size_divisor is not None) + self.pad_to_square != 1:
            raise ValueError("Pad needs exactly one of size, size_divisor, pad_to_square")
        if self.padding_mode not in _PADDING_MODES:
            raise ValueError(f"Pad: padding_mode must be among {', '.join(_PADDING_MODES)}, got {self.padding_mode!r}")
        values = self.pad_val if isinstance(self.pad_val, Mapping) else {"img": self.pad_val}
        if not set(values) <= {"img", "seg"}:
            raise ValueError(f"Pad: pad_val may say 'img' and 'seg', got {sorted(values)}")
        if not isinstance(values.get("seg", 0), int | float):
            raise ValueError(f"Pad: pad_val of 'seg' is one label, got {values['seg']!r}")
        object.__setattr__(self, "pad_val", {"img": 0, "seg": IGNORE_INDEX, **values})

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The padded sample."""
        assert isinstance(self.pad_val, Mapping)
        height, width = sample.image.shape[:2]
        target = self._target(height, width)
        value = self.pad_val["img"]
        if isinstance(value, Sequence) and len(value) != sample.image.shape[2]:
            raise ValueError(f"Pad: pad_val has {len(value)} numbers for images of {sample.image.shape[2]} bands")
        return padded(
            sample,
            (max(target[0], height), max(target[1], width)),
            image_value=value,
            label_value=int(cast("float", self.pad_val["seg"])),
            mode=self.padding_mode,
        )

    def _target(self, height: int, width: int) -> Size:
        if self.size is not None:
            return self.size[1], self.size[0]
        if self.size_divisor is not None:
            by = self.size_divisor
            return -(-height // by) * by, -(-width // by) * by
        return max(height, width), max(height, width)


def cropped(sample: Sample, corner: Corner, size: Size) -> Sample:
    """The window of `size` whose upper left pixel is `corner`, (row, column)."""
    valid = sample.meta.valid
    if valid is not None:
        valid = (min(max(valid[0] - corner[0], 0), size[0]), min(max(valid[1] - corner[1], 0), size[1]))
    return _moved(sample, lambda array: _window(array, corner, size), replace(sample.meta, valid=valid))


def flipped(sample: Sample, direction: Direction) -> Sample:
    """The mirrored sample.

    Padding no longer lies at the right and bottom then, where `SampleMeta.valid` could describe it: it becomes None.
    """
    code = _FLIP_CODES[direction]
    meta = replace(sample.meta, flips=(*sample.meta.flips, *_FLIP_STEPS[direction]), valid=None)
    return _moved(sample, lambda array: _flip(array, code), meta)


def padded(
    sample: Sample,
    size: Size,
    *,
    image_value: float | Sequence[float] = 0,
    label_value: int = IGNORE_INDEX,
    mode: str = "constant",
) -> Sample:
    """The sample continued at the right and the bottom up to `size`. Maps are padded with zeros.

    image_value: of all bands, or one for each.
    """
    height, width = sample.image.shape[:2]
    if size == (height, width):
        return sample
    bottom, right = size[0] - height, size[1] - width

    def pad(array: Array, value: float | Sequence[float]) -> Array:
        edges = [(0, bottom), (0, right), (0, 0)][: array.ndim]
        if mode == "constant":
            wider = np.empty((*size, *array.shape[2:]), array.dtype)
            wider[:height, :width] = array
            wider[height:] = wider[:height, width:] = np.asarray(value, array.dtype)
            return wider
        return np.pad(array, edges, mode=mode)  # type: ignore[call-overload,no-any-return]

    label = sample.label
    if label is not None and label.dtype.kind == "f":
        label_value = 0  # a depth that is not known
    elif label is not None and label_value > np.iinfo(label.dtype).max:
        label = label.astype(np.min_scalar_type(label_value))
    return replace(
        sample,
        image=pad(sample.image, image_value),
        label=None if label is None else pad(label, label_value),
        maps={name: pad(value, 0) for name, value in sample.maps.items()},
        meta=replace(sample.meta, valid=sample.meta.valid or (height, width)),
    )


def _moved(sample: Sample, move: Callable[[Array], Array], meta: SampleMeta) -> Sample:
    return replace(
        sample,
        image=move(sample.image),
        label=None if sample.label is None else move(sample.label),
        maps={name: move(value) for name, value in sample.maps.items()},
        meta=meta,
    )


def _window(array: Array, corner: Corner, size: Size) -> Array:
    window = rows_of(array, corner[0], corner[0] + size[0])[:, corner[1] : corner[1] + size[1]]
    return window.copy() if isinstance(array, RowArray) else window  # rows may lie in a file


def _flip(array: Array, code: int) -> Array:
    if array.dtype.type in _CV2_FLIPS and (array.ndim == 2 or array.shape[2] <= 4):
        # Three bytes a pixel copy slowly through a view with a negative stride.
        return cv2.flip(np.ascontiguousarray(array), code).reshape(array.shape)
    return array[:: -1 if code != 1 else 1, :: -1 if code != 0 else 1]
