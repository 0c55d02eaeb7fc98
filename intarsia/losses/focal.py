"""Focal loss: cross entropy of each class on its own, turned down where the answer is already right.

Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002, section 3.

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.losses.class_weights import as_buffer, in_precision_of
from intarsia.losses.targets import on_known_labels, one_hot_targets


class FocalLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    With q the probability of the right answer, a decision costs -alpha (1 - q)**gamma log q if the answer is yes, and
    -(1 - alpha) (1 - q)**gamma log q if it is no. A single logit (K = 1) asks for the class 1 among labels 0 and 1.

    Args:
        use_sigmoid: each class on its own, the only form there is.
        gamma: how fast right answers stop to count, 0 or more; 0 is cross entropy.
        alpha: weight of yes against no, one number or one for each class.
        class_weight: one weight per class for both answers.
        ignore_index: label of pixels that contribute nothing.
        reduction: "mean" over all N * K * H * W decisions, those at ignored pixels included, or "sum".

    Raises ValueError for `use_sigmoid=False`, or a gamma below 0.
    """

    alpha: Tensor
    class_weight: Tensor | None

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float | Sequence[float] = 0.5,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        if not use_sigmoid:
            raise ValueError("FocalLoss is defined for the sigmoid of each class; use_sigmoid must be True")
        if gamma < 0:
            raise ValueError(f"gamma of FocalLoss is 0 or more, or sure answers would count without bound; got {gamma}")
        self.gamma = gamma
        self.ignore_index = ignore_index
        self.reduction = reduction
        self._alpha, self._class_weight = alpha, class_weight
        self.register_buffer("alpha", as_buffer(alpha), persistent=False)
        self.register_buffer("class_weight", as_buffer(class_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        weight: (N, H, W), multiplies what each pixel adds to the sum; a mean divides by the same as without it.

        Raises ValueError for alphas or class weights of another number, and for labels that are no class
        (`on_known_labels`).
        """
        num_logits = logits.shape[1]
        for name, given in (("alpha", self.alpha), ("class_weight", self.class_weight)):
            if given is not None and len(given) not in (1, num_logits):
                raise ValueError(f"{name} has {len(given)} entries for {num_logits} logits")
        return on_known_labels(
            lambda logits, target: self._loss(logits, target, weight), logits, target, ignore_index=self.ignore_index
        )

    def _loss(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        wanted = one_hot_targets(target, logits.shape[1])  # (N, K, H, W)
        alpha = in_precision_of(logits, self.alpha, self._alpha).view(-1, 1, 1)
        cost = focal_cost(logits, wanted, gamma=self.gamma, alpha=alpha)
        if self.class_weight is not None and self._class_weight is not None:
            cost = cost * in_precision_of(logits, self.class_weight, self._class_weight).view(-1, 1, 1)
        counted = target != self.ignore_index if weight is None else (target != self.ignore_index) * weight
        cost = cost * counted.unsqueeze(1)  # (N, K, H, W)
        return cost.sum() if self.reduction == "sum" else cost.mean()


def focal_cost(logits: Tensor, wanted: Tensor, *, gamma: float, alpha: Tensor) -> Tensor:
    """What each decision costs: logits of any shape, wanted answers of the same shape (bool) -> the same shape."""
    cost = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="none")
    against = torch.where(wanted, -logits, logits)  # the logit of the wrong answer
    # A root of 1 - q has an infinite slope at 0, where sure answers are; by its logarithm the slope stays what it is.
    power = (gamma * F.logsigmoid(against)).exp() if 0 < gamma < 1 else against.sigmoid().pow(gamma)
    return cost * power * torch.where(wanted, alpha, 1 - alpha)
