"""Boundary IoU: the IoU of the pixels near the contours alone, which is what a user sees of a mask's quality.

Cheng, Girshick, Dollar, Berg, Kirillov, "Boundary IoU", CVPR 2021, arXiv:2103.16562. Of every class only the pixels
within a distance d of its mask's contour count, in the truth G and in the prediction P:

    |(G_d n G) n (P_d n P)|  /  |(G_d n G) u (P_d n P)|

As in the authors' code, d is 2 % of the image's diagonal, rounded, and at least 1; distances are measured along the
longer axis (a square window); the image's border is a contour. The paper knows no ignored pixels. Here they are cut out
of both masks, so that the contours they make are the same in both. Counts are summed over the images, as for the IoU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX, Size
from intarsia.metrics.confusion import CHUNK, count_values, ignored_pixels

DILATION_RATIO = 0.02
"""Width of the band along a contour, as a share of the image's diagonal."""


class BoundaryCounter:
    """Running counts of boundary pixels by class: of the truth, of the prediction, and in both.

    num_classes: K. dilation_ratio: width of the band, as a share of the diagonal. Raises ValueError for one that is
    not positive.
    """

    def __init__(
        self, num_classes: int, *, ignore_index: int | None = IGNORE_INDEX, dilation_ratio: float = DILATION_RATIO
    ) -> None:
        if not dilation_ratio > 0:
            raise ValueError(f"dilation_ratio: expected a share of the diagonal above 0, found {dilation_ratio}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.dilation_ratio = dilation_ratio
        self.counts = torch.zeros(3, num_classes, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image: both (H, W) class indices."""
        nothing = self.num_classes  # stands for ignored pixels, and for those far from every contour
        reach = band_width((label.shape[0], label.shape[1]), self.dilation_ratio)
        label = label.to(prediction.device, non_blocking=True)
        ignored = ignored_pixels(label, self.ignore_index)
        first = _band(torch.where(ignored, nothing, label.to(torch.int32)), reach, nothing)
        second = _band(torch.where(ignored, nothing, prediction.to(torch.int32)), reach, nothing)
        both = torch.where(first == second, first, nothing)
        found = torch.stack([count_values(v.flatten(), nothing + 1) for v in (first, second, both)])
        self.counts = self.counts.to(found.device, non_blocking=True).add_(found[:, :nothing])

    def state(self) -> Tensor:
        """(3 * K,) int64; states of several processes add up."""
        return self.counts.flatten()

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        self.counts = state.view(3, self.num_classes).clone()

    def scores(self) -> Tensor:
        """The boundary IoU of each class, (K,) float64 on the CPU; nan where a class is not there."""
        truth, predicted, both = self.counts.cpu().to(torch.float64).unbind()
        return both / (truth + predicted - both)


def band_width(size: Size, ratio: float = DILATION_RATIO) -> int:
    """The distance d in pixels for an image of this size."""
    return max(1, round(ratio * math.hypot(*size)))


def _band(label: Tensor, reach: int, nothing: int) -> Tensor:
    """The label map with `nothing` in place of all that is far from a contour; changes it."""
    return label.masked_fill_(~near_boundary(label, reach), nothing)


def near_boundary(label: Tensor, reach: int) -> Tensor:
    """Whether another value, or the image's border, is within `reach` pixels along both axes: (H, W) -> (H, W) bool.

    A square window holds one value exactly if each of its rows does and its middle column does. How often the value
    changes along a line is a difference of two cumulative sums, so that the cost does not depend on the reach.
    """
    height, width = label.shape
    mixed = torch.empty_like(label, dtype=torch.bool)  # whether the row changes near this pixel
    rows = max(1, CHUNK // width)
    for start in range(0, height, rows):
        band = label[start : start + rows]
        changes = band.new_ones((band.shape[0], width + 1), dtype=torch.bool)
        changes[:, 1:-1] = band[:, 1:] != band[:, :-1]
        mixed[start : start + rows] = _any_within(changes, reach)
    near = torch.empty_like(mixed)
    columns = max(1, CHUNK // height)
    for start in range(0, width, columns):
        band, across = label[:, start : start + columns].T, mixed[:, start : start + columns].T
        changes = band.new_ones((band.shape[0], height + 1), dtype=torch.bool)
        changes[:, 1:-1] = (band[:, 1:] != band[:, :-1]) | across[:, 1:] | across[:, :-1]
        near[:, start : start + columns] = (_any_within(changes, reach) | across).T
    return near


def _any_within(changes: Tensor, reach: int) -> Tensor:
    """Whether a change is within reach: (m, n) from changes (m, n + 1), those between neighbours and at both ends."""
    count = changes.shape[1] - 1
    within = torch.ones_like(changes[:, 1:])
    inner = count - 2 * reach  # pixels from which neither end is within reach
    if inner > 0:
        totals = changes.cumsum(dim=1, dtype=torch.int32)
        torch.ne(totals[:, 2 * reach : count], totals[:, :inner], out=within[:, reach : count - reach])
    return within
