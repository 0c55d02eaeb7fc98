"""Scores where a pixel may have several classes: each class is a foreground of its own, counted over all pixels.

With true positives TP, false positives FP and false negatives FN of a class, of all pixels that are not ignored:

    IoU  TP / (TP + FP + FN)     Dice  2 TP / (2 TP + FP + FN)     Precision  TP / (TP + FP)     Recall  TP / (TP + FN)

A ratio with nothing below the line is nan: the class is not there to be scored; the precision of a class that is
labelled and never predicted is 0, as in `iou`. Means are over the classes that are there (macro averages). Over all
decisions, K for each pixel: "microIoU" and "microDice" of the sums of TP, FP and FN; "exact" is the share of the pixels
whose whole set of classes is right.

The threshold of a class that makes its IoU largest is found in one pass as in `best_threshold`, of the probabilities of
all pixels; thresholds of different classes have nothing to do with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX, ClassScore, Report
from intarsia.label_sets import has, set_count
from intarsia.metrics.best_threshold import BINS, best_threshold, positives, probability_table
from intarsia.metrics.confusion import check_outside, count_values

SCORES: dict[str, tuple[str, ...]] = {
    "mIoU": ("IoU",),
    "mDice": ("Dice",),
    "mFscore": ("Dice", "Precision", "Recall"),
}
"""What each entry of `metrics` asks for; the F-score with equal weights is the Dice."""

ALL = ("IoU", "Dice", "Precision", "Recall")


class MultiLabelMetric:
    """Running counts of each class. Memory does not grow with the images.

    num_classes: K. classes: names, K of them. metrics: any of `SCORES`; the first says by which the best weights are
    kept, the report has all scores anyhow.

    Raises ValueError for names of another number, and for unknown metrics.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        classes: Sequence[str] | None = None,
        ignore_index: int = IGNORE_INDEX,
        metrics: Sequence[str] = ("mIoU",),
    ) -> None:
        names = tuple(classes) if classes is not None else tuple(f"class {i}" for i in range(num_classes))
        if len(names) != num_classes:
            raise ValueError(f"MultiLabelMetric has {num_classes} classes but {len(names)} names: {', '.join(names)}")
        for name in metrics:
            if name not in SCORES:
                raise ValueError(
                    f"unknown metric {name!r} where pixels have several classes; known: {', '.join(SCORES)}"
                )
        self.classes = names
        self.ignore_index = ignore_index
        self.metrics = tuple(metrics)
        self._images = 0
        # How often each bit is set in none of both, in the prediction, in the label, and in both.
        self._counts = torch.zeros(num_classes, 4, dtype=torch.int64)
        self._same = torch.zeros(1, dtype=torch.int64)
        self._outside = torch.zeros(2, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image: prediction and label (H, W), sets of classes (`label_sets`).

        Raises ValueError for values that are no sets of these classes; of an accelerator, which is not waited for,
        `report` says that.
        """
        counts, same, wrong = set_counts(prediction, label, len(self.classes), self.ignore_index)
        if wrong.device.type == "cpu":
            _check(wrong, len(self.classes), self.ignore_index)
        device = counts.device
        self._counts = self._counts.to(device, non_blocking=True).add_(counts)
        self._same = self._same.to(device, non_blocking=True).add_(same)
        self._outside = self._outside.to(device, non_blocking=True).add_(wrong)
        self._images += 1

    def state(self) -> Tensor:
        """(1 + 4 K + 1 + 2,) int64: images, counts, pixels that are right as a whole, and what was no set.

        States of several processes add up.
        """
        device = self._counts.device
        images = torch.tensor([self._images], dtype=torch.int64, device=device)
        return torch.cat([images, self._counts.flatten(), self._same.to(device), self._outside.to(device)])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        images, counts, same, wrong = state.split([1, self._counts.numel(), 1, 2])
        self._images = int(images)
        self._counts, self._same = counts.view_as(self._counts).clone(), same.clone()
        self._outside = wrong.clone()

    def report(self) -> Report:
        """All scores of what was counted so far. Raises ValueError if no image was, or if a pixel was no set."""
        if self._images == 0:
            raise ValueError("nothing to report: no image was evaluated")
        _check(self._outside, len(self.classes), self.ignore_index)
        return report_of(self._counts.cpu(), self.classes, images=self._images, same=int(self._same))


class BestThresholdsMetric:
    """A `MultiLabelMetric` with each class at the threshold that makes its IoU largest.

    It is told the probabilities, not what was predicted (`ProbabilityMetric`). Its report has the thresholds, and the
    scores at them but for "exact", which does not follow from counts of single classes.

    metric: says classes; nothing is counted in it.
    """

    needs_probabilities = True

    def __init__(self, metric: MultiLabelMetric) -> None:
        self.metric = metric
        self.classes, self.ignore_index = metric.classes, metric.ignore_index
        self._images = 0
        # Of each class, rows: pixels labelled without it, and with it. Columns: bins of its probability.
        self._pixels = torch.zeros(len(metric.classes), 2, BINS + 1, dtype=torch.int64)
        self._outside = torch.zeros(2, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor, *, probabilities: Tensor | None = None) -> None:
        """Count one image: its label (H, W) of sets, and the probabilities of each class (K, H, W).

        Raises ValueError if these are missing or of another size, and for a label that is no set of these classes.
        """
        count = len(self.classes)
        if probabilities is None or probabilities.shape != (count, *label.shape):
            found = None if probabilities is None else tuple(probabilities.shape)
            raise ValueError(f"choosing thresholds needs probabilities {(count, *label.shape)}, found {found}")
        label = label.to(probabilities.device, non_blocking=True).to(torch.int64)
        ignored = label == self.ignore_index
        wrong = (((label < 0) | (label >= set_count(count))) & ~ignored).sum()
        if label.device.type == "cpu":
            _check(torch.stack([wrong, wrong * 0]), count, self.ignore_index)
        self._outside = self._outside.to(label.device, non_blocking=True)
        self._outside[0] += wrong
        self._pixels = self._pixels.to(label.device, non_blocking=True)
        for k in range(count):
            table, _ = probability_table(probabilities[k], has(label, k).masked_fill(ignored, 255), 255)
            self._pixels[k] += table
        self._images += 1

    def state(self) -> Tensor:
        """All counts, int64; states of several processes add up."""
        images = torch.tensor([self._images], dtype=torch.int64)
        return torch.cat([images, self._outside.cpu(), self._pixels.cpu().flatten()])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        images, wrong, pixels = state.cpu().split([1, 2, self._pixels.numel()])
        self._images = int(images)
        self._outside, self._pixels = wrong.clone(), pixels.view(self._pixels.shape).clone()

    def best(self) -> tuple[float, ...]:
        """The threshold of each class; one half for a class that no pixel is labelled with."""
        return tuple(best_threshold(table) for table in self._pixels.cpu())

    def report(self) -> Report:
        """The scores at the best thresholds, which are in `Report.thresholds`. Raises ValueError as that of others."""
        return self.report_at(self.best())

    def report_at(self, thresholds: Sequence[float]) -> Report:
        """The same at given thresholds k / BINS."""
        if self._images == 0:
            raise ValueError("nothing to report: no image was evaluated")
        _check(self._outside, len(self.classes), self.ignore_index)
        rows = []
        for table, threshold in zip(self._pixels.cpu(), thresholds, strict=True):
            hit, wrong, missed = (int(counts[round(threshold * BINS)]) for counts in positives(table))
            rows.append([int(table.sum()) - hit - wrong - missed, wrong, missed, hit])
        report = report_of(torch.tensor(rows), self.classes, images=self._images)
        return replace(report, thresholds=dict(zip(self.classes, thresholds, strict=True)))


def set_counts(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count pixels of sets (H, W) without waiting for the device.

    Gives (K, 4): how often class k is in none of both, in the prediction alone, in the label alone, in both; how often
    both are the same set, (1,); and how many values of label and prediction are no set, (2,).
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction and label must have one shape, found {tuple(prediction.shape)} and {tuple(label.shape)}"
        )
    predicted, wanted = (one.to(prediction.device).reshape(-1).to(torch.int64) for one in (prediction, label))
    most, labelled = set_count(num_classes), wanted != ignore_index
    no_label, no_answer = (wanted < 0) | (wanted >= most), (predicted < 0) | (predicted >= most)
    counted = labelled & ~no_label & ~no_answer
    wrong = torch.stack([(no_label & labelled).sum(), (no_answer & labelled).sum()])
    rows = []
    for k in range(num_classes):
        places = has(wanted, k).mul_(2).add_(has(predicted, k)).masked_fill_(~counted, 4)
        rows.append(count_values(places, 5)[:4])
    return torch.stack(rows), ((predicted == wanted) & counted).sum().view(1), wrong


def report_of(counts: Tensor, classes: Sequence[str], *, images: int, same: int | None = None) -> Report:
    """The scores of counts (K, 4), as `set_counts` gives them. same: pixels that are right as a whole, where known."""
    numbers = counts.to(torch.float64)
    _, wrong, missed, hit = numbers.unbind(dim=1)
    table = dict(_scores(hit, wrong, missed))
    summary = {f"m{name}": float(values.nanmean()) for name, values in table.items()}
    over_all = dict(_scores(*(part.sum() for part in (hit, wrong, missed))))
    summary |= {f"micro{name}": float(over_all[name]) for name in ("IoU", "Dice")}
    if same is not None:
        pixels = int(counts[0].sum())
        summary["exact"] = same / pixels if pixels else math.nan
    labelled = (counts[:, 2] + counts[:, 3]).tolist()
    return Report(
        summary=summary,
        classes=tuple(
            ClassScore(name, {score: float(table[score][k]) for score in ALL}, labelled[k])
            for k, name in enumerate(classes)
        ),
        absent=tuple(name for name, count in zip(classes, labelled, strict=True) if not count),
        images=images,
    )


def _scores(hit: Tensor, wrong: Tensor, missed: Tensor) -> Iterator[tuple[str, Tensor]]:
    precision = hit / (hit + wrong)
    yield "IoU", hit / (hit + wrong + missed)
    yield "Dice", 2 * hit / (2 * hit + wrong + missed)
    yield "Precision", torch.where((hit + wrong == 0) & (hit + missed > 0), 0.0, precision)
    yield "Recall", hit / (hit + missed)


def _check(wrong: Tensor, num_classes: int, ignore_index: int) -> None:
    check_outside(wrong, set_count(num_classes), ignore_index)
