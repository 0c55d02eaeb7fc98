"""Augmentation by depths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from intarsia.contracts import Sample
from intarsia.data.transforms.arguments import check_chance


@dataclass(frozen=True)
class RandomDepthMix:
    """Show the depth instead of the image in a vertical stripe, at random (CutDepth, arXiv:2107.07684, vertical form).

    What is shown is the number in the depth's file; of one that is larger than the image's values the lower bits, as
    published networks have seen it.

    prob: how often. mix_scale_ratio: the stripe takes up to so much of what is right of its left end, at random.
    depth_rescale_factor: what the file's numbers were multiplied by.
    """

    prob: float = 0.25
    mix_scale_ratio: float = 0.75
    depth_rescale_factor: float = 1.0

    def __post_init__(self) -> None:
        check_chance("RandomDepthMix", prob=self.prob, mix_scale_ratio=self.mix_scale_ratio)
        if not self.depth_rescale_factor > 0:
            raise ValueError(f"RandomDepthMix: depth_rescale_factor must be above 0, got {self.depth_rescale_factor!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with another image, of the same type; without depths, as it is."""
        chance, start, share = rng.random(3)
        if chance > self.prob or sample.label is None:
            return sample
        width = sample.image.shape[1]
        left = int(width * start)
        right = left + int(max(1, (width - left) * self.mix_scale_ratio * share))
        stored = np.rint(sample.label[:, left:right] / self.depth_rescale_factor).astype(np.int64)
        image = sample.image.copy()
        image[:, left:right] = stored.astype(image.dtype)[:, :, None]
        return replace(sample, image=image)
