"""The scores as functions, for anybody's own loop: `intarsia.metrics.iou(prediction, label, num_classes=4)`.

Predictions and labels are class indices of one shape, of any number of dimensions, as tensors or as NumPy arrays; a
score is over all their pixels together. Counting and formulas are those of `IoUMetric`, which evaluations use: for the
scores of many images, add up their confusion matrices and give `scores` the sum. As for `IoUMetric`, num_classes=1, a
single logit, means two classes: 0, the background, and 1. ignore_index: the label that counts nowhere, or None.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX
from intarsia.metrics import confusion
from intarsia.metrics.boundary import BoundaryCounter
from intarsia.metrics.iou import accuracy_of, class_scores

SCORES = ("IoU", "Acc", "Dice", "Fscore", "Precision", "Recall")


def confusion_matrix(
    prediction: Any, label: Any, *, num_classes: int, ignore_index: int | None = IGNORE_INDEX
) -> Tensor:
    """Pixels by true class (row) and predicted one (column): (K, K) int64, on the device of the prediction.

    Raises ValueError for what is no class, or of another shape or type.
    """
    found, truth = confusion.class_indices(prediction, "prediction"), confusion.class_indices(label, "label")
    return confusion.confusion_matrix(found, truth, _count(num_classes), ignore_index)


def scores(matrix: Any, *, beta: float = 1.0) -> dict[str, Tensor]:
    """All scores of each class, by name, (K,) float64 on the CPU, from a confusion matrix (K, K).

    "IoU", "Acc", "Dice", "Fscore", "Precision", "Recall". nan for a class that is neither labelled nor predicted:
    `nanmean()` is the mean as evaluations have it. beta: weight of the recall in the F-score.

    Raises ValueError for what is no square table.
    """
    counts = torch.as_tensor(matrix)
    if counts.dim() != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"expected a confusion matrix (K, K), found {tuple(counts.shape)}")
    table = class_scores(counts, beta=beta)
    return {name: table[name] for name in SCORES}


def iou(prediction: Any, label: Any, *, num_classes: int, ignore_index: int | None = IGNORE_INDEX) -> Tensor:
    """The intersection over union of each class, (K,) float64; nan for one that is nowhere. Errors as above."""
    return scores(confusion_matrix(prediction, label, num_classes=num_classes, ignore_index=ignore_index))["IoU"]


def dice(prediction: Any, label: Any, *, num_classes: int, ignore_index: int | None = IGNORE_INDEX) -> Tensor:
    """The Dice score, or F1, of each class, (K,) float64; nan for one that is nowhere. Errors as above."""
    return scores(confusion_matrix(prediction, label, num_classes=num_classes, ignore_index=ignore_index))["Dice"]


def accuracy(prediction: Any, label: Any, *, num_classes: int, ignore_index: int | None = IGNORE_INDEX) -> float:
    """The share of the labelled pixels whose class is right; nan without any. Errors as above."""
    return accuracy_of(confusion_matrix(prediction, label, num_classes=num_classes, ignore_index=ignore_index))


def boundary_iou(
    prediction: Any,
    label: Any,
    *,
    num_classes: int,
    ignore_index: int | None = IGNORE_INDEX,
    dilation_ratio: float = 0.02,
) -> Tensor:
    """The IoU of the pixels near contours, of one image (H, W): (K,) float64; nan for a class that is nowhere.

    dilation_ratio: how near, as a share of the diagonal. Errors as above, and for several images, whose counts
    `metrics.boundary.BoundaryCounter` adds up.
    """
    found, truth = confusion.class_indices(prediction, "prediction"), confusion.class_indices(label, "label")
    if found.dim() != 2:
        raise ValueError(f"contours are those of one image: expected (H, W), found {tuple(found.shape)}")
    confusion.confusion_matrix(found, truth, _count(num_classes), ignore_index)  # refuses what is no class
    counter = BoundaryCounter(_count(num_classes), ignore_index=ignore_index, dilation_ratio=dilation_ratio)
    counter.update(found, truth)
    return counter.scores()


def _count(num_classes: int) -> int:
    return max(num_classes, 2)
