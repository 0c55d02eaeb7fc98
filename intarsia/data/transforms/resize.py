"""Resizing: to a fixed size, by a factor, to a random size; labels move along by nearest neighbour.

Sizes of arguments are (width, height), the order of the configurations that use them; `Size` is (height, width).
How a size is rounded follows MMCV 2, whose numbers published scores depend on. The pixels are OpenCV's: its 8-bit
bilinear and nearest results have not changed a bit from version 4.8 to 5.0. The exceptions are "antialiased", what
Pillow and torchvision call bilinear, which, when it makes images smaller, looks at all pixels and not at four, and
`backend="pillow"`: everything as Pillow does it, labels too, whose nearest pixel is another one than OpenCV's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.contracts import Sample, Size
from intarsia.data.fast_libraries import fast_library
from intarsia.data.rows import rows_of

Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "lanczos", "antialiased", "box", "hamming"]
Backend = Literal["cv2", "pillow"]
Scale = tuple[int, int]
Array = npt.NDArray[Any]

_FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
}
_INTERPOLATIONS = {"cv2": (*_FLAGS, "antialiased"), "pillow": tuple(_RESAMPLING)}
_CV2_TYPES = (np.uint8, np.uint16, np.int16, np.float32, np.float64)
_CV2_BANDS = 64  # how many bands one OpenCV matrix may have: 128 or 512, depending on the version


class Resizing(ABC):
    """A transform that does nothing but resize, so that a crop behind it may spare what it throws away."""

    interpolation: Interpolation
    backend: Backend = "cv2"

    @abstractmethod
    def target(self, size: Size, rng: np.random.Generator) -> Size:
        """The new size of an image of `size`; draws everything random that the transform draws."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The resized sample."""
        size = self.target((sample.image.shape[0], sample.image.shape[1]), rng)
        return resized(sample, size, self.interpolation, self.backend)


@dataclass(frozen=True)
class Resize(Resizing):
    """Resize to a given size or by a given factor.

    scale: (width, height), or one number for both. With `keep_ratio`, the longer and the shorter of the two bound the
        longer and the shorter side of the image, in whichever order they are written.
    scale_factor: used instead of `scale`: one factor, or (for the width, for the height).
    interpolation: of images and of maps of real numbers; labels and integer maps take the nearest pixel.
    backend: whose numbers they are; each has interpolations of its own.

    Raises ValueError unless exactly one of `scale` and `scale_factor` is given.
    """

    scale: int | Scale | None = None
    scale_factor: float | tuple[float, float] | None = None
    keep_ratio: bool = False
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        if (self.scale is None) == (self.scale_factor is None):
            raise ValueError("Resize needs either scale (pixels) or scale_factor, and not both")
        if self.scale is not None:
            scale = (self.scale, self.scale) if isinstance(self.scale, int) else tuple(self.scale)
            if len(scale) != 2 or min(scale) < 1:
                raise ValueError(f"Resize: scale must be (width, height) of at least one pixel, got {self.scale!r}")
            object.__setattr__(self, "scale", scale)
        else:
            factor = self.scale_factor
            factors = (factor, factor) if isinstance(factor, (int, float)) else tuple(factor or ())
            if len(factors) != 2 or min(factors) <= 0:
                raise ValueError(f"Resize: scale_factor must be positive, for width and height, got {factor!r}")
            object.__setattr__(self, "scale_factor", factors)
        _check_interpolation(self.interpolation, self.backend)

    def target(self, size: Size, rng: np.random.Generator) -> Size:
        """`scale`, or the factors' product, or what fits into it."""
        if self.scale is not None:
            assert isinstance(self.scale, tuple)
            width, height = self.scale
        else:
            assert isinstance(self.scale_factor, tuple)
            width, height = (_rounded(side * by) for side, by in zip(size[::-1], self.scale_factor, strict=True))
        return fit(size, (width, height)) if self.keep_ratio else (height, width)


@dataclass(frozen=True)
class RandomResize(Resizing):
    """Resize to a size drawn for every image.

    scale: (width, height), multiplied by a factor drawn uniformly from `ratio_range` and cut to whole pixels; or two
        such pairs, between which the longer and the shorter side are drawn.
    keep_ratio, interpolation, backend: as in `Resize`.
    """

    scale: Scale | Sequence[Scale]
    ratio_range: tuple[float, float] | None = None
    keep_ratio: bool = False
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _freeze(self.scale))
        if self.ratio_range is not None:
            low, high = self.ratio_range
            if not 0 < low <= high:
                raise ValueError(f"RandomResize: ratio_range must be 0 < low <= high, got {self.ratio_range!r}")
        if _is_pair(self.scale) != (self.ratio_range is not None):
            raise ValueError(
                "RandomResize needs either one scale (width, height) with ratio_range, or two scales without it; "
                f"got scale={self.scale!r}, ratio_range={self.ratio_range!r}"
            )
        if not _is_pair(self.scale) and (len(self.scale) != 2 or not all(_is_pair(scale) for scale in self.scale)):
            raise ValueError(f"RandomResize: expected two scales (width, height), got {self.scale!r}")
        _check_interpolation(self.interpolation, self.backend)

    def target(self, size: Size, rng: np.random.Generator) -> Size:
        """The drawn scale, or what fits into it."""
        width, height = self._drawn(rng)
        return fit(size, (width, height)) if self.keep_ratio else (height, width)

    def _drawn(self, rng: np.random.Generator) -> Scale:
        pairs: Any = self.scale
        if self.ratio_range is not None:
            ratio = rng.uniform(*self.ratio_range)
            return max(int(pairs[0] * ratio), 1), max(int(pairs[1] * ratio), 1)
        longer, shorter = [max(pair) for pair in pairs], [min(pair) for pair in pairs]
        return (
            int(rng.integers(min(longer), max(longer), endpoint=True)),
            int(rng.integers(min(shorter), max(shorter), endpoint=True)),
        )


@dataclass(frozen=True)
class ResizeShortestEdge(Resizing):
    """Resize so that the shorter side has a given length, unless the longer one would pass `max_size`.

    scale: length in pixels; of a pair, the smaller counts.
    """

    scale: int | Scale
    max_size: int
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        if _shortest(self.scale) < 1 or self.max_size < 1:
            raise ValueError(f"ResizeShortestEdge: lengths must be positive, got {self.scale!r} and {self.max_size!r}")
        _check_interpolation(self.interpolation, self.backend)

    def target(self, size: Size, rng: np.random.Generator) -> Size:
        """See `shortest_edge`."""
        return shortest_edge(size, _shortest(self.scale), self.max_size)


@dataclass(frozen=True)
class RandomChoiceResize(Resizing):
    """Resize to one of several scales, each as likely.

    resize_type: "Resize" reads a scale as `Resize` does, "ResizeShortestEdge" as that transform does, with `max_size`.
    """

    scales: Sequence[int | Scale]
    resize_type: Literal["Resize", "ResizeShortestEdge"] = "Resize"
    keep_ratio: bool = False
    max_size: int | None = None
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", _freeze(self.scales))
        if not self.scales:
            raise ValueError("RandomChoiceResize needs at least one scale")
        if self.resize_type not in ("Resize", "ResizeShortestEdge"):
            raise ValueError(
                f"RandomChoiceResize: resize_type must be 'Resize' or 'ResizeShortestEdge', not {self.resize_type!r}"
            )
        if (self.resize_type == "ResizeShortestEdge") != (self.max_size is not None):
            raise ValueError("RandomChoiceResize: max_size belongs to resize_type='ResizeShortestEdge', which needs it")
        for scale in self.scales:
            self._choice(scale)

    def _choice(self, scale: int | Scale) -> Resize | ResizeShortestEdge:
        if self.max_size is not None:
            return ResizeShortestEdge(scale, self.max_size, self.interpolation, self.backend)
        return Resize(scale, keep_ratio=self.keep_ratio, interpolation=self.interpolation, backend=self.backend)

    def target(self, size: Size, rng: np.random.Generator) -> Size:
        """The target of the scale that is drawn."""
        return self._choice(self.scales[int(rng.integers(len(self.scales)))]).target(size, rng)


@dataclass(frozen=True)
class ResizeToMultiple(Resizing):
    """Resize up to the next size whose sides are multiples of `size_divisor`: one number, or (width, height)."""

    size_divisor: int | tuple[int, int] = 32
    interpolation: Interpolation = "bilinear"
    backend: Backend = "cv2"

    def __post_init__(self) -> None:
        if min(self._divisors()) < 1:
            raise ValueError(f"ResizeToMultiple: size_divisor must be positive, got {self.size_divisor!r}")
        _check_interpolation(self.interpolation, self.backend)

    def _divisors(self) -> tuple[int, int]:
        divisor = self.size_divisor
        return (divisor, divisor) if isinstance(divisor, int) else (divisor[0], divisor[1])

    def target(self, size: Size, rng: np.random.Generator) -> Size:
        """The next multiples."""
        width_divisor, height_divisor = self._divisors()
        return (
            math.ceil(size[0] / height_divisor) * height_divisor,
            math.ceil(size[1] / width_divisor) * width_divisor,
        )


def fit(size: Size, scale: Scale) -> Size:
    """The largest size of the same ratio whose longer and shorter side stay within those of `scale`."""
    factor = min(max(scale) / max(size), min(scale) / min(size))
    return max(_rounded(size[0] * factor), 1), max(_rounded(size[1] * factor), 1)


def shortest_edge(size: Size, length: int, max_size: int) -> Size:
    """The size of the same ratio whose shorter side is `length`, made smaller if the longer would pass `max_size`."""
    # Multiplied out side by side: the order of the roundings decides about a pixel now and then.
    factor = length * 1.0 / min(size)
    height, width = (float(length), factor * size[1]) if size[0] < size[1] else (factor * size[0], float(length))
    if max(height, width) > max_size:
        shrink = max_size * 1.0 / max(height, width)
        height, width = height * shrink, width * shrink
    return max(_rounded(height), 1), max(_rounded(width), 1)


def resized(sample: Sample, size: Size, interpolation: Interpolation = "bilinear", backend: Backend = "cv2") -> Sample:
    """The sample at a new size. Integer maps and labels take the nearest pixel, everything else `interpolation`."""
    old = (sample.image.shape[0], sample.image.shape[1])
    if size == old:
        return sample
    valid = sample.meta.valid
    if valid is not None:
        valid = (_rounded(valid[0] * size[0] / old[0]), _rounded(valid[1] * size[1] / old[1]))
    return replace(
        sample,
        image=resize_array(sample.image, size, interpolation, backend),
        label=None if sample.label is None else resize_array(sample.label, size, "nearest", backend),
        maps={
            name: resize_array(value, size, map_interpolation(value), backend) for name, value in sample.maps.items()
        },
        meta=replace(sample.meta, valid=valid),
    )


def map_interpolation(value: Array) -> Interpolation:
    """Real numbers can be mixed, integers are names and cannot."""
    return "bilinear" if value.dtype.kind == "f" else "nearest"


def resize_array(array: Array, size: Size, interpolation: Interpolation, backend: Backend = "cv2") -> Array:
    """(H, W) or (H, W, C) of any type and any number of bands, at a new size.

    Types that OpenCV does not mix are computed in float64 and, if they are integers, rounded. Pillow, "antialiased" or
    by its name, computes 8-bit arrays in its own way, and all others in float32.
    """
    if interpolation == "nearest" and (backend == "pillow" or array.dtype.type not in _CV2_TYPES):
        return nearest_window(array, size, (0, 0), size, backend)
    if backend == "pillow" or interpolation == "antialiased":
        return _by_pillow(array, size, _RESAMPLING["bilinear" if interpolation == "antialiased" else interpolation])
    if array.dtype.type not in _CV2_TYPES:
        mixed = resize_array(array.astype(np.float64), size, interpolation)
        return mixed.astype(array.dtype) if array.dtype.kind == "f" else _whole(mixed, array.dtype)
    if array.ndim == 3 and array.shape[2] > _CV2_BANDS:
        groups = [array[:, :, first : first + _CV2_BANDS] for first in range(0, array.shape[2], _CV2_BANDS)]
        return np.concatenate([resize_array(group, size, interpolation) for group in groups], axis=2)
    result = cv2.resize(np.ascontiguousarray(array), size[::-1], interpolation=_FLAGS[interpolation])
    return result.reshape(size + array.shape[2:])


def _by_pillow(array: Array, size: Size, resampling: Image.Resampling) -> Array:
    """Band by band, since Pillow has no other number of bands than those of colours, and takes a fourth for opacity."""
    bands = array[:, :, None] if array.ndim == 2 else array
    source = bands if array.dtype == np.uint8 else bands.astype(np.float32)
    found = [
        np.asarray(Image.fromarray(np.ascontiguousarray(source[:, :, band])).resize(size[::-1], resampling))
        for band in range(bands.shape[2])
    ]
    mixed = np.stack(found, axis=2).reshape(size + array.shape[2:])
    return mixed.astype(array.dtype) if array.dtype.kind == "f" else _whole(mixed, array.dtype)


def _whole(values: Array, dtype: np.dtype[Any]) -> Array:
    """Integers, or truth values, from real numbers."""
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.rint(values).clip(*limits).astype(dtype)


def nearest_window(array: Array, size: Size, corner: tuple[int, int], window: Size, backend: Backend = "cv2") -> Array:
    """A window of the nearest-neighbour resized array, without resizing the rest.

    Equal to `resize_array(array, size, "nearest", backend)[top : top + h, left : left + w]`: OpenCV takes the source
    pixel floor(i / (new / old)), computed in double precision, Pillow the one that the middle of the new one lies in.
    """
    chosen = _nearest_by_pillow if backend == "pillow" else _nearest
    rows = chosen(array.shape[0], size[0], corner[0], window[0])
    columns = chosen(array.shape[1], size[1], corner[1], window[1])
    top = int(rows[0])
    source = rows_of(array, top, int(rows[-1]) + 1)
    choose = fast_chooser() if source.dtype == np.uint8 and source.ndim == 2 and source.size else None
    if choose is not None:
        return choose(source, rows - top, columns)
    if len(source) <= len(rows):  # choosing columns is what takes time: of fewer rows
        return source.take(columns, axis=1, mode="clip").take(rows - top, axis=0, mode="clip")
    first, last = int(columns[0]), int(columns[-1]) + 1
    return source[rows - top, first:last].take(columns - first, axis=1, mode="clip")


@cache
def fast_chooser() -> Callable[[Array, npt.NDArray[np.intp], npt.NDArray[np.intp]], Array] | None:
    """``source[rows][:, columns]`` of labels of 8 bits by numba, if that is there."""
    if fast_library("numba") is None:
        return None
    from intarsia.data.label_kernels import make_chooser

    return make_chooser()


def _nearest(old: int, new: int, start: int, length: int) -> npt.NDArray[np.intp]:
    step = 1.0 / (new / old)
    floors = np.floor(np.arange(start, start + length) * step)
    return np.asarray(np.minimum(floors, old - 1), dtype=np.intp)


def _nearest_by_pillow(old: int, new: int, start: int, length: int) -> npt.NDArray[np.intp]:
    """Pillow adds up steps, whose roundings decide about a pixel now and then: so it is asked for pixels' numbers."""
    numbers = Image.fromarray(np.arange(old, dtype=np.int32)[None]).resize((new, 1), Image.Resampling.NEAREST)
    return np.asarray(numbers)[0, start : start + length].astype(np.intp)


def _rounded(value: float) -> int:
    return int(value + 0.5)


def _shortest(scale: int | Scale) -> int:
    return scale if isinstance(scale, int) else min(scale)


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, (list, tuple)) else value


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(item, int) for item in value)


def _check_interpolation(name: str, backend: str) -> None:
    if backend not in _INTERPOLATIONS:
        raise ValueError(f"backend must be one of {', '.join(_INTERPOLATIONS)}, not {backend!r}")
    if name not in _INTERPOLATIONS[backend]:
        known = ", ".join(_INTERPOLATIONS[backend])
        raise ValueError(f"interpolation must be one of {known} with backend={backend!r}, not {name!r}")
