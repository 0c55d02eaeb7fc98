"""Transforms that depend on which of several data sets a sample is from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from intarsia.contracts import AnyTransform, Sample, Transform


class ByDataset:
    """What is done to the samples of each part of a `ConcatDataset`, where its parts have pipelines of their own.

    It stands first in a pipeline, which puts the sample's own transforms in its place: so they are joined and timed as
    others are.

    pipelines: one for each number in `ConcatDataset.members`, which `SampleMeta.member` then holds.

    Raises ValueError for a transform that mixes samples, since others would be of any part.
    """

    def __init__(self, pipelines: Sequence[Sequence[Transform]]) -> None:
        self.pipelines = tuple(map(tuple, pipelines))
        mixing = [step for steps in self.pipelines for step in steps if hasattr(step, "others")]
        if mixing:
            raise ValueError(
                f"{type(mixing[0]).__name__} mixes samples of all parts of a ConcatDataset, but stands in the pipeline "
                "of one of them: put it at the end of the pipelines of all, or into a MultiImageMixDataset around them"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample after the transforms of its data set."""
        for step in self.pipelines[sample.meta.member]:
            sample = step(sample, rng)
        return sample


def by_member(transforms: Sequence[AnyTransform]) -> tuple[tuple[AnyTransform, ...], ...]:
    """The transforms of the samples of each data set, by its number; one for all where nothing depends on it.

    Raises ValueError for a `ByDataset` behind other transforms.
    """
    before = list(takewhile(lambda step: not isinstance(step, ByDataset), transforms))
    if len(before) == len(transforms):
        return (tuple(transforms),)
    first = transforms[len(before)]
    if before or not isinstance(first, ByDataset) or any(isinstance(step, ByDataset) for step in transforms[1:]):
        raise ValueError("the transforms of single data sets (ByDataset) come before those of all, and once")
    return tuple((*steps, *transforms[1:]) for steps in first.pipelines)
