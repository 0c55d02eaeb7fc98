"""From any image to what a model expects: which bands, in which range, which way up.

Files, arrays and windows of rasters all go through an `ImageReader`, so that one file means the same to training,
evaluation, prediction of images and prediction of rasters.

Shape letters: H, W height and width; B bands of a file; C channels that the model takes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from intarsia.data.band_indices import with_indices
from intarsia.data.bands import (
    Bands,
    FileBands,
    chosen_bands,
    eight_bits,
    raw_bands,
    rgb_bands,
    upright,
)
from intarsia.data.decoders import DecodedImage
from intarsia.data.image_io import decode_image
from intarsia.data.image_spec import ImageSpec
from intarsia.data.slices import part_of
from intarsia.data.value_range import COLOURS, Scale, ValueRange, extent, suggested_scale
from intarsia.data.volume_facts import facts_of, inside_of
from intarsia.terminal import Notice

_HALF_OF_16_BITS = 2**15
_COLOURS = ImageSpec()


class ReadsWhole(Protocol):
    """Reads an image that is more than one file, by the path of the first."""

    def read(self, path: str | Path, *, page: int = 0) -> npt.NDArray[Any]:
        """The image (H, W, C)."""
        ...

    def files(self, path: str | Path) -> tuple[str, ...]:
        """The other files of the image."""
        ...

    @property
    def says(self) -> str:
        """All that an image depends on besides its files, in words."""
        ...


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads images as a model expects them.

    spec: what it was trained on. chosen: which bands of a file it takes, counted from 1, where the file does not say
    it.
    scale: what becomes of values that are not those of the training. max_pixels: see `image_io.read_image`.
    stack: reads files of which each is one of several images (`spec.inputs`).

    Raises ValueError for a scale that does not fit the number of channels.
    """

    spec: ImageSpec = _COLOURS
    chosen: tuple[int, ...] | None = None
    scale: Scale | None = None
    max_pixels: int | None = None
    stack: ReadsWhole | None = None

    def __post_init__(self) -> None:
        if self.scale is not None:
            self.scale.check_channels(self.spec.stored)

    @property
    def bands(self) -> Bands:
        """How files are read."""
        return self.spec.bands

    @property
    def takes_any_number(self) -> bool:
        """Whether numbers other than 8-bit colours can be seen: by a model that was trained on such, or since a scale
        says how.
        """
        spec = self.spec
        is_wide = spec.values is not None and not spec.values.is_eight_bits
        return self.bands == "raw" or self.scale is not None or spec.scale is not None or is_wide

    @property
    def decodes(self) -> Bands:
        """What is asked of the decoder of a file."""
        return "rgb" if self.chosen is None and not self.takes_any_number else "raw"

    def read(self, path: str | Path, *, page: int = 0) -> npt.NDArray[Any]:
        """The image (H, W, C) of a file. Raises ValueError naming the file if it is none, or not for this model."""
        if self.stack is not None:
            return self.stack.read(path, page=page)
        decoded = decode_image(path, bands=self.decodes, max_pixels=self.max_pixels, page=page)
        try:
            return self.convert(decoded)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def convert(self, decoded: DecodedImage) -> npt.NDArray[Any]:
        """The image (H, W, C) of what a decoder gave. Raises ValueError, naming no file, if it is not for this
        model.
        """
        chosen = self.select(decoded.file)
        whole = tuple(range(decoded.samples.shape[2]))
        samples = decoded.samples if chosen == whole else decoded.take(chosen)
        self.check(samples, decoded.file.bits)
        reader, own = self, self.spec.scale
        if own is not None and own.kind == "zscore" and self.depends_on_image:
            return self._standardised(decoded, samples, own, chosen)
        if self.depends_on_image:
            reader = self.of_values(samples if decoded.whole is None else decoded.whole()[:, list(chosen)])
        image = reader.in_range(samples, decoded.file.bits)
        if self.bands == "rgb":
            image = upright(image, decoded.file.orientation)
        return np.ascontiguousarray(image)

    def _standardised(
        self, decoded: DecodedImage, samples: npt.NDArray[Any], scale: Scale, chosen: tuple[int, ...]
    ) -> npt.NDArray[Any]:
        """By mean and deviation, of a slice those of its volume; with `nonzero`, what is outside of that stays 0."""
        if decoded.volume:
            facts = facts_of(Path(part_of(decoded.volume)[0]), masked=scale.nonzero)
            scale = scale.with_moments(*([values[band] for band in chosen] for values in (facts.mean, facts.std)))
            inside = inside_of(decoded.volume) if scale.nonzero else None
        else:
            inside = _inside(samples) if scale.nonzero else None
            scale = scale.of_values(samples if inside is None else samples[inside])
        image = replace(self, spec=replace(self.spec, scale=scale)).in_range(samples, decoded.file.bits)
        if inside is not None:
            image[~inside] = 0
        return np.ascontiguousarray(upright(image, decoded.file.orientation) if self.bands == "rgb" else image)

    def select(self, file: FileBands) -> tuple[int, ...]:
        """The bands of a file, from 0, that the model's channels are. Raises ValueError if that cannot be said."""
        spec = self.spec
        if self.chosen is not None:
            return chosen_bands(self.chosen, file, spec.stored)
        if self.bands == "rgb":
            return rgb_bands(file)
        if spec.inputs and len(file.roles) != spec.channels:
            first, *others = (one.name for one in spec.inputs)
            raise ValueError(
                f"the model takes several images of each place, {first} and {', '.join(others)}, and this is one: give "
                f"the others, to `intarsia predict` with {' '.join(f'--input {name}=FOLDER' for name in others)}, "
                f"or one image with the bands {', '.join(spec.names)}"
            )
        return raw_bands(file, spec.stored, spec.names)

    # --- Values ---

    @property
    def depends_on_image(self) -> bool:
        """Whether what becomes of values depends on the image that they are in: see `of_values`."""
        scale = self.spec.scale if self.scale is None or self.scale.kind == "training" else self.scale
        return scale is not None and scale.depends_on_image

    def of_values(self, values: npt.NDArray[Any]) -> ImageReader:
        """The reader for an image (or volume, or raster) that holds these values (..., C), or some of them."""
        own, scale = self.spec.scale, self.scale
        return replace(
            self,
            spec=replace(self.spec, scale=own if own is None else own.of_values(values)),
            scale=scale if scale is None else scale.of_values(values),
        )

    def check(self, samples: npt.NDArray[Any], bits: int = 0, *, strict: bool = False) -> None:
        """Raises ValueError, with the way out, if stored samples (..., C) are not such as the model was trained on.

        strict: weights of colours that do not say it are taken to have been trained on 8 bits; else, as it was for
        images before weights said it, more bits are taken with a warning.
        """
        if samples.dtype.kind not in "iuf":
            raise ValueError(f"expected integers or floating-point numbers, found {samples.dtype}")
        if self.spec.scale is not None and self.spec.scale.is_of_training:
            self._check_scaled(samples)
            return
        if self.scale is not None:
            if self.scale.kind == "training" and samples.dtype != np.uint16 and self.spec.scale is None:
                raise ValueError(f"--scale training is for images of 16 bits, found {samples.dtype}; give MIN,MAX")
            if self.scale.kind == "none" and self.bands == "rgb":
                self._check_colours(samples)
            return
        if self.bands == "rgb":
            self._check_rgb(samples, bits, strict)
        elif self.spec.values is not None:
            self._check_raw(samples, self.spec.values)

    def _check_scaled(self, samples: npt.NDArray[Any]) -> None:
        """By a model that scales images itself: any numbers, of which only those that are cut off have a meaning."""
        assert self.spec.scale is not None
        if self.scale is not None:
            raise ValueError(
                f"the model scales each image itself ({self.spec.scale.kind}), as its training did: leave --scale out"
            )
        if self.spec.scale.kind == "clip" and self.bands == "raw" and self.spec.values is not None:
            self._check_raw(samples, self.spec.values)

    def needs_values(self, dtype: np.dtype[Any]) -> bool:
        """Whether `check` looks at the values of samples of this type, and not at the type alone."""
        if self.depends_on_image:
            return True
        if self.scale is not None:
            return False
        return dtype != np.uint8 if self.bands == "rgb" else self.spec.values is not None

    def _check_rgb(self, samples: npt.NDArray[Any], bits: int, strict: bool) -> None:
        if self.depends_on_image and samples.dtype != np.uint8:
            return
        values = self.spec.values or (ValueRange("uint8", *COLOURS) if strict else None)
        if values is None and self.spec.scale is not None:
            return
        if values is None:
            self._check_colours(samples)
            if samples.dtype != np.uint8:
                warnings.warn(
                    f"the weights do not say what numbers their images held; of {samples.dtype} the upper 8 bits are "
                    "taken, which is dark where an image does not use them all: say it with --scale MIN,MAX",
                    Notice,
                    stacklevel=4,
                )
            return
        if samples.dtype == np.uint8:
            if values.is_eight_bits or self.spec.scale is not None or values.high >= _HALF_OF_16_BITS:
                return  # what the network saw were colours from 0 to 255
            raise self._refused(values, samples)
        if values.is_eight_bits:
            low, high = extent(samples)
            also = ", or --scale training for the upper 8 bits" if samples.dtype == np.uint16 else ""
            raise ValueError(
                f"the model was trained on colours of 8 bits, this holds {samples.dtype} from {low:.6g} to {high:.6g}; "
                f"say which values become 0 and 255: {suggested_scale(samples)}{also}"
            )
        if self.spec.scale is None:
            self._check_colours(samples)
        self._check_raw(samples, values, unit=65535 / (2**bits - 1) if bits and samples.dtype == np.uint16 else 1)

    def _check_raw(self, samples: npt.NDArray[Any], values: ValueRange, *, unit: float = 1) -> None:
        low, high = extent(samples)
        narrower = samples.dtype == np.uint8 and not values.is_eight_bits and values.high > COLOURS[1]
        if narrower or (
            (samples.dtype != values.dtype or not values.is_eight_bits) and not values.covers(low * unit, high * unit)
        ):
            raise self._refused(values, samples)

    def _refused(self, values: ValueRange, samples: npt.NDArray[Any]) -> ValueError:
        low, high = extent(samples)
        return ValueError(
            f"the model was trained on {values.words}, this holds {samples.dtype} from {low:.6g} to {high:.6g}; say "
            f"which values are the ends of the training's range, {suggested_scale(samples)} for "
            "example, or take them as they are with --scale none"
        )

    @staticmethod
    def _check_colours(samples: npt.NDArray[Any]) -> None:
        if samples.dtype.kind != "u" or samples.dtype.itemsize > 2:
            raise ValueError(
                f"expected colours of 8 or 16 bits, found {samples.dtype} numbers; say which values become 0 and 255 "
                "with --scale MIN,MAX, store them as 8-bit RGB, or use a model that was trained with `bands: raw`"
            )

    def in_range(self, samples: npt.NDArray[Any], bits: int = 0) -> npt.NDArray[Any]:
        """Stored samples (..., B) that passed `check` -> the channels (..., C) that the network was trained on."""
        samples = self._in_range(samples, bits)
        return with_indices(samples, self.spec.indices, self.spec.names) if self.spec.indices else samples

    def _in_range(self, samples: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
        scale, own = self.scale, self.spec.scale
        if own is not None and own.is_of_training:
            return own.to_training(samples)
        if own is not None and samples.dtype != np.uint8 and (scale is None or scale.kind == "training"):
            scale = own
        is_linear = scale is not None and scale.kind == "linear"
        if self.bands == "rgb":
            return scale.to_colours(samples) if scale is not None and is_linear else eight_bits(samples, bits)
        if scale is None or scale.kind == "none":
            return samples
        if scale.kind == "training" or self.spec.values is None:
            return scale.to_colours(samples) if is_linear else eight_bits(samples)
        return scale.to_range(samples, self.spec.values.ends)


def _inside(samples: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where an image (H, W, C) shows something, or is surrounded by it."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes((samples != 0).any(axis=2)), np.bool_)


MEASURED = 24
"""Images of a training, evenly spread, that are looked at where nobody has measured all of them."""


def spec_of(dataset: Any, channels: int) -> ImageSpec | None:
    """What images a data set of files gives a model of so many channels, by some of them.

    None for one that holds no files, and for data sets put together that read theirs in different ways.
    """
    parts = list(file_datasets(dataset))
    specs: set[ImageSpec] = {part.image_spec for part in parts}
    if len(specs) != 1:
        return None
    spec = replace(specs.pop(), channels=channels)
    if spec.values is not None or spec.inputs:
        return spec
    paths = [image for part in parts for image, _ in part.pairs]
    step = max(1, len(paths) // MEASURED)
    return measured(paths[::step][:MEASURED], spec)


def file_datasets(dataset: Any) -> Iterator[Any]:
    """The data sets of files among those that one is made of."""
    if hasattr(dataset, "image_spec") and hasattr(dataset, "pairs"):
        yield dataset
        return
    for part in getattr(dataset, "datasets", None) or [part for part in [getattr(dataset, "dataset", None)] if part]:
        yield from file_datasets(part)


def measured(paths: Sequence[str | Path], spec: ImageSpec) -> ImageSpec:
    """The same with the values, and of raw images the names, that some image files of a training hold.

    Files that cannot be read count for nothing here: who trains on them is told so.
    """
    names: set[tuple[str, ...]] = set()
    types: set[str] = set()
    extents: list[tuple[float, float]] = []
    for path in paths:
        try:
            decoded = decode_image(path)
            chosen = raw_bands(decoded.file, 0) if spec.bands == "raw" else rgb_bands(decoded.file)
            samples = decoded.take(chosen)
        except ValueError:
            continue
        names.add(decoded.file.names)
        types.add(samples.dtype.name)
        extents.append(extent(samples))
    if len(types) != 1:  # mixed: nothing can be said that holds for all
        return spec
    (dtype,) = types
    found = next(iter(names)) if len(names) == 1 and spec.bands == "raw" else ()
    named = spec.names or (found if len(found) == spec.channels else ())
    if dtype == "uint8":
        return replace(spec, names=named, values=ValueRange(dtype, *COLOURS))
    return replace(spec, names=named, values=range_of(dtype, extents))


def range_of(dtype: str, extents: Sequence[tuple[float, float]]) -> ValueRange:
    """The range of some images of one type, from the smallest and the largest value of each."""
    dimmest = min((high for low, high in extents if low < high), default=None)  # an empty image is not dim
    return ValueRange(dtype, min(low for low, _ in extents), max(high for _, high in extents), dimmest)
