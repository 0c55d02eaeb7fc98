"""Whether a network is as often right as it says: the expected calibration error, and its reliability diagram.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599: pixels are sorted
into bins of equal width by their confidence, the probability of the predicted class. In each bin the share of right
pixels should be the mean confidence; the error is the difference, averaged over the pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX
from intarsia.metrics.confusion import CHUNK, count_values, ignored_pixels

BINS = 15
"""As in the paper."""

_UNIT = 1 << 24
"""Confidences are added in this fixed point, exact for float32 from 0.5 on: the order of additions changes nothing."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """What is in the bins, from the lowest confidence to the highest.

    pixels: (B,) how many. accuracy, confidence: (B,) share of right pixels, and mean confidence; nan in empty bins.
    """

    pixels: Tensor
    accuracy: Tensor
    confidence: Tensor

    @property
    def error(self) -> float:
        """The expected calibration error, 0 to 1; nan without pixels."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num(nan=0.0)
        total = int(self.pixels.sum())
        return float((gaps * self.pixels).sum() / total) if total else math.nan


class Calibration:
    """Running counts by confidence: pixels, right ones, and the sum of their confidences.

    bins: of equal width from 0 to 1.
    """

    def __init__(self, *, ignore_index: int | None = IGNORE_INDEX, bins: int = BINS) -> None:
        if bins < 1:
            raise ValueError(f"bins: expected 1 or more, found {bins}")
        self.ignore_index = ignore_index
        self.counts = torch.zeros(3, bins, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor, confidence: Tensor) -> None:
        """Count one image: (H, W) class indices, and the probability of each predicted class; nan counts as 0."""
        bins = self.counts.shape[1]
        device = torch.device("cpu") if prediction.device.type == "mps" else prediction.device  # MPS has no float64
        found = torch.zeros(3, bins, dtype=torch.int64, device=device)
        flat = [values.to(device).reshape(-1) for values in (prediction, label, confidence)]
        for start in range(0, prediction.numel(), CHUNK):
            predicted, truth, sure = (values[start : start + CHUNK] for values in flat)
            share = sure.to(torch.float64).nan_to_num(nan=0.0)
            place = share.mul(bins).to(torch.int64).clamp_(0, bins - 1)
            place.mul_(2).add_(predicted == truth).masked_fill_(ignored_pixels(truth, self.ignore_index), 2 * bins)
            pixels = count_values(place, 2 * bins + 1)[:-1].view(bins, 2)  # wrong, right
            sums = share.new_zeros(2 * bins + 1).index_add_(0, place, share.mul_(_UNIT).round_())  # whole: exact
            sums = sums[:-1].view(bins, 2).sum(dim=1)
            found += torch.stack([pixels.sum(dim=1), pixels[:, 1], sums.to(torch.int64)])
        self.counts = self.counts.to(found.device, non_blocking=True).add_(found)

    def state(self) -> Tensor:
        """(3 * bins,) int64; states of several processes add up."""
        return self.counts.flatten()

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self.counts = state.view_as(self.counts).clone()

    def reliability(self) -> Reliability:
        """The bins, on the CPU."""
        pixels, right, total = self.counts.cpu().to(torch.float64)
        return Reliability(self.counts[0].cpu().clone(), right / pixels, total / _UNIT / pixels)
