"""Which numbers the images of a training held, and how those of other images become such numbers.

A network learns the numbers that it is shown. One of 8-bit colours sees an image of 12 bits in 16 as nearly black, and
one of reflectances sees a photo as night; both answer without a word. So weights record the type and the range of the
images that they were trained on, and images of others are refused unless a `Scale` says what becomes of their values.

Shape letters: H, W height and width; C channels that a model takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

COLOURS = (0.0, 255.0)
"""The range of 8-bit colours."""

_DIMMER, _BRIGHTER = 4, 2
"""How many times less the largest value of an image may be than that of the dimmest image of the training, and how many
times more than that of the brightest. Twelve bits in sixteen are off by 16, eight in twelve by 16, ten in twelve by
4."""

_DEPTHS = (8, 10, 12, 14, 16)
_LOOKED_AT = 2**20
_LEAST_DEVIATION = 1e-8


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The stored values of the training's images, before anything was done to them.

    dtype: NumPy's word ("uint16"). low, high: the smallest and the largest. dimmest: the largest value of that image in
    which it is smallest; by default `high`.

    Raises ValueError for a type that holds no numbers, or a range without extent.
    """

    dtype: str
    low: float
    high: float
    dimmest: float | None = None

    def __post_init__(self) -> None:
        try:
            is_number = np.dtype(self.dtype).kind in "uif"
        except TypeError:
            is_number = False
        if not is_number:
            raise ValueError(f"type: expected a type of numbers such as uint8, uint16 or float32, found {self.dtype!r}")
        ends = (self.low, self.high, self.high if self.dimmest is None else self.dimmest)
        if not np.isfinite(ends).all() or self.low > self.high:
            raise ValueError(f"range: expected two finite numbers, the smaller first, found {self.low}, {self.high}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ValueRange:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        try:
            dimmest = values.get("dimmest")
            return cls(
                str(values["type"]),
                float(values["low"]),
                float(values["high"]),
                None if dimmest is None else float(dimmest),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected type, low and high, found {dict(values)!r} ({error})") from None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        numbers = {"low": self.low, "high": self.high, "dimmest": self.dimmest}
        found = {name: number for name, number in numbers.items() if number is not None}
        return {"type": self.dtype, **{name: int(x) if x == int(x) else x for name, x in found.items()}}

    @property
    def is_eight_bits(self) -> bool:
        """Whether the images were of 8 bits."""
        return np.dtype(self.dtype) == np.uint8

    @property
    def ends(self) -> tuple[float, float]:
        """The range that `--scale` maps to: from 0 to all ones for whole numbers, else what was found."""
        if np.dtype(self.dtype).kind == "f" or self.low < 0:
            return self.low, self.high
        bits = next((bits for bits in _DEPTHS if self.high < 2**bits), 0)
        return 0.0, float(2**bits - 1) if bits else self.high

    def covers(self, low: float, high: float) -> bool:
        """Whether an image with values from low to high may be one of those that the training saw.

        An image of one single value tells nothing, and may. Of ranges below 0 only the ends are compared.
        """
        if low == high:
            return True
        extent = self.high - self.low
        if low < self.low - max(extent, 1e-9) or high > max(self.high * _BRIGHTER, self.high + extent):
            return False
        dimmest = self.high if self.dimmest is None else self.dimmest
        return self.low < 0 or high * _DIMMER >= dimmest

    @property
    def words(self) -> str:
        """For a message."""
        return f"{self.dtype} numbers from {self.low:.6g} to {self.high:.6g}"


@dataclass(frozen=True, slots=True)
class Scale:
    """What becomes of stored values that are not those of the training.

    low, high: these become the ends of the training's range, linearly; one number each for all channels, or one for
    each.
    kind: "linear"; "percentiles": low and high are percentiles of each image's own values, of a slice those of its
    volume; "training": the upper 8 of 16 bits, as a training on colours takes them; "none": as they are.

    Two kinds are of a training, and its weights keep them. "zscore": less its mean and divided by its deviation, band
    by band of each image, of a slice those of the box of its volume in which not all is 0 (`volume_facts`); low and
    high are mean and deviation, once the image is known. nonzero: those of what is inside, and what is outside stays 0.
    "clip": what is below low or above high becomes these, and nothing else changes.
    """

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    kind: str = "linear"
    nonzero: bool = False

    @classmethod
    def parse(cls, text: str) -> Scale:
        """From "MIN,MAX", "MIN,MAX,MIN,MAX,..." with a pair for each channel, "training" or "none"; else ValueError.

        A pair may be a window, "c40,w400" (centre and width), or all pairs percentiles: "p1,p99".
        """
        if text in ("training", "none"):
            return cls(kind=text)
        scale = cls.of(text.split(","), found=text)
        if scale.is_of_training:
            raise ValueError(
                f"--scale {text}: {scale.kind!r} is how a network is trained, and stands in the data description "
                "(image: scale); its weights keep it"
            )
        return scale

    @classmethod
    def of(cls, ends: Sequence[float | str], *, found: object = None) -> Scale:
        """From pairs of numbers, windows or percentiles, one after the other. Raises ValueError for anything else.

        "zscore" stands alone or before "nonzero", and "clip" before pairs of numbers.
        """
        found = ends if found is None else found
        words = [str(end).strip() for end in ends]
        if words[:1] == ["zscore"] and words[1:] in ([], ["nonzero"]):
            return cls(kind="zscore", nonzero=len(words) > 1)
        if words[:1] == ["clip"]:
            scale = cls.of(words[1:], found=found)
            if scale.kind != "linear":
                raise ValueError(f"scale: 'clip' stands before MIN, MAX, or a pair for each band, found {found!r}")
            return cls(scale.low, scale.high, "clip")
        is_percent = bool(words) and all(re.fullmatch(r"p\d+(\.\d+)?", word) for word in words)
        numbers = [float(word[1:]) for word in words] if is_percent else _window_ends(words)
        is_pairs = bool(numbers) and len(numbers) % 2 == 0 and bool(np.isfinite(numbers).all())
        if not is_pairs or (is_percent and max(numbers) > 100):
            raise ValueError(
                "--scale takes MIN,MAX, or a pair for each band; a window c40,w400 (centre, width) or percentiles "
                f"p1,p99 in their place; or 'training', or 'none'; found {found!r}"
            )
        scale = cls(tuple(numbers[::2]), tuple(numbers[1::2]), "percentiles" if is_percent else "linear")
        if any(low >= high for low, high in zip(scale.low, scale.high, strict=True)):
            raise ValueError(f"--scale: each MIN must be below its MAX, found {found!r}")
        return scale

    @property
    def ends(self) -> tuple[float | str, ...]:
        """The pairs, one after the other, as `of` takes them: numbers, or percentiles as "p1"."""
        numbers = tuple(end for pair in zip(self.low, self.high, strict=True) for end in pair)
        if self.kind == "percentiles":
            return tuple(f"p{number:g}" for number in numbers)
        marked = (self.kind, "nonzero") if self.nonzero else (self.kind,)
        return (*marked, *numbers) if self.is_of_training else numbers

    @property
    def is_of_training(self) -> bool:
        """Whether it is how a network is trained, and not how other images become such as it was trained on."""
        return self.kind in ("zscore", "clip")

    @property
    def depends_on_image(self) -> bool:
        """Whether it is another one for each image: see `of_values`."""
        return self.kind == "percentiles" or (self.kind == "zscore" and not self.low)

    def of_values(self, values: npt.NDArray[Any]) -> Scale:
        """Percentiles, or means and deviations, of some values (..., C) as the numbers that they are there; any other
        scale is itself.

        One pair of percentiles is of all bands together, several are each of its band. What is not finite is left out.
        """
        if not self.depends_on_image:
            return self
        flat = values.reshape(-1, values.shape[-1])
        if self.kind == "zscore":
            moments = [_moments(flat[:, band]) for band in range(flat.shape[1])]
            return self.with_moments(*zip(*moments, strict=True))
        bands = [flat.ravel()] if len(self.low) == 1 else [flat[:, band] for band in range(flat.shape[1])]
        ends = [
            _percentiles(band, pair) for band, pair in zip(bands, zip(self.low, self.high, strict=True), strict=True)
        ]
        return Scale(tuple(low for low, _ in ends), tuple(high for _, high in ends))

    def of_bands(self, begin: int, end: int) -> Scale:
        """The scale of some of the bands that this is for, of [begin, end)."""
        if len(self.low) <= 1:
            return self
        return replace(self, low=self.low[begin:end], high=self.high[begin:end])

    def with_moments(self, mean: Sequence[float], std: Sequence[float]) -> Scale:
        """The z-score of an image whose bands have these means and deviations."""
        return replace(self, low=tuple(mean), high=tuple(max(one, _LEAST_DEVIATION) for one in std))

    def check_channels(self, channels: int) -> None:
        """Raises ValueError if there are pairs for another number of channels."""
        paired = self.kind in ("linear", "percentiles", "clip")
        if paired and channels and len(self.low) not in (1, channels):
            raise ValueError(
                f"--scale: expected one pair MIN,MAX or one for each of {channels} bands, found {len(self.low)} pairs"
            )

    def to_colours(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Stored values (H, W, C) -> 0..255, clipped and rounded; nan becomes 0."""
        with np.errstate(invalid="ignore", over="ignore"):  # nan and what stands for nodata are replaced by who asks
            scaled = self._linear(pixels, COLOURS)
            scaled = np.nan_to_num(np.rint(np.clip(scaled, *COLOURS)))
        return scaled.astype(np.uint8)

    def to_range(self, pixels: npt.NDArray[Any], ends: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Stored values (H, W, C) -> those of a training whose range has these ends; nothing is clipped."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self._linear(pixels, ends)

    def to_training(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Stored values (..., C) as a training of this scale has them, which is one of those: `is_of_training`."""
        low, high = (np.array(values, np.float32) for values in (self.low, self.high))
        real = pixels.astype(np.float32)
        if self.kind == "clip":
            return np.asarray(real.clip(low, high), np.float32)
        assert self.low, "of which image is said by of_values"
        return np.asarray((real - low) / high, np.float32)

    def _linear(self, pixels: npt.NDArray[Any], ends: tuple[float, float]) -> npt.NDArray[np.float32]:
        low, high = (np.array(values, np.float32) for values in (self.low, self.high))
        result: npt.NDArray[np.float32] = (pixels.astype(np.float32) - low) * ((ends[1] - ends[0]) / (high - low))
        return result + np.float32(ends[0]) if ends[0] else result


def _window_ends(words: Sequence[str]) -> list[float]:
    """The numbers of MIN, MAX pairs, of which any may be a window "c40", "w400"; empty if they are none."""
    numbers: list[float] = []
    try:
        for first, second in zip(words[::2], words[1::2], strict=True):
            if first.startswith("c") and second.startswith("w"):
                centre, width = float(first[1:]), float(second[1:])
                numbers += [centre - width / 2, centre + width / 2]
            else:
                numbers += [float(first), float(second)]
    except ValueError:
        return []
    return numbers


def _percentiles(values: npt.NDArray[Any], pair: tuple[float, float]) -> tuple[float, float]:
    """The values at two percentiles, apart by 1 at least where they are the same."""
    values = values[:: max(1, values.size // _LOOKED_AT)]
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(values, pair))
    return low, high if high > low else low + 1.0


def _moments(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and deviation, the latter never 0."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    return float(values.mean(dtype=np.float64)), max(float(values.std(dtype=np.float64)), _LEAST_DEVIATION)


def suggested_scale(samples: npt.NDArray[Any]) -> str:
    """Options that may fit an image with these values: whole powers of two, 0 to 1, or where most of them lie."""
    low, high = extent(samples)
    if low >= high:
        return "--scale MIN,MAX"
    options = []
    if samples.dtype.kind in "iu" and low >= 0:
        options += [f"--scale 0,{2**bits - 1} ({bits} bits)" for bits in _DEPTHS if 2**bits > high][:1]
    elif low >= 0 and high <= 1:
        options.append("--scale 0,1")
    values = samples.ravel()[:: max(1, samples.size // _LOOKED_AT)]
    most = np.percentile(values[np.isfinite(values)] if values.dtype.kind == "f" else values, [2, 98])
    if most[0] < most[1]:
        options.append(f"--scale {most[0]:.6g},{most[1]:.6g} (2 % and 98 % of its values)")
    return " or ".join(options) or f"--scale {low:.6g},{high:.6g} (its ends)"


def extent(samples: npt.NDArray[Any]) -> tuple[float, float]:
    """The smallest and the largest finite value; (0, 0) without one."""
    if samples.dtype.kind == "f":
        samples = samples[np.isfinite(samples)]
    return (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)
