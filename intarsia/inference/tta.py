"""Test-time augmentation: one image as several, at other sizes and mirrored, whose probabilities are averaged.

As in published scores, sizes are factors of the original image and not of what the test pipeline makes of it: the
pipeline's own resizing is left out, the rest of it stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Batch, Sample, SampleMeta
from intarsia.data.collate import collate
from intarsia.data.transforms.geometry import Direction, flipped
from intarsia.data.transforms.resize import Resize, Resizing
from intarsia.spec import AugmentedInference

T = TypeVar("T")

FLIPS = (None, "horizontal", "vertical", "diagonal")
"""What a view may be mirrored along; "diagonal" is both."""

USUAL = AugmentedInference(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flips=(None, "horizontal"))
"""The views of nearly all published augmented scores."""


def check_augmented(augmented: AugmentedInference) -> None:
    """Raises ValueError unless there is a view, all scales are above 0 and all flips exist."""
    if not augmented.scales or not augmented.flips:
        raise ValueError(f"test-time augmentation: expected a scale and a flip (or None) at least, found {augmented}")
    if min(augmented.scales) <= 0:
        raise ValueError(f"test-time augmentation: expected scales above 0, found {augmented.scales}")
    unknown = [flip for flip in augmented.flips if flip not in FLIPS]
    if unknown:
        raise ValueError(
            f"test-time augmentation: expected flips among {', '.join(map(str, FLIPS))}, found {unknown[0]!r}"
        )


def without_resizing(transforms: Sequence[T]) -> list[T]:
    """What of a test pipeline comes before the views are made."""
    return [transform for transform in transforms if not isinstance(transform, Resizing)]


def views_of(
    image: npt.NDArray[np.generic], meta: SampleMeta, scale: float, flips: Sequence[str | None], *, together: bool
) -> Iterator[Batch]:
    """An image (H, W, C) at one scale with every flip, in one batch or one by one."""
    rng = np.random.default_rng(0)  # which Resize takes and does not use
    resized = Resize(scale_factor=scale, keep_ratio=True)(Sample(image, meta=meta), rng)
    views = [resized if flip is None else flipped(resized, cast("Direction", flip)) for flip in flips]
    for batch in [views] if together else [[view] for view in views]:
        yield collate(batch)
