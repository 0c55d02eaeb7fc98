"""Depth shown to the network as a part of the image (CutDepth, arXiv:2107.07684)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import check_chance, in_type_of

MAP = "depth"


@dataclass(frozen=True)
class RandomDepthMix:
    """Put the depth map in place of the image in a random strip of columns, in all bands.

    In an image of whole numbers the greatest depth of the map becomes the greatest number of its type. The original
    writes depths as they are in their file, up to some ten thousands, into 8 bits, where they count modulo 256.

    prob: chance of doing it.
    mix_scale_ratio: the strip takes at most this share of what lies right of its beginning.
    """

    prob: float = 0.25
    mix_scale_ratio: float = 0.75

    def __post_init__(self) -> None:
        check_chance("RandomDepthMix", prob=self.prob, mix_scale_ratio=self.mix_scale_ratio)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with depth in its image, or as it was; as it was, too, where nothing but an image is given.

        Raises ValueError if there is ground truth, but no map "depth" of the image's size.
        """
        if sample.label is None and not sample.maps:
            return sample
        depth = sample.maps.get(MAP)
        if depth is None or depth.shape[:2] != sample.image.shape[:2]:
            found = {name: value.shape for name, value in sample.maps.items()}
            raise ValueError(
                f"RandomDepthMix: expected a map {MAP!r} of {sample.image.shape[:2]}, found {found or 'no maps'}; "
                "LoadDepthAnnotation loads it"
            )
        if rng.random() >= self.prob:
            return sample
        width = sample.image.shape[1]
        left = int(width * rng.random())
        strip = slice(left, left + int(max(1, (width - left) * self.mix_scale_ratio * rng.random())))
        image = sample.image.copy()
        image[:, strip] = _as_image(depth, image)[:, strip]
        return replace(sample, image=image)


def _as_image(depth: npt.NDArray[Any], image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Depth (H, W) or (H, W, 1) as (H, W, 1) numbers of the image's type."""
    known = np.nan_to_num(depth.reshape(*image.shape[:2], 1).astype(np.float64), posinf=0, neginf=0)
    if image.dtype.kind == "f":
        return known.astype(image.dtype)
    greatest = known.max()
    return in_type_of(known * (np.iinfo(image.dtype).max / greatest if greatest > 0 else 0), image)
