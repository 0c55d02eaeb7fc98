"""Online hard example mining, pixel by pixel: only the pixels that are predicted worst are learnt from.

Shrivastava, Gupta, Girshick, Training Region-based Object Detectors with Online Hard Example Mining, arXiv:1604.03540,
applied to pixels as segmentation does it since FRRN (arXiv:1611.08323).

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class OHEMPixelSampler:
    """Gives the hard pixels of a batch weight 1, all others 0.

    A pixel is hard if the softmax probability of its own class is below `thresh`. Where fewer than `min_kept` pixels an
    image are, the threshold rises until that many of the whole batch lie below it; images need not contribute equally.
    Without `thresh`, exactly the worst `min_kept` pixels an image are chosen from the batch, or all if it has no more.

    Args:
        thresh: probability in (0, 1], or None.
        min_kept: pixels an image, on average over the batch; at least 1.
        ignore_index: label of pixels that are never chosen.

    Class weights of the losses do not change which pixels are hard.
    """

    def __init__(self, *, thresh: float | None = None, min_kept: int = 100_000, ignore_index: int = 255) -> None:
        if thresh is not None and not 0.0 < thresh <= 1.0:
            raise ValueError(f"thresh of OHEMPixelSampler is a probability in (0, 1]; got {thresh}")
        if min_kept < 1:
            raise ValueError(f"min_kept of OHEMPixelSampler counts pixels an image, at least 1; got {min_kept}")
        self.thresh = thresh
        self.min_kept = min_kept
        self.ignore_index = ignore_index

    @torch.no_grad()
    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> weights (N, H, W) of the logits' type.

        Raises ValueError for a single logit, which has no softmax.
        """
        if logits.shape[1] == 1:
            raise ValueError("OHEMPixelSampler needs one logit per class; this head has a single one")
        labelled = target != self.ignore_index  # (N, H, W)
        surprise = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")[labelled]
        hard = self._hard(surprise, self.min_kept * len(target))
        weight = logits.new_zeros(target.shape)
        weight[labelled] = hard.to(weight.dtype)
        return weight

    def _hard(self, surprise: Tensor, kept: int) -> Tensor:
        """Minus the log-probability of each labelled pixel (P,) -> whether it is chosen (P,)."""
        count = len(surprise)
        if self.thresh is None:
            hard = torch.zeros_like(surprise, dtype=torch.bool)
            hard[surprise.topk(min(kept, count)).indices] = True
            return hard
        if count == 0:
            return surprise > 0
        probability = (-surprise).exp()
        lowest = probability.kthvalue(min(kept, count - 1) + 1).values
        return probability < lowest.clamp(min=self.thresh)
