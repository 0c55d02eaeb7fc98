"""Several images of one place as one: what a network sees that is trained on photos with heights, or on two dates.

Shape letters: H, W height and width of the first image; C bands of all together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.data.bands import RGB
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec, InputSpec
from intarsia.data.value_range import Scale


@dataclass(frozen=True, eq=False)
class Stack:
    """Reads the images of one place by the path of the first of them.

    inputs: in the order of the bands. partners: path of the first image -> paths of the others. any_values: take files
    of any values, as those of a training; else such as `inputs` say, as a trained model does. scale: of all bands
    together, of each image those that are its own.
    """

    inputs: tuple[InputSpec, ...]
    partners: Mapping[str, tuple[str, ...]]
    any_values: bool = False
    max_pixels: int | None = None
    scale: Scale | None = None

    def read(self, path: str | Path, *, page: int = 0) -> npt.NDArray[Any]:
        """The image (H, W, C). page: of the first, if it is a file of several.

        Raises ValueError naming the file that cannot be read, or the image that has no partners.
        """
        others = self.partners.get(key_of(path))
        if others is None:
            raise ValueError(f"{path}: there is no {_names(self.inputs[1:])} for it")
        pages = (page, *(0 for _ in others))
        files = (str(path), *others)
        return stacked(
            [self._reader(n).read(file, page=p) for n, (file, p) in enumerate(zip(files, pages, strict=True))]
        )

    @property
    def says(self) -> str:
        """All that an image depends on besides its files."""
        return repr((self.inputs, self.any_values, self.max_pixels, self.scale))

    def files(self, path: str | Path) -> tuple[str, ...]:
        """The other files of the image, as far as they are known."""
        return self.partners.get(key_of(path), ())

    def _reader(self, number: int) -> ImageReader:
        one = self.inputs[number]
        before = sum(other.channels for other in self.inputs[:number])
        scale = None if self.scale is None else self.scale.of_bands(before, before + one.channels)
        spec = ImageSpec(one.bands, one.channels, one.names, None if self.any_values else one.values, scale)
        return ImageReader(spec, max_pixels=self.max_pixels)


def key_of(path: str | Path) -> str:
    """How a file is looked up, whatever way leads to it."""
    return os.path.abspath(path)


def stacked(images: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Images (H_i, W_i, C_i) as one (H, W, C) of the first one's size, bands in order.

    Images of another size are resized to the first by bilinear interpolation. Of one type they keep it; of different
    types all become float32, with the numbers that they have.
    """
    height, width = images[0].shape[:2]
    parts = [_resized(image, height, width) for image in images]
    if len({part.dtype for part in parts}) > 1:
        parts = [part.astype(np.float32) for part in parts]
    return np.concatenate(parts, axis=2)


def _resized(image: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    if image.shape[:2] == (height, width):
        return image
    known = image if image.dtype in (np.uint8, np.uint16, np.int16, np.float32) else image.astype(np.float32)
    bands = [
        cv2.resize(known[:, :, band], (width, height), interpolation=cv2.INTER_LINEAR) for band in range(known.shape[2])
    ]
    return np.stack(bands, axis=2)


def channel_names(inputs: Sequence[InputSpec]) -> tuple[str, ...]:
    """The names of all bands: "rgb.red", and "dsm.1" of a band without a name."""
    names = []
    for one in inputs:
        own = RGB if one.bands == "rgb" else one.names
        names += [f"{one.name}.{(own[band] if band < len(own) else '') or band + 1}" for band in range(one.channels)]
    return tuple(names)


def _names(inputs: Sequence[InputSpec]) -> str:
    return " and no ".join(one.name for one in inputs)
