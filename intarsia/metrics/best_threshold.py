"""The threshold of the foreground that suits labelled images best, and the scores that it gives, found in one pass.

A network that tells two classes apart says how probable the second, the foreground, is at each pixel; a threshold makes
a label of that. One half is the best choice for right pixels, not for the IoU of a rare class (Lipton, Elkan,
Narayanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", ECML 2014, arXiv:1402.1892). Here the
probabilities of all labelled pixels are counted in `BINS` bins of equal width, apart for background and foreground. A
bin ends at a threshold k / BINS, and a probability exactly there belongs below it, as it does where `probability >
threshold` decides. BINS is a power of two, so that these thresholds and the places of bins are exact in floating point:
the counts of true and false positives at each threshold are those that counting label maps would give.

The threshold with the largest IoU of the foreground is the one with the largest Dice, which grows with it. Of several,
the nearest to one half is taken; of two as near, the lower.
"""

from __future__ import annotations

import torch
from torch import Tensor

from intarsia.contracts import Report
from intarsia.metrics.confusion import CHUNK, check_outside, count_values, ignored_pixels
from intarsia.metrics.foreground import SCORES, image_scores, in_fixed_point
from intarsia.metrics.iou import TOGETHER, IoUMetric

BINS = 1024
"""Thresholds to choose from are k / BINS, 0 < k < BINS."""

_MIDDLE = BINS // 2


class BestThresholdMetric:
    """An `IoUMetric` of two classes at the threshold that makes the IoU of the foreground largest.

    It is told how probable the foreground is (`ForegroundMetric`), not what was predicted. Its report has the threshold
    and exactly the scores of `metric` at it, over all pixels and image by image. Memory does not grow with the images.

    metric: says classes and scores; it is filled by `report`.

    Raises ValueError for other than two classes, and for scores that do not follow from counts of pixels.
    """

    needs_foreground = True

    def __init__(self, metric: IoUMetric) -> None:
        if not metric.only_counts_pixels or metric.foreground is None:
            raise ValueError(
                "a threshold is chosen for two classes and scores that follow from counts of pixels; found "
                f"{len(metric.classes)} classes, metrics {', '.join(metric.metrics)}"
            )
        self.metric = metric
        self.ignore_index = metric.ignore_index
        # Rows: pixels that are labelled background, those labelled foreground. Columns: bins of their probability.
        self._pixels = torch.zeros(2, BINS + 1, dtype=torch.int64)
        self._images = self._scored = 0
        # Sums over images of each score at each threshold k / BINS, k = 0 ... BINS.
        self._sums = torch.zeros(len(SCORES), BINS + 1, dtype=torch.int64)
        self._outside = torch.zeros(2, dtype=torch.int64)
        self._pending: list[Tensor] = []

    def update(self, prediction: Tensor, label: Tensor, *, foreground: Tensor | None = None) -> None:
        """Count one image: (H, W) class indices of the label, and how probable the foreground is, 0 to 1; nan is 0.

        Raises ValueError if that is missing or of another size, and for a label that is no class; of an accelerator,
        which is not waited for, `report` says that.
        """
        if foreground is None:
            raise ValueError("choosing a threshold needs the probability of the foreground at every pixel")
        if foreground.shape != label.shape:
            raise ValueError(
                f"foreground and label must have one shape, found {tuple(foreground.shape)} and {tuple(label.shape)}"
            )
        table, wrong = probability_table(foreground, label, self.ignore_index)
        if wrong.device.type == "cpu":
            check_outside(torch.stack([wrong, wrong * 0]), 2, self.ignore_index, label=label)
        self._outside = self._outside.to(wrong.device, non_blocking=True)
        self._outside[0] += wrong
        self._images += 1
        self._pending.append(table)
        if table.device.type == "cpu" or len(self._pending) == TOGETHER:
            self._count_pending()

    def _count_pending(self) -> None:
        """Add up single images on the processor."""
        if not self._pending:
            return
        for table in torch.stack(self._pending).cpu():
            self._pixels += table
            if not int(table.sum()):
                continue
            assert self.metric.foreground is not None
            if self.metric.foreground.empty_images == "skip" and not int(table[1].sum()):
                continue
            self._scored += 1
            self._sums += in_fixed_point(image_scores(*positives(table)))
        self._pending.clear()

    def state(self) -> Tensor:
        """All counts, int64 on the processor; states of several processes add up."""
        self._count_pending()
        counts = torch.tensor([self._images, self._scored], dtype=torch.int64)
        return torch.cat([counts, self._outside.cpu(), self._pixels.flatten(), self._sums.flatten()])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self._pending.clear()
        counts, outside, pixels, sums = state.cpu().split([2, 2, self._pixels.numel(), self._sums.numel()])
        self._images, self._scored = map(int, counts)
        self._outside = outside.clone()
        self._pixels, self._sums = pixels.view_as(self._pixels).clone(), sums.view_as(self._sums).clone()

    def best(self) -> float:
        """The threshold of the counts so far; one half where no pixel is labelled as foreground."""
        self._count_pending()
        return best_threshold(self._pixels)

    @property
    def labelled_foreground(self) -> int:
        """How many pixels are labelled as foreground."""
        self._count_pending()
        return int(self._pixels[1].sum())

    def foreground_iou(self, threshold: float) -> float:
        """The IoU of the foreground over all pixels at a threshold k / BINS; nan without foreground."""
        self._count_pending()
        hit, wrong, missed = (counts[round(threshold * BINS)].double() for counts in positives(self._pixels))
        return float(hit / (hit + wrong + missed))

    def report(self) -> Report:
        """The scores at the best threshold, which is in `Report.threshold`.

        Raises ValueError if no image was counted, or if a pixel was no class.
        """
        return self.report_at(self.best())

    def report_at(self, threshold: float) -> Report:
        """The same at a given threshold k / BINS, such as the one that was chosen on more images."""
        self._count_pending()
        check_outside(self._outside, 2, self.ignore_index)
        place = round(threshold * BINS)
        hit, wrong, missed = (int(counts[place]) for counts in positives(self._pixels))
        matrix = torch.tensor([[int(self._pixels[0].sum()) - wrong, wrong], [missed, hit]])
        of_images = torch.cat([torch.tensor([self._scored]), self._sums[:, place]])
        return self.metric.report_of(matrix, images=self._images, foreground=of_images, threshold=threshold)


def probability_table(foreground: Tensor, label: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Count pixels by their probability, without waiting for the device: (2, BINS + 1) int64 of labelled background and
    foreground; and how many labels are no class, ().

    Bin b holds probabilities above (b - 1) / BINS up to b / BINS; bin 0 holds 0, and nan.
    """
    size = BINS + 1
    counts = torch.zeros(3 * size + 1, dtype=torch.int64, device=foreground.device)
    scores, labels = foreground.reshape(-1), label.to(foreground.device, non_blocking=True).reshape(-1)
    for start in range(0, labels.numel(), CHUNK):
        bins = scores[start : start + CHUNK].nan_to_num(nan=0.0).mul(BINS).ceil().clamp_(0, BINS).to(torch.int32)
        rows = labels[start : start + CHUNK].to(torch.int32)
        ignored = ignored_pixels(rows, ignore_index)
        rows = torch.where((rows < 0) | (rows > 1), 2, rows)
        counts += count_values(bins.add_(rows * size).masked_fill_(ignored, 3 * size), counts.numel())
    return counts[: 2 * size].view(2, size).clone(), counts[2 * size : -1].sum()


def best_threshold(table: Tensor) -> float:
    """The threshold with the largest IoU of the foreground, by what `probability_table` counted."""
    hit, wrong, missed = (counts[1:BINS].to(torch.float64) for counts in positives(table.cpu()))
    if not int(table[1].sum()):
        return 0.5
    iou = hit / (hit + wrong + missed)
    best: list[int] = (iou == iou.max()).nonzero().flatten().add(1).tolist()
    return min(best, key=lambda place: (abs(place - _MIDDLE), place)) / BINS


def positives(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """TP, FP and FN of the foreground at each threshold k / BINS, k = 0 ... BINS: (BINS + 1,) each."""
    above = table.sum(dim=1, keepdim=True) - table.cumsum(dim=1)
    wrong, hit = above
    return hit, wrong, table[1].sum() - hit
