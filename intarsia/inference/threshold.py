"""Models of two classes with another threshold: the probability of the second class above which a pixel gets it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from intarsia.spec import InferenceSpec

if TYPE_CHECKING:
    from intarsia.inference.predictor import Predictor


def tells_two_apart(inference: InferenceSpec) -> bool:
    """Whether a threshold can decide: the model has one logit, or two."""
    return inference.answer == "class" and (inference.threshold is not None or inference.num_classes == 2)


def at_threshold(inference: InferenceSpec, threshold: float) -> InferenceSpec:
    """The same with this threshold, which is that of each class where a pixel may have several.

    Raises ValueError for one outside 0 to 1, and for more than two classes of which a pixel has one.
    """
    if inference.answer == "classes":
        return at_thresholds(inference, (threshold,) * inference.num_classes)
    if not tells_two_apart(inference):
        raise ValueError(
            f"--threshold is for models of two classes; this one has {inference.num_classes}, and a pixel gets the "
            "class with the largest logit. Pixels of little confidence are left out with --min-confidence"
        )
    if not 0 < threshold < 1:
        raise ValueError(f"--threshold is a probability between 0 and 1, found {threshold:g}")
    if inference.threshold is not None:
        return replace(inference, threshold=threshold)
    return replace(inference, two_class_threshold=threshold)


def at_thresholds(inference: InferenceSpec, thresholds: Sequence[float]) -> InferenceSpec:
    """The same with a threshold for each class that a pixel may have. Raises ValueError for one outside 0 to 1, or for
    another number of them.
    """
    if len(thresholds) != inference.num_classes:
        raise ValueError(f"expected a threshold for each of {inference.num_classes} classes, found {len(thresholds)}")
    for threshold in thresholds:
        if not 0 < threshold < 1:
            raise ValueError(f"--threshold is a probability between 0 and 1, found {threshold:g}")
    return replace(inference, class_thresholds=tuple(map(float, thresholds)))


def predictor_at(predictor: Predictor, threshold: float | None, thresholds: Sequence[float] = ()) -> Predictor:
    """A predictor with this threshold and the same network; None: as it is. Raises ValueError as `at_threshold`.

    thresholds: one for each class instead, where a pixel may have several.
    """
    if not thresholds and (threshold is None or threshold == predictor.inference.foreground_above):
        return predictor
    other = copy.copy(predictor)
    if thresholds:
        other.inference = at_thresholds(predictor.inference, thresholds)
    elif threshold is not None:
        other.inference = at_threshold(predictor.inference, threshold)
    return other
