"""How the mIoU is distributed over the images: one bad image in fifty does not show in a score over all pixels.

The mIoU of an image is the mean of the IoU over the classes that are in its truth or in its prediction. Values are
counted in narrow bins, so that memory does not grow with the images and processes add up; a quantile is the middle of
its bin.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX
from intarsia.metrics.confusion import confusion_matrix

BINS = 10_000
"""Quantiles are exact to half a bin: 0.00005."""

_UNIT = 1 << 40
"""Sums of scores are kept in this fixed point, so that neither order nor number of processes changes them."""


class ImageScores:
    """Running histogram of the images' mIoU. Images without a labelled pixel are left out.

    num_classes: K, classes of labels and predictions.
    """

    def __init__(self, num_classes: int, *, ignore_index: int | None = IGNORE_INDEX) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts = torch.zeros(BINS, dtype=torch.int64)
        self._sum = 0

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image: both (H, W) class indices."""
        self.add(confusion_matrix(prediction, label, self.num_classes, self.ignore_index))

    def add(self, matrix: Tensor) -> None:
        """Count one image by its confusion matrix (K, K)."""
        score = image_iou(matrix)
        if math.isfinite(score):
            self.counts[min(int(score * BINS), BINS - 1)] += 1
            self._sum += round(score * _UNIT)

    def state(self) -> Tensor:
        """(1 + BINS,) int64; states of several processes add up."""
        return torch.cat([torch.tensor([self._sum], dtype=torch.int64), self.counts])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self._sum = int(state[0])
        self.counts = state[1:].cpu().clone()

    def mean(self) -> float:
        """The mean of the images' scores; nan without images."""
        images = int(self.counts.sum())
        return self._sum / _UNIT / images if images else math.nan

    def quantile(self, share: float) -> float:
        """The least score that at least this share of the images does not exceed; nan without images."""
        images = int(self.counts.sum())
        if not images:
            return math.nan
        rank = max(1, math.ceil(share * images - 1e-9))
        place = int((self.counts.cumsum(0) < rank).sum())
        return (place + 0.5) / BINS


def image_iou(matrix: Tensor) -> float:
    """The mIoU of one image from its confusion matrix (K, K); nan if it has no labelled pixel."""
    counts = matrix.cpu().to(torch.float64)
    hit = counts.diagonal()
    return float((hit / (counts.sum(dim=0) + counts.sum(dim=1) - hit)).nanmean())
