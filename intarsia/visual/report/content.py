"""What a report shows, as plain values and arrays. Everything optional is left out of the page where it is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX
from intarsia.visual.overlay import Label, Picture

Values = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """Scores of one image in fractions of 1; nan without a labelled pixel."""

    name: str
    iou: float
    accuracy: float


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An image to be looked at, at the size in which it is shown.

    image: (H, W, 3) RGB. truth, prediction: (H, W) class indices. confidence: (H, W) in 0..1, or None.
    """

    entry: ImageEntry
    image: Picture
    truth: Label
    prediction: Label
    confidence: Values | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """A reliability diagram: B bins of equal width, from confidence 0 to 1.

    pixels: (B,). accuracy, confidence: (B,) share of right pixels and mean confidence, nan in empty bins.
    error: the expected calibration error.
    """

    pixels: Counts
    accuracy: Values
    confidence: Values
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """Everything on the page.

    summary: score -> value in fractions of 1. scores: score -> (K,) values by class, nan where a class is not there;
    of `tables.HEADINGS` those that are there are shown. matrix: (K, K) pixels, rows are true classes.
    interval: of the mIoU; class_intervals: (2, K) of the IoU by class. images: all of them. worst, best: some, the
    extreme ones first. facts: heading -> name -> value.
    """

    title: str
    subtitle: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    summary: Mapping[str, float]
    scores: Mapping[str, Values]
    matrix: Counts
    ignore_index: int = IGNORE_INDEX
    interval: tuple[float, float] | None = None
    class_intervals: Values | None = None
    bins: Bins | None = None
    images: tuple[ImageEntry, ...] = ()
    worst: tuple[Example, ...] = ()
    best: tuple[Example, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
