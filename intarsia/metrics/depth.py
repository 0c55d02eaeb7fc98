"""Scores of depths, as monocular depth estimation reports them.

Eigen, Puhrsch, Fergus, Depth map prediction from a single image using a multi-scale deep network, arXiv:1406.2283,
section 4. With predicted depths p and true ones t:

    d1, d2, d3   share of pixels where max(p / t, t / p) is below 1.25, 1.25^2, 1.25^3
    abs_rel      mean of |p - t| / t                sq_rel     mean of (p - t)^2 / t
    rmse         root of the mean of (p - t)^2      rmse_log   the same of log p - log t
    log10        mean of |log10 p - log10 t|        silog      root of mean(e^2) - mean(e)^2 / 2, e = log p - log t

Each is computed for an image; what is reported is the mean over images. An image without a single depth to compare
with is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from intarsia.contracts import Report

SCORES = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")

NYU = (45, 471, 41, 601)
"""Rows and columns of NYU Depth V2 that are compared, of 480 x 640: its borders are white or unknown (Eigen et al.)."""
SHARES = {
    "garg_crop": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen_crop": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
"""Of KITTI: the rows and columns that are compared, as shares of all (Garg et al., arXiv:1603.04992; Eigen et al.)."""

Crop = Literal["nyu_crop", "garg_crop", "eigen_crop"]


class DepthMetric:
    """The mean over images of the scores of their depths. Memory does not grow with the images.

    depth_metrics: any of `SCORES`; all by default, in their order.
    min_depth_eval, max_depth_eval: true depths between them, both excluded, are compared; 0 is one that is not known.
    crop_type: which part of an image is compared; all of it by default.

    Raises ValueError for an unknown score or crop, and for depths that leave nothing between them.
    """

    def __init__(
        self,
        *,
        depth_metrics: Sequence[str] | None = None,
        min_depth_eval: float = 0.0,
        max_depth_eval: float = math.inf,
        crop_type: Crop | None = None,
    ) -> None:
        self.scores = SCORES if depth_metrics is None else tuple(depth_metrics)
        for name in self.scores:
            if name not in SCORES:
                raise ValueError(f"unknown score of depths {name!r}; known: {', '.join(SCORES)}")
        if crop_type not in (None, "nyu_crop", *SHARES):
            raise ValueError(f"unknown crop_type {crop_type!r}; known: None, nyu_crop, {', '.join(SHARES)}")
        if not 0 <= min_depth_eval < max_depth_eval:
            raise ValueError(f"no depth lies between min_depth_eval={min_depth_eval} and {max_depth_eval}")
        self.min_depth_eval = min_depth_eval
        self.max_depth_eval = max_depth_eval
        self.crop_type = crop_type
        self._state = torch.zeros(len(SCORES) + 2, dtype=torch.float64)  # sums, images compared, images seen

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image: predicted and true depths (H, W) in one unit. Nothing waits for the device.

        Raises ValueError for depths of different sizes, and for class indices.
        """
        if prediction.shape != label.shape or not (prediction.is_floating_point() and label.is_floating_point()):
            raise ValueError(
                f"depths are real numbers of one size; got predictions {prediction.dtype} {tuple(prediction.shape)} "
                f"and a ground truth {label.dtype} {tuple(label.shape)}"
            )
        exact = torch.float32 if prediction.device.type == "mps" else torch.float64  # MPS has no float64
        found, truth = prediction.to(exact), label.to(device=prediction.device, dtype=exact, non_blocking=True)
        counts = (truth > self.min_depth_eval) & (truth < self.max_depth_eval) & self._inside(truth)
        found = found.where(counts, 1.0).clamp(min=torch.finfo(torch.float32).tiny)
        row = _scores(found, truth.where(counts, 1.0), counts)
        row = torch.cat([row, row.new_ones(1)])
        if exact is torch.float64:
            self._state = self._state.to(row.device, non_blocking=True) + row
        else:
            self._state = self._state + row.cpu().double()

    def _inside(self, truth: Tensor) -> Tensor:
        """Which pixels of (H, W) the crop leaves."""
        height, width = truth.shape
        if self.crop_type is None:
            return torch.ones_like(truth, dtype=torch.bool)
        top, bottom, left, right = NYU
        if self.crop_type != "nyu_crop":
            shares = SHARES[self.crop_type]
            top, bottom = (int(share * height) for share in shares[:2])
            left, right = (int(share * width) for share in shares[2:])
        inside = torch.zeros_like(truth, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        return inside

    def state(self) -> Tensor:
        """All sums in one tensor, so that processes can be summed with a single all-reduce."""
        return self._state.cpu()

    def load_state(self, state: Tensor) -> None:
        """Go on from sums that `state` gave."""
        self._state = state.detach().clone().double()

    def report(self) -> Report:
        """The scores of what was counted so far; nan before the first depth was compared. There are no classes."""
        *sums, compared, seen = self._state.tolist()
        means = {name: total / compared if compared else math.nan for name, total in zip(SCORES, sums, strict=True)}
        return Report(summary={name: means[name] for name in self.scores}, classes=(), absent=(), images=int(seen))


def _scores(found: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Depths (H, W), true ones, and which are compared -> (10,): all scores and a 1, or zeros if none is compared."""
    number = counts.sum().clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return (values * counts).sum() / number

    ratio = torch.maximum(found / truth, truth / found)
    error, error_log = found - truth, found.log() - truth.log()
    row = torch.stack([
        *(mean((ratio < 1.25**power).to(found.dtype)) for power in (1, 2, 3)),
        mean(error.abs() / truth),
        mean(error**2 / truth),
        mean(error**2).sqrt(),
        mean(error_log**2).sqrt(),
        mean((found.log10() - truth.log10()).abs()),
        (mean(error_log**2) - 0.5 * mean(error_log) ** 2).clamp(min=0).sqrt(),
        torch.ones((), dtype=found.dtype, device=found.device),
    ])  # fmt: skip
    return row * counts.any()
