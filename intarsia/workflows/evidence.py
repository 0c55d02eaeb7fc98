"""The figures that `next_steps` goes by, collected from a training that is over."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from intarsia.contracts import Dataset, Size
from intarsia.workflows.next_steps import (
    ClassEvidence,
    Evidence,
    Larger,
    behind,
    next_steps,
    outlines_are_worse,
)

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.engine.training.run import Run, TrainingResult

MOST_COUNTED, PATIENCE = 200, 10.0
"""Training images whose labels are counted at most, and the seconds after which no more are."""
AFFORDABLE = 4.0
"""A larger network that is named has at most so many times the multiply-adds."""
_RECIPE = "recipe "


@dataclass(frozen=True)
class Counted:
    """What labels of training images show. share: of each class, of the labelled pixels; images: in how many it is.

    looked_at: at so many. size: (height, width) of a typical one.
    """

    share: tuple[float, ...]
    images: tuple[int, ...]
    looked_at: int
    size: Size


def help_after(run: Run, result: TrainingResult, config: Config) -> list[str]:
    """What would help most, in sentences. A figure that cannot be had is one that says nothing; it raises no error."""
    from intarsia.engine.training.log import MetricsFile

    report = result.report
    if report is None or not report.classes:
        return []
    evidence = Evidence(
        lines=MetricsFile(run.folder.metrics).read(),
        steps=run.steps if result.step == run.steps else None,
        summary=report.summary,
        classes=[
            ClassEvidence(one.name, one.values["IoU"])
            for one in report.classes
            if one.pixels and math.isfinite(one.values.get("IoU", math.nan))
        ],
        crop=crop_of(config.values),
        larger=larger_than(config.file),
    )
    if not behind(evidence) and not outlines_are_worse(evidence.summary):
        return next_steps(evidence)  # nothing that labels would explain
    try:
        counted = count_labels(run.pipeline.dataset, [one.name for one in report.classes])
    except (ValueError, OSError):  # the training has read them, and would have told; they may have gone since
        counted = None
    return next_steps(evidence if counted is None else with_counts(evidence, counted, report.classes))


def with_counts(evidence: Evidence, counted: Counted, scores: Any) -> Evidence:
    """The same with what the training images show."""
    places = {one.name: place for place, one in enumerate(scores)}
    classes = [
        replace(one, share=counted.share[places[one.name]], images=counted.images[places[one.name]])
        for one in evidence.classes
    ]
    return replace(evidence, classes=classes, counted=counted.looked_at, image_size=counted.size)


def count_labels(
    dataset: Dataset, classes: list[str], *, most: int = MOST_COUNTED, seconds: float = PATIENCE
) -> Counted | None:
    """What the labels of images show, evenly spread over a data set; None if there are none.

    classes: the names that are scored, in the order of their indices.
    """
    began = time.perf_counter()
    pixels, images = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    sizes: list[Size] = []
    chosen = range(0, len(dataset), max(1, -(-len(dataset) // most)))
    only_label = getattr(dataset, "label", None)
    for index in chosen:
        label = dataset.load(index).label if only_label is None else only_label(index)
        if label is None or label.dtype.kind == "f":
            continue
        found = np.bincount(label[label != dataset.ignore_index].ravel(), minlength=len(classes))[: len(classes)]
        pixels, images = pixels + found, images + (found > 0)
        sizes.append((label.shape[0], label.shape[1]))
        if time.perf_counter() - began > seconds:
            break
    if not pixels.sum():
        return None
    middle = len(sizes) // 2
    size = sorted(height for height, _ in sizes)[middle], sorted(width for _, width in sizes)[middle]
    return Counted(tuple((pixels / pixels.sum()).tolist()), tuple(images.tolist()), len(sizes), size)


def crop_of(values: Mapping[str, Any]) -> Size | None:
    """What a config trains on; None where it does not say."""
    own = (values.get("model") or {}).get("data_preprocessor") or values.get("data_preprocessor") or {}
    size = own.get("size")
    return None if size is None else (int(size[0]), int(size[1]))


def larger_than(file: str) -> Larger | None:
    """The network for own data with the best score for not much more; None if the config is of no recipe with a score.

    file: where the config is from, "recipe NAME".
    """
    from intarsia.guide.models import UnknownModelError, find, models

    if not file.startswith(_RECIPE):
        return None
    try:
        this = find(file.removeprefix(_RECIPE))
    except UnknownModelError:
        return None
    for benchmark in ("ade20k", "cityscapes"):
        score, cost = this.best(benchmark), this.cost()
        if score is None or cost is None:
            continue
        found = [
            Larger(one.network.own, best.score[1], score.score[1], benchmark, its.multiply_adds / cost.multiply_adds)
            for one in models()
            if one.network.own is not None
            if (best := one.best(benchmark)) is not None and (its := one.cost()) is not None
            if best.score[1] > score.score[1] and 1 < its.multiply_adds / cost.multiply_adds <= AFFORDABLE
        ]
        return max(found, key=lambda one: (one.score, -one.times), default=None)
    return None
