"""Boundary loss: a cross entropy of edges in which both answers weigh the same, though edges are few.

Xu, Xiong, Bhattacharyya, PIDNet, arXiv:2206.02066, section 3.5; Xie, Tu, Holistically-Nested Edge Detection,
arXiv:1504.06375, equation 2.

Shape letters: N images, H, W height and width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import IGNORE_INDEX
from intarsia.losses.targets import on_known_labels


class BoundaryLoss(nn.Module):
    """A single logit (N, 1, H, W) and edges (N, H, W), 1 or 0 -> scalar.

    The share of the batch's pixels that are edges is the weight of those that are none, and the other way round. The
    mean is over all pixels.

    Args:
        ignore_index: value of pixels that add nothing, though the mean counts them.

    A batch without edges, or of nothing else, gives 0. Half-precision logits are lifted to float32.
    """

    def __init__(self, *, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, 1, H, W), target (N, H, W) -> scalar.

        Raises ValueError for more logits than one, and for values that are neither 0, 1 nor ignored
        (`on_known_labels`).
        """
        if logits.shape[1] != 1:
            raise ValueError(f"BoundaryLoss asks whether there is an edge, with a single logit; got {logits.shape[1]}")
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        edge, none = target == 1, target == 0  # (N, H, W)
        edges, others = edge.sum().to(logits.dtype), none.sum().to(logits.dtype)
        labelled = (edges + others).clamp(min=1)
        weight = torch.where(edge, others / labelled, edges / labelled) * (edge | none)  # (N, H, W)
        return F.binary_cross_entropy_with_logits(logits[:, 0], edge.to(logits.dtype), weight=weight)
