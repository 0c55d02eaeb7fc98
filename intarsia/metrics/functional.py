"""The scores as functions, for anybody's own loop: `intarsia.metrics.iou(prediction, label, num_classes=4)`.

Predictions and labels are class indices of one shape, of any number of dimensions, as tensors or as NumPy arrays; a
score is over all their pixels together. Counting and formulas are those of `IoUMetric`, which evaluations use: for the
scores of many images, add up their confusion matrices and give `scores` the sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX
from intarsia.metrics import confusion
from intarsia.metrics.boundary import BoundaryCounter
from intarsia.metrics.iou import accuracy_of, class_scores

SCORES = ("IoU", "Acc", "Dice", "Fscore", "Precision", "Recall")


def confusion_matrix(prediction: Any, label: Any, *, num_classes: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Pixels by true class (row) and predicted one (column): (K, K) int64, on the device of the prediction.

    Raises ValueError for what is no class, or of another shape or type.
    """
    found, truth = _indices(prediction, "prediction"), _indices(label, "label")
    return confusion.confusion_matrix(found, truth, num_classes, ignore_index)


def scores(matrix: Tensor, *, beta: float = 1.0) -> dict[str, Tensor]:
    """All scores of each class, by name, (K,) float64 on the CPU, from a confusion matrix (K, K).

    "IoU", "Acc", "Dice", "Fscore", "Precision", "Recall". nan for a class that is neither labelled nor predicted:
    `nanmean()` is the mean as evaluations have it. beta: weight of the recall in the F-score.
    """
    table = class_scores(matrix, beta=beta)
    return {name: table[name] for name in SCORES}


def iou(prediction: Any, label: Any, *, num_classes: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The intersection over union of each class, (K,) float64; nan for one that is nowhere. Errors as above."""
    return scores(confusion_matrix(prediction, label, num_classes=num_classes, ignore_index=ignore_index))["IoU"]


def dice(prediction: Any, label: Any, *, num_classes: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The Dice score, or F1, of each class, (K,) float64; nan for one that is nowhere. Errors as above."""
    return scores(confusion_matrix(prediction, label, num_classes=num_classes, ignore_index=ignore_index))["Dice"]


def accuracy(prediction: Any, label: Any, *, num_classes: int, ignore_index: int = IGNORE_INDEX) -> float:
    """The share of the labelled pixels whose class is right; nan without any. Errors as above."""
    return accuracy_of(confusion_matrix(prediction, label, num_classes=num_classes, ignore_index=ignore_index))


def boundary_iou(
    prediction: Any, label: Any, *, num_classes: int, ignore_index: int = IGNORE_INDEX, dilation_ratio: float = 0.02
) -> Tensor:
    """The IoU of the pixels near contours, of one image (H, W): (K,) float64; nan for a class that is nowhere.

    dilation_ratio: how near, as a share of the diagonal. Errors as above, and for several images, whose counts
    `metrics.boundary.BoundaryCounter` adds up.
    """
    found, truth = _indices(prediction, "prediction"), _indices(label, "label")
    if found.dim() != 2:
        raise ValueError(f"contours are those of one image: expected (H, W), found {tuple(found.shape)}")
    confusion.confusion_matrix(found, truth, num_classes, ignore_index)  # refuses what is no class
    counter = BoundaryCounter(num_classes, ignore_index=ignore_index, dilation_ratio=dilation_ratio)
    counter.update(found, truth)
    return counter.scores()


def _indices(values: Any, what: str) -> Tensor:
    """Class indices as a tensor: integers, or truth values for two classes."""
    found = values if isinstance(values, Tensor) else torch.as_tensor(_known_to_torch(np.asarray(values)))
    if found.is_floating_point() or found.is_complex():
        raise ValueError(
            f"the {what} holds class indices, integers; found {found.dtype}. Of logits (N, K, H, W) take "
            "logits.argmax(dim=1)"
        )
    return found.to(torch.uint8) if found.dtype == torch.bool else found


def _known_to_torch(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in a type that torch computes with, in the byte order of the machine."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
