"""Scores from the confusion matrix: IoU, accuracy, Dice, F-score, precision, recall.

With true positives TP, false positives FP and false negatives FN of a class:

    IoU  TP / (TP + FP + FN)     Acc = Recall  TP / (TP + FN)     Precision  TP / (TP + FP)
    Dice  2 TP / (2 TP + FP + FN)     Fscore  (1 + b^2) P R / (b^2 P + R)     aAcc  correct pixels / labelled pixels

A ratio with nothing below the line is nan: the class is not there to be scored. Means are over the classes that are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX, ClassScore, Report
from intarsia.metrics.confusion import confusion_matrix

FAMILIES: dict[str, tuple[str, ...]] = {
    "mIoU": ("IoU", "Acc"),
    "mDice": ("Dice", "Acc"),
    "mFscore": ("Fscore", "Precision", "Recall"),
}
"""What each entry of `metrics` asks for."""


class IoUMetric:
    """A running confusion matrix and the scores that follow from it. Memory does not grow with the images.

    num_classes: K; 1 means one foreground: labels and predictions are 0 and 1, and the background is scored beside it.
    classes: names, K of them. metrics: any of "mIoU", "mDice", "mFscore". beta: weight of the recall in the F-score.
    nan_to_num: value that stands for a class that is not there, in the means too; None leaves it out.

    With two classes, or one foreground, the summary also holds "IoU(name)" of the foreground.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        classes: Sequence[str] | None = None,
        ignore_index: int = IGNORE_INDEX,
        metrics: Sequence[str] = ("mIoU",),
        beta: float = 1.0,
        nan_to_num: float | None = None,
    ) -> None:
        names = tuple(classes) if classes is not None else tuple(f"class {i}" for i in range(num_classes))
        if len(names) != num_classes:
            raise ValueError(f"IoUMetric has {num_classes} classes but {len(names)} names: {', '.join(names)}")
        if num_classes == 1:
            names = ("background" if names[0] != "background" else "other", *names)
        for name in metrics:
            if name not in FAMILIES:
                raise ValueError(f"unknown metric {name!r}; known: {', '.join(FAMILIES)}")
        self.classes = names
        self.ignore_index = ignore_index
        self.scores = tuple(dict.fromkeys(score for name in metrics for score in FAMILIES[name]))
        self.beta = beta
        self.nan_to_num = nan_to_num
        self.images = 0
        self.matrix = torch.zeros(len(names), len(names), dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image: prediction and label (H, W) class indices. The counts live on the prediction's device."""
        found = confusion_matrix(prediction, label, len(self.classes), self.ignore_index)
        self.matrix = self.matrix.to(found.device).add_(found)
        self.images += 1

    def state(self) -> Tensor:
        """(1 + K * K) int64: the number of images, then the confusion matrix. States of several processes add up."""
        images = torch.tensor([self.images], dtype=torch.int64, device=self.matrix.device)
        return torch.cat([images, self.matrix.flatten()])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self.images = int(state[0])
        self.matrix = state[1:].view_as(self.matrix).clone()

    def report(self) -> Report:
        """All scores of what was counted so far. Raises ValueError if no image was."""
        if self.images == 0:
            raise ValueError("nothing to report: no image was evaluated")
        table = class_scores(self.matrix, beta=self.beta)
        if self.nan_to_num is not None:
            table = {name: values.nan_to_num(nan=self.nan_to_num) for name, values in table.items()}
        matrix = self.matrix.cpu()
        labelled = matrix.sum(dim=1).tolist()
        total, correct = int(matrix.sum()), int(matrix.diagonal().sum())
        summary = {"aAcc": correct / total if total else math.nan}
        for score in self.scores:
            summary[f"m{score}"] = float(table[score].nanmean())
        if len(self.classes) == 2:
            summary[f"IoU({self.classes[1]})"] = float(table["IoU"][1])
        return Report(
            summary=summary,
            classes=tuple(
                ClassScore(name, {score: float(table[score][i]) for score in self.scores}, labelled[i])
                for i, name in enumerate(self.classes)
            ),
            absent=tuple(name for name, count in zip(self.classes, labelled, strict=True) if count == 0),
            images=self.images,
        )


def class_scores(matrix: Tensor, *, beta: float = 1.0) -> dict[str, Tensor]:
    """Every score of every class, name -> (K,) float64 on the CPU, from a (K, K) matrix of counts."""
    counts = matrix.cpu().to(torch.float64)
    hit = counts.diagonal()
    labelled, predicted = counts.sum(dim=1), counts.sum(dim=0)
    precision, recall = hit / predicted, hit / labelled
    weight = beta**2
    return {
        "IoU": hit / (labelled + predicted - hit),
        "Acc": recall,
        "Dice": 2 * hit / (labelled + predicted),
        "Fscore": (1 + weight) * precision * recall / (weight * precision + recall),
        "Precision": precision,
        "Recall": recall,
    }
