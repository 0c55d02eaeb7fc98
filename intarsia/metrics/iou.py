"""Scores from the confusion matrix: IoU, accuracy, Dice, F-score, precision, recall.

With true positives TP, false positives FP and false negatives FN of a class:

    IoU  TP / (TP + FP + FN)     Acc = Recall  TP / (TP + FN)     Precision  TP / (TP + FP)
    Dice  2 TP / (2 TP + FP + FN)     Fscore  (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP)
    aAcc  correct pixels / labelled pixels

A ratio with nothing below the line is nan: the class is not there to be scored. Means are over the classes that are.
The precision of a class that is labelled and never predicted is 0: leaving it out would reward a network for it.

MMSegmentation computes the F-score as (1 + b^2) P R / (b^2 P + R), which has no value for a class that was never hit,
or is not in the labels, so that its mean is over the classes that went well; its precision has none for a class that
was never predicted. Both are there by the name "mFscore_mmseg".

Beyond these there are, each in a file of its own: the IoU near contours (boundary.py), the distribution over images
(per_image.py), intervals of the mIoU (bootstrap.py), the calibration error (calibration.py), agreement.py, and where
there are two classes the scores of the second, image by image (foreground.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX, ClassScore, Report
from intarsia.metrics.agreement import class_groups, cohens_kappa, frequency_weighted_iou, group_iou
from intarsia.metrics.bootstrap import ImageBootstrap
from intarsia.metrics.boundary import BoundaryCounter
from intarsia.metrics.calibration import Calibration
from intarsia.metrics.confusion import check_outside, class_indices, outside, pixel_table
from intarsia.metrics.foreground import SCORES as OF_FOREGROUND
from intarsia.metrics.foreground import EmptyImages, ForegroundScores
from intarsia.metrics.per_image import ImageScores

FAMILIES: dict[str, tuple[str, ...]] = {
    "mIoU": ("IoU", "Acc"),
    "mDice": ("Dice", "Acc"),
    "mFscore": ("Fscore", "Precision", "Recall"),
    "mFscore_mmseg": ("Fscore_mmseg", "Precision_mmseg", "Recall"),
    "mBoundaryIoU": ("BoundaryIoU",),
    "fwIoU": (),
    "kappa": (),
    "imageIoU": (),
    "interval": (),
    "ECE": (),
}
"""What each entry of `metrics` asks for: scores of every class, with their mean; or one number, or a few."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the distribution over images: "imageIoU_q05" to "imageIoU_q95"."""

TOGETHER = 64
"""Images whose confusion matrices an accelerator keeps until they are brought to the processor, which waits for it."""


class IoUMetric:
    """A running confusion matrix and the scores that follow from it. Memory does not grow with the images.

    num_classes: K; 1 means one foreground: labels and predictions are 0 and 1, and the background is scored beside it.
    classes: names, K of them. metrics: any of `FAMILIES`. beta: weight of the recall in the F-score.
    nan_to_num: value that stands for a class that is not there, in the means too; None leaves it out.
    groups: name -> classes that are scored as if they were one, "IoU(name)" in the summary.

    empty_images: with two classes, what images without the second count, see `foreground`.

    With two classes, or one foreground, the summary also holds the scores of the foreground, which is the second: over
    all pixels "Dice(name)", "IoU(name)", "Precision(name)", "Recall(name)", and as means over images "imageDice(name)"
    and so on.

    foreground: counts these; None for other numbers of classes. boundary, distribution, bootstrap, calibration: the
    counters of "mBoundaryIoU", "imageIoU", "interval" and "ECE", None where they were not asked for.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        classes: Sequence[str] | None = None,
        ignore_index: int | None = IGNORE_INDEX,
        metrics: Sequence[str] = ("mIoU",),
        beta: float = 1.0,
        nan_to_num: float | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        empty_images: EmptyImages = "one",
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
        self.metrics = tuple(metrics)
        self.groups = class_groups(groups or {}, names)
        self.scores = tuple(dict.fromkeys(score for name in metrics for score in FAMILIES[name]))
        self.beta = beta
        self.nan_to_num = nan_to_num
        count = len(names)
        self.matrix = torch.zeros(count, count, dtype=torch.int64)
        self._images = torch.zeros(1, dtype=torch.int64)
        self._outside = torch.zeros(2, dtype=torch.int64)  # pixels of label and prediction that are no class
        self._pending: list[Tensor] = []
        rule = ForegroundScores(empty_images=empty_images)
        self.foreground = rule if count == 2 else None
        self.boundary = BoundaryCounter(count, ignore_index=ignore_index) if "mBoundaryIoU" in metrics else None
        self.distribution = ImageScores(count, ignore_index=ignore_index) if "imageIoU" in metrics else None
        self.bootstrap = ImageBootstrap(count, ignore_index=ignore_index) if "interval" in metrics else None
        self.calibration = Calibration(ignore_index=ignore_index) if "ECE" in metrics else None

    @property
    def images(self) -> int:
        """How many were counted."""
        return int(self._images)

    @property
    def needs_confidence(self) -> bool:
        """Whether `update` must be told how sure the network was."""
        return self.calibration is not None

    def update(self, prediction: Any, label: Any, confidence: Tensor | None = None) -> None:
        """Count one image: prediction and label (H, W) class indices. The counts live on the prediction's device.

        Tensors or arrays. Of a batch, (N, H, W), each image is counted. confidence: of the same shape, the probability
        of each predicted class. Raises ValueError if it is needed and missing, for real numbers, and for a pixel that
        is no class; of an accelerator, which is not waited for, `report` says that.
        """
        prediction, label = class_indices(prediction, "prediction"), class_indices(label, "label")
        if label.dim() == 3 and prediction.shape == label.shape:
            for index in range(len(label)):
                self.update(prediction[index], label[index], None if confidence is None else confidence[index])
            return
        table = pixel_table(prediction, label, len(self.classes), self.ignore_index)
        found, wrong = table[:-2, :-1], outside(table)
        if wrong.device.type == "cpu":
            check_outside(wrong, len(self.classes), self.ignore_index, label=label, prediction=prediction)
        self.matrix = self.matrix.to(found.device, non_blocking=True).add_(found)
        self._outside = self._outside.to(wrong.device, non_blocking=True).add_(wrong)
        self._images += 1
        if self.boundary is not None:
            self.boundary.update(prediction, label)
        if self.foreground is not None or self.distribution is not None or self.bootstrap is not None:
            self._pending.append(found.clone())
            if found.device.type == "cpu" or len(self._pending) == TOGETHER:
                self._count_pending()
        if self.calibration is not None:
            if confidence is None:
                raise ValueError('the metric "ECE" needs the confidence of every pixel beside its label')
            self.calibration.update(prediction, label, confidence)

    def number_images(self, first: int, step: int) -> None:
        """Image n that is counted from the start is number first + n * step of its data set."""
        if self.bootstrap is not None:
            self.bootstrap.first, self.bootstrap.step = first, step

    def _count_pending(self) -> None:
        """What looks at every image by itself does so on the processor."""
        if not self._pending:
            return
        for matrix in torch.stack(self._pending).cpu():
            if self.foreground is not None:
                self.foreground.add(matrix)
            if self.distribution is not None:
                self.distribution.add(matrix)
            if self.bootstrap is not None:
                self.bootstrap.add(matrix)
        self._pending.clear()

    def state(self) -> Tensor:
        """(1 + K * K + ... + 2,) int64: the number of images, the confusion matrix, what the other counters hold, and
        how many pixels of label and prediction were no class.

        States of several processes add up.
        """
        self._count_pending()
        device = self.matrix.device
        counted = (self._images, self.matrix.flatten(), *(part.state() for part in self._counters()), self._outside)
        return torch.cat([values.to(device, non_blocking=True) for values in counted])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self._pending.clear()
        counters = self._counters()
        sizes = [1, self.matrix.numel(), *(part.state().numel() for part in counters), 2]
        images, matrix, *others, wrong = state.split(sizes)
        self._images = images.cpu().clone()
        self.matrix = matrix.view_as(self.matrix).clone()
        self._outside = wrong.clone()
        for part, values in zip(counters, others, strict=True):
            part.load_state(values)

    def _counters(self) -> list[ForegroundScores | BoundaryCounter | ImageScores | ImageBootstrap | Calibration]:
        parts = (self.foreground, self.boundary, self.distribution, self.bootstrap, self.calibration)
        return [part for part in parts if part is not None]

    @property
    def only_counts_pixels(self) -> bool:
        """Whether all scores follow from the confusion matrix, and from those of single images for the foreground."""
        return self._counters() in ([], [self.foreground])

    def report_of(self, matrix: Tensor, *, images: int, foreground: Tensor, threshold: float) -> Report:
        """The scores of counts that were made elsewhere, of two classes, in place of what was counted here.

        matrix: (2, 2), of all pixels. images: how many they are of. foreground: as `ForegroundScores.state` has it.
        threshold: at which they were counted.
        """
        assert self.foreground is not None
        self._pending.clear()
        self.matrix = matrix
        self._images = torch.tensor([images], dtype=torch.int64)
        self.foreground.load_state(foreground)
        return replace(self.report(), threshold=threshold)

    def report(self) -> Report:
        """All scores of what was counted so far. Raises ValueError if no image was, or if a pixel was no class."""
        if self.images == 0:
            raise ValueError("nothing to report: no image was evaluated")
        check_outside(self._outside, len(self.classes), self.ignore_index)
        self._count_pending()
        table = class_scores(self.matrix, beta=self.beta)
        if self.boundary is not None:
            table["BoundaryIoU"] = self.boundary.scores()
        if self.nan_to_num is not None:
            table = {name: values.nan_to_num(nan=self.nan_to_num) for name, values in table.items()}
        matrix = self.matrix.cpu()
        labelled = matrix.sum(dim=1).tolist()
        summary = {"aAcc": accuracy_of(matrix)}
        for score in self.scores:
            summary[f"m{score}"] = float(table[score].nanmean())
        if self.foreground is not None:
            name = self.classes[1]
            summary |= {f"{score}({name})": float(table[score][1]) for score in OF_FOREGROUND}
            summary |= {f"image{score}({name})": mean for score, mean in self.foreground.means().items()}
        summary |= self._numbers(matrix)
        return Report(
            summary=summary,
            classes=tuple(
                ClassScore(name, {score: float(table[score][i]) for score in self.scores}, labelled[i])
                for i, name in enumerate(self.classes)
            ),
            absent=tuple(name for name, count in zip(self.classes, labelled, strict=True) if count == 0),
            images=self.images,
        )

    def _numbers(self, matrix: Tensor) -> dict[str, float]:
        """The scores that no class has."""
        numbers: dict[str, float] = {}
        if "fwIoU" in self.metrics:
            numbers["fwIoU"] = frequency_weighted_iou(matrix)
        if "kappa" in self.metrics:
            numbers["kappa"] = cohens_kappa(matrix)
        if self.distribution is not None:
            numbers["imageIoU"] = self.distribution.mean()
            numbers |= {f"imageIoU_q{100 * q:02.0f}": self.distribution.quantile(q) for q in QUANTILES}
        if self.bootstrap is not None:
            numbers["mIoU_low"], numbers["mIoU_high"] = self.bootstrap.interval()
        if self.calibration is not None:
            numbers["ECE"] = self.calibration.reliability().error
        return numbers | {f"IoU({name})": group_iou(matrix, members) for name, members in self.groups.items()}


def accuracy_of(matrix: Tensor) -> float:
    """The share of labelled pixels whose class is right, "aAcc", from a (K, K) matrix of counts; nan without any."""
    total, correct = int(matrix.sum()), int(matrix.diagonal().sum())
    return correct / total if total else math.nan


def class_scores(matrix: Tensor, *, beta: float = 1.0) -> dict[str, Tensor]:
    """Every score of every class, name -> (K,) float64 on the CPU, from a (K, K) matrix of counts."""
    counts = matrix.cpu().to(torch.float64)
    hit = counts.diagonal()
    labelled, predicted = counts.sum(dim=1), counts.sum(dim=0)
    precision, recall = hit / predicted, hit / labelled
    weight = beta**2
    missed, wrong = labelled - hit, predicted - hit
    return {
        "IoU": hit / (labelled + predicted - hit),
        "Acc": recall,
        "Dice": 2 * hit / (labelled + predicted),
        "Fscore": (1 + weight) * hit / ((1 + weight) * hit + weight * missed + wrong),
        "Fscore_mmseg": (1 + weight) * precision * recall / (weight * precision + recall),
        "Precision": torch.where((predicted == 0) & (labelled > 0), 0.0, precision),
        "Precision_mmseg": precision,
        "Recall": recall,
    }
