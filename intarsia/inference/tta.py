"""Test-time augmentation: one image as several, at other sizes and mirrored, whose probabilities are averaged.

As in published scores, sizes are those that the views state, of the original image and not of what the test pipeline
makes of it: the pipeline's own resizing is left out, the rest of it stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Batch, Sample, SampleMeta, Size
from intarsia.data.collate import collate
from intarsia.data.transforms.by_dataset import ByDataset
from intarsia.data.transforms.geometry import Direction, flipped
from intarsia.data.transforms.resize import Interpolation, Resize, Resizing
from intarsia.spec import AugmentedInference, ViewSize

T = TypeVar("T")

FLIPS = (None, "horizontal", "vertical", "diagonal")
"""What a view may be mirrored along; "diagonal" is both."""

USUAL = AugmentedInference(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flips=(None, "horizontal"))
"""The views of nearly all published augmented scores."""


_DRAWS_NOTHING = np.random.default_rng(0)
"""What `Resize` takes and does not use."""


def check_augmented(augmented: AugmentedInference) -> None:
    """Raises ValueError unless there is a view, all scales are above 0 and all flips exist."""
    if not augmented.scales or not augmented.flips:
        raise ValueError(f"test-time augmentation: expected a scale and a flip (or None) at least, found {augmented}")
    factors = [scale for scale in augmented.scales if not isinstance(scale, ViewSize)]
    if factors and min(factors) <= 0:
        raise ValueError(f"test-time augmentation: expected scales above 0, found {tuple(factors)}")
    for scale in (*augmented.scales, augmented.first or 1.0):
        resizing(scale)
    unknown = [flip for flip in augmented.flips if flip not in FLIPS]
    if unknown:
        raise ValueError(
            f"test-time augmentation: expected flips among {', '.join(map(str, FLIPS))}, found {unknown[0]!r}"
        )


def without_resizing(transforms: Sequence[T]) -> list[T]:
    """What of a test pipeline comes before the views are made."""
    return [_without(transform) for transform in transforms if not isinstance(transform, Resizing)]


def _without(transform: T) -> T:
    if not isinstance(transform, ByDataset):
        return transform
    return cast("T", ByDataset([without_resizing(steps) for steps in transform.pipelines]))


def resizing(scale: float | ViewSize) -> Resize:
    """The transform that gives a view its size. Raises ValueError for sizes that make no sense."""
    if not isinstance(scale, ViewSize):
        return Resize(scale_factor=scale, keep_ratio=True)
    interpolation = cast("Interpolation", scale.interpolation)
    return Resize(scale.scale, scale.factors, scale.keep_ratio, interpolation, scale.backend)


def at_first(image: npt.NDArray[np.generic], meta: SampleMeta, augmented: AugmentedInference) -> npt.NDArray[Any]:
    """The image (H, W, C) that views are made of."""
    return image if augmented.first is None else _resized(image, meta, augmented.first).image


def _resized(image: npt.NDArray[np.generic], meta: SampleMeta, scale: float | ViewSize) -> Sample:
    return resizing(scale)(Sample(image, meta=meta), _DRAWS_NOTHING)


def pixels_of(scale: float | ViewSize, size: Size) -> int:
    """How many pixels the view of an image of `size` has."""
    return math.prod(resizing(scale).target(size, _DRAWS_NOTHING))


def views_of(
    image: npt.NDArray[np.generic],
    meta: SampleMeta,
    scale: float | ViewSize,
    flips: Sequence[str | None],
    *,
    together: bool,
) -> Iterator[Batch]:
    """An image (H, W, C) at one scale with every flip, in one batch or one by one."""
    resized = _resized(image, meta, scale)
    views = [resized if flip is None else flipped(resized, cast("Direction", flip)) for flip in flips]
    for batch in [views] if together else [[view] for view in views]:
        yield collate(batch)
