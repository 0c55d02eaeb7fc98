"""Overlap of each class over a whole batch: Jaccard, Dice and what lies between, by two prices.

Tversky's index as a loss: Salehi et al., arXiv:1706.05721. For truth that is itself between 0 and 1 the common part is
the smaller of both: Wang, Ning, Blaschko, Jaccard Metric Losses, arXiv:2302.05666, section 3. In this form
segmentation_models.pytorch has `JaccardLoss`, `DiceLoss` and `TverskyLoss`, whose values these are.

Shape letters: N images, K classes, H, W height and width, P pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.losses.class_weights import as_buffer, in_precision_of
from intarsia.losses.targets import on_known_labels, one_hot_targets


def overlap_costs(
    predicted: Tensor, wanted: Tensor, *, alpha: float, beta: float, smooth: float, eps: float, log: bool
) -> Tensor:
    """Probabilities and truth (N, K, P), 0 where a pixel is ignored -> cost of each class (K,), 0 of one not there."""
    sums = (x.sum(dim=(0, 2)) for x in (torch.minimum(predicted, wanted), predicted, wanted))
    common, seen, there = sums
    union = common + alpha * (seen - common) + beta * (there - common)
    share = (common + smooth) / (union + smooth).clamp_min(eps)
    costs = -share.clamp_min(eps).log() if log else 1 - share
    return costs.where(there > 0, 0.0)


class OverlapLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    Of each class, over all pixels of all images at once, with softmax probabilities p and truth t in {0, 1},
    TP = sum(min(p, t)), FP = sum(p) - TP, FN = sum(t) - TP:

        1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)

    averaged over the classes, where one that no label shows costs nothing. A single logit is a sigmoid, of the class 1
    among labels 0 and 1.

    Args:
        alpha: price of false positives. beta: of false negatives. 1 each is the Jaccard loss, 0.5 each Dice.
        gamma: the power that the average is raised to.
        smooth: added above and below.
        log: the negative logarithm of the share instead of what it lacks of 1.
        classes: those that are averaged; None for all.
        class_weight: one factor per class, by whose sum the average divides.
        eps: least that is divided by.
        ignore_index: label of pixels that are in none of the sums. A class of this index is left out of the average.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        smooth: float = 0.0,
        log: bool = False,
        classes: Sequence[int] | None = None,
        class_weight: Sequence[float] | None = None,
        eps: float = 1e-7,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma, self.smooth = alpha, beta, gamma, smooth
        self.log, self.eps = log, eps
        self.classes = None if classes is None else tuple(classes)
        self.ignore_index = ignore_index
        self._class_weight = class_weight
        self.register_buffer("class_weight", as_buffer(class_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        Raises ValueError for class weights of another number, for labels that are no class (`on_known_labels`), and
        where no class is left.
        """
        if self.class_weight is not None and len(self.class_weight) != logits.shape[1]:
            raise ValueError(f"class_weight has {len(self.class_weight)} entries for {logits.shape[1]} logits")
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        count = logits.shape[1]
        listed = range(count) if self.classes is None or count == 1 else self.classes
        counted = [k for k in listed if count == 1 or k != self.ignore_index]
        if not counted or max(counted) >= count or min(counted) < 0:
            raise ValueError(f"OverlapLoss averages over classes {list(listed)}, of which {count} logits have none")
        predicted = logits.sigmoid() if count == 1 else logits.softmax(dim=1)  # (N, K, H, W)
        labelled = (target != self.ignore_index).unsqueeze(1)  # (N, 1, H, W)
        predicted = predicted.where(labelled, 0.0)
        wanted = (one_hot_targets(target, count) & labelled).to(predicted.dtype)
        costs = overlap_costs(
            predicted.flatten(2), wanted.flatten(2), alpha=self.alpha, beta=self.beta, smooth=self.smooth,
            eps=self.eps, log=self.log,
        )  # fmt: skip
        weights = costs.new_ones(count)
        if self.class_weight is not None and self._class_weight is not None:
            weights = in_precision_of(costs, self.class_weight, self._class_weight)
        # One by one: a list of places would be sent to the device in each step.
        costs, weights = (torch.stack([each[k] for k in counted]) for each in (costs, weights))
        average: Tensor = (costs * weights).sum() / weights.sum()
        return average**self.gamma
