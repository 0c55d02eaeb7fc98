"""The scores of segmentation_models.pytorch by its names and arguments, with its values.

    tp, fp, fn, tn = intarsia.smp.metrics.get_stats(found, truth, mode="multiclass", num_classes=4)
    intarsia.smp.metrics.iou_score(tp, fp, fn, tn, reduction="macro")

For new code there are `intarsia.metrics`. Each score takes four counts (N, C): yes that is right, yes that is wrong, no
that is wrong, no that is right.

    reduction  micro                of all counts together
               macro                the mean over classes, of all images together
               weighted             the same by class_weights, which are divided by their sum
               micro-imagewise      the mean over images, of all classes together
               macro-imagewise, weighted-imagewise
                                    the mean over images and classes
               none, None           (N, C)
    class_weights: of classes. As there, with any reduction but "weighted" the mean divides by the number of classes
    once more.
    zero_division: what 0 / 0 is, but for micro, where it is nan; "warn" is 0, with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from intarsia.metrics.confusion import confusion_matrix

Counts = tuple[Tensor, Tensor, Tensor, Tensor]
REDUCTIONS = ("micro", "macro", "weighted", "micro-imagewise", "macro-imagewise", "weighted-imagewise", "none")


@torch.no_grad()
def get_stats(
    output: Tensor,
    target: Tensor,
    mode: str,
    ignore_index: int | None = None,
    threshold: float | None = None,
    num_classes: int | None = None,
) -> Counts:
    """tp, fp, fn, tn, each (N, C) int64, of predictions and truth of one shape.

    mode: "multiclass", class indices (N, ...) of `num_classes` classes, but for `ignore_index`; "binary" and
    "multilabel", yes and no (N, C, ...), or real numbers with the `threshold` from which they are yes.

    Raises ValueError for what does not fit together, and for values that are no class.
    """
    if output.shape != target.shape or target.is_floating_point():
        raise ValueError(
            f"get_stats: output and target are of one shape, and target is of integers; found {tuple(output.shape)} "
            f"and {tuple(target.shape)}, {target.dtype}"
        )
    if mode == "multiclass":
        if num_classes is None or threshold is not None or output.is_floating_point():
            raise ValueError("get_stats: multiclass needs num_classes and class indices, and has no threshold")
        if ignore_index is not None and 0 <= ignore_index < num_classes:
            raise ValueError(f"get_stats: ignore_index={ignore_index} is one of the classes 0 to {num_classes - 1}")
        return _of_classes(output, target, num_classes, ignore_index)
    if mode not in ("binary", "multilabel"):
        raise ValueError(f"get_stats: mode must be one of binary, multiclass, multilabel; found {mode!r}")
    if ignore_index is not None:
        raise ValueError(f"get_stats: ignore_index is for multiclass, found it with mode={mode!r}")
    if output.is_floating_point() and threshold is None:
        raise ValueError(f"get_stats: real numbers ({output.dtype}) need a threshold")
    if threshold is not None:
        output, target = output >= threshold, target >= threshold
    found, truth = (x.flatten(2).long() for x in (output, target))
    tp = (found * truth).sum(2)
    fp, fn = found.sum(2) - tp, truth.sum(2) - tp
    return tp, fp, fn, found.shape[2] - tp - fp - fn


def _of_classes(output: Tensor, target: Tensor, num_classes: int, ignore_index: int | None) -> Counts:
    nothing = -1 if ignore_index is None else ignore_index
    matrices = torch.stack(
        [confusion_matrix(found, truth, num_classes, nothing) for found, truth in zip(output, target, strict=True)]
    )  # fmt: skip  (N, C, C)
    tp = matrices.diagonal(dim1=1, dim2=2)
    fp, fn = matrices.sum(1) - tp, matrices.sum(2) - tp
    return tp, fp, fn, matrices.sum((1, 2))[:, None] - tp - fp - fn


class Score(Protocol):
    """Of one of the scores below."""

    def __call__(
        self,
        tp: Tensor,
        fp: Tensor,
        fn: Tensor,
        tn: Tensor,
        reduction: str | None = None,
        class_weights: Sequence[float] | None = None,
        zero_division: str | float = 1.0,
    ) -> Tensor:
        """See the head of this file. Raises ValueError for an unknown reduction, and "weighted" without weights."""
        ...


Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _score(
    formula: Formula,
    tp: Tensor,
    fp: Tensor,
    fn: Tensor,
    tn: Tensor,
    reduction: str | None = None,
    class_weights: Sequence[float] | None = None,
    zero_division: str | float = 1.0,
) -> Tensor:
    kind = reduction or "none"
    if kind not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, or None; found {reduction!r}")
    if "weighted" in kind and class_weights is None:
        raise ValueError(f"reduction={reduction!r} needs class_weights")
    counts = [tp, fp, fn, tn]
    if kind == "micro":
        return formula(*(count.sum() for count in counts))
    if kind in ("macro", "weighted"):
        counts = [count.sum(0) for count in counts]
    elif kind == "micro-imagewise":
        counts = [count.sum(1) for count in counts]
    values = _defined(formula(*counts), zero_division)
    if kind == "none":
        return values
    if kind == "micro-imagewise":
        return values.mean()
    weights = values.new_tensor(1.0 if class_weights is None else class_weights)
    values = values.mean(0) if kind.endswith("imagewise") else values
    weighted = values * weights / weights.sum()
    return weighted.sum() if kind == "weighted" else weighted.mean()


def _defined(values: Tensor, zero_division: str | float) -> Tensor:
    if zero_division == "warn":
        if values.isnan().any():
            warnings.warn("a score has nothing to count, 0 / 0, and is 0", stacklevel=4)
        zero_division = 0.0
    return values.masked_fill(values.isnan(), float(zero_division))


def _sensitivity(tp: Tensor, fp: Tensor, fn: Tensor, tn: Tensor) -> Tensor:
    return tp / (tp + fn)


def _specificity(tp: Tensor, fp: Tensor, fn: Tensor, tn: Tensor) -> Tensor:
    return tn / (tn + fp)


def _precision(tp: Tensor, fp: Tensor, fn: Tensor, tn: Tensor) -> Tensor:
    return tp / (tp + fp)


def _negative(tp: Tensor, fp: Tensor, fn: Tensor, tn: Tensor) -> Tensor:
    return tn / (tn + fn)


def _f_score(tp: Tensor, fp: Tensor, fn: Tensor, tn: Tensor, beta: float = 1.0) -> Tensor:
    return (1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp)


def fbeta_score(
    tp: Tensor,
    fp: Tensor,
    fn: Tensor,
    tn: Tensor,
    beta: float = 1.0,
    reduction: str | None = None,
    class_weights: Sequence[float] | None = None,
    zero_division: str | float = 1.0,
) -> Tensor:
    """The F-score, in which recall counts `beta` times as much as precision. See the head of this file."""
    return _score(
        partial(_f_score, beta=beta), tp, fp, fn, tn, reduction=reduction, class_weights=class_weights,
        zero_division=zero_division,
    )  # fmt: skip


def _named(formula: Formula) -> Score:
    return partial(_score, formula)


f1_score = _named(_f_score)
iou_score = _named(lambda tp, fp, fn, tn: tp / (tp + fp + fn))
accuracy = _named(lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn))
precision = positive_predictive_value = _named(_precision)
recall = sensitivity = _named(_sensitivity)
specificity = _named(_specificity)
balanced_accuracy = _named(lambda *counts: (_sensitivity(*counts) + _specificity(*counts)) / 2)
negative_predictive_value = _named(_negative)
false_negative_rate = _named(lambda *counts: 1 - _sensitivity(*counts))
false_positive_rate = _named(lambda *counts: 1 - _specificity(*counts))
false_discovery_rate = _named(lambda *counts: 1 - _precision(*counts))
false_omission_rate = _named(lambda *counts: 1 - _negative(*counts))
positive_likelihood_ratio = _named(lambda *counts: _sensitivity(*counts) / (1 - _specificity(*counts)))
negative_likelihood_ratio = _named(lambda *counts: (1 - _sensitivity(*counts)) / _specificity(*counts))
