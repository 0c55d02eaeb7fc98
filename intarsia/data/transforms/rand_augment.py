"""RandAugment: some changes of one strength, drawn anew for each image.

Paper: Cubuk, Zoph, Shlens, Le, RandAugment, arXiv:1909.13719. For labels of pixels as RegSeg (arXiv:2111.09957) has it:
of the changes of place turning alone, and all strengths grow from "unchanged". Values are changed by Pillow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from intarsia.contracts import IGNORE_INDEX, Sample
from intarsia.data.transforms.arguments import band_values
from intarsia.data.transforms.rotate import rotation, warped

Array = npt.NDArray[Any]

_MOST_DEGREES, _MOST_FACTOR = 30.0, 0.9

_VALUES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "auto_contrast": lambda picture, _: ImageOps.autocontrast(picture),
    "equalize": lambda picture, _: ImageOps.equalize(picture),
    "color": lambda picture, more: ImageEnhance.Color(picture).enhance(1 + more),
    "contrast": lambda picture, more: ImageEnhance.Contrast(picture).enhance(1 + more),
    "brightness": lambda picture, more: ImageEnhance.Brightness(picture).enhance(1 + more),
    "sharpness": lambda picture, more: ImageEnhance.Sharpness(picture).enhance(1 + more),
}
"""(picture, how much more of it than there is) -> picture."""
OPERATIONS = ("rotate", *_VALUES)


@dataclass(frozen=True)
class RandAugment:
    """Change an 8-bit RGB image in some ways, none of them twice.

    num_ops: how many ways. magnitude: of all of them, 0 to 1: images are turned by that share of 30 degrees, to the
    left or to the right, and colour, contrast, brightness and sharpness become 1 +- that share of 0.9 of what they
    were. `auto_contrast` and `equalize` have no strength.
    operations: the ways to draw from.
    pad_val, seg_pad_val: of pixels of the image and of the label that come from outside when it is turned.

    Raises ValueError for an unknown operation, one that is listed twice, and more than there are.
    """

    num_ops: int = 2
    magnitude: float = 0.2
    operations: Sequence[str] = OPERATIONS
    pad_val: float | Sequence[float] = (123, 116, 103)
    seg_pad_val: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or len(set(self.operations)) < len(self.operations):
            raise ValueError(
                f"RandAugment: operations are of {', '.join(OPERATIONS)}, each once; got {list(self.operations)}"
            )
        if not 1 <= self.num_ops <= len(self.operations):
            raise ValueError(
                f"RandAugment: num_ops must be 1 to {len(self.operations)}, the number of operations, got "
                f"{self.num_ops!r}"
            )
        if not 0 <= self.magnitude <= 1:
            raise ValueError(f"RandAugment: magnitude must be in 0..1, got {self.magnitude!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, changed. Raises ValueError unless it is an RGB image of 8 bits."""
        image = sample.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            bands = image.shape[2] if image.ndim == 3 else 1
            raise ValueError(
                f"RandAugment works on RGB images of 8 bits, found {bands} bands of {image.dtype}; leave it out for "
                "this data, or read the images with bands='rgb'"
            )
        for number in rng.choice(len(self.operations), size=self.num_ops, replace=False):
            strength = self.magnitude * (1 if rng.integers(2) else -1)
            sample = self._changed(sample, self.operations[number], strength)
        return sample

    def _changed(self, sample: Sample, operation: str, strength: float) -> Sample:
        if operation == "rotate":
            size = (sample.image.shape[0], sample.image.shape[1])
            matrix, size = rotation(size, strength * _MOST_DEGREES)
            outside = band_values("RandAugment", "pad_val", self.pad_val, sample.image)
            return warped(sample, matrix, size, image_value=outside, label_value=self.seg_pad_val)
        picture = _VALUES[operation](Image.fromarray(np.ascontiguousarray(sample.image)), strength * _MOST_FACTOR)
        return replace(sample, image=np.asarray(picture))
