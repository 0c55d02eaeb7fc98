"""How much of a score is the luck of the images: bootstrap intervals of the IoU over images.

Efron, "Bootstrap methods", 1979: draw as many images as there are, with replacement, score them, and repeat; the spread
of the scores is that of the score. How often a given image is drawn is nearly Poisson distributed with mean 1, so that
it can be decided when the image comes by, without keeping any (Chamandy et al., "Estimating uncertainty for massive
data streams", 2012): a replicate is three counts for each class, whatever the number of images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX
from intarsia.metrics.confusion import confusion_matrix

REPLICATES = 1000
LEVEL = 0.95
_SEED = 20121128


class ImageBootstrap:
    """Running counts of every replicate: of pixels that are right, labelled and predicted, by class.

    num_classes: K. replicates: how often the images are drawn anew. The draws are a function of an image's number in
    its data set, so that they are the same in every evaluation, by any number of processes.

    first, step: image n that is counted here is number first + n * step.
    """

    def __init__(
        self, num_classes: int, *, ignore_index: int | None = IGNORE_INDEX, replicates: int = REPLICATES
    ) -> None:
        if replicates < 2:
            raise ValueError(f"replicates: expected 2 or more, found {replicates}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.images = 0
        self.first, self.step = 0, 1
        self.counts = torch.zeros(replicates, 3, num_classes, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image: both (H, W) class indices."""
        self.add(confusion_matrix(prediction, label, self.num_classes, self.ignore_index))

    def add(self, matrix: Tensor) -> None:
        """Count one image by its confusion matrix (K, K)."""
        matrix = matrix.cpu()
        counts = torch.stack([matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)])  # (3, K)
        present = counts.any(dim=0).nonzero().flatten()
        drawn = torch.from_numpy(times_drawn(self.first + self.images * self.step, len(self.counts)))
        self.counts[:, :, present] += drawn[:, None, None] * counts[:, present]
        self.images += 1

    def state(self) -> Tensor:
        """(1 + replicates * 3 * K,) int64; states of several processes add up."""
        return torch.cat([torch.tensor([self.images], dtype=torch.int64), self.counts.flatten()])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self.images = int(state[0])
        self.counts = state[1:].cpu().view_as(self.counts).clone()

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Between which values the mIoU of other images of the same kind lies in this share of the cases."""
        low, high = _quantiles(self._scores().nanmean(dim=1, keepdim=True), level)
        return float(low[0]), float(high[0])

    def class_intervals(self, level: float = LEVEL) -> tuple[Tensor, Tensor]:
        """The same for the IoU of each class: (K,) and (K,), nan where a class is not there."""
        return _quantiles(self._scores(), level)

    def _scores(self) -> Tensor:
        """The IoU of each class in each replicate, (replicates, K); nan where the class was not drawn."""
        right, labelled, predicted = self.counts.to(torch.float64).unbind(dim=1)
        return right / (labelled + predicted - right)


def times_drawn(image: int, replicates: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How often the image of this number is in each replicate."""
    return np.random.default_rng([_SEED, image]).poisson(1.0, replicates)


def _quantiles(scores: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Both ends of the middle `level` of each column of (replicates, n)."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a share between 0 and 1, found {level}")
    ends = torch.full((2, scores.shape[1]), math.nan, dtype=torch.float64)
    for column in range(scores.shape[1]):
        values = scores[:, column]
        values = values[values.isfinite()]
        if len(values):
            margins = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
            ends[:, column] = torch.quantile(values, margins)
    return ends[0], ends[1]
