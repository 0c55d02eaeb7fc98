"""The losses of segmentation_models.pytorch by its names and arguments, with its values.

    criterion = intarsia.smp.losses.DiceLoss("multiclass", ignore_index=255)      # was: smp.losses.DiceLoss(...)

For new code there are `intarsia.losses`, which say more where something is wrong. mode: "binary", "multiclass" or
"multilabel". Predictions are (N, C, H, W), truth (N, H, W), or (N, C, H, W) where it is multilabel.
https://github.com/qubvel-org/segmentation_models.pytorch (MIT), folder losses; `tests/test_smp_losses.py` compares all
values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.losses.lovasz import LovaszLoss as OurLovaszLoss
from intarsia.losses.matthews import matthews_cost
from intarsia.losses.overlap import overlap_costs

BINARY_MODE, MULTICLASS_MODE, MULTILABEL_MODE = MODES = ("binary", "multiclass", "multilabel")
Reduction = Literal["mean", "sum", "none"]


class _RegionLoss(nn.Module):
    """What Jaccard, Dice and Tversky share."""

    def __init__(
        self,
        mode: str,
        classes: Sequence[int] | None,
        log_loss: bool,
        from_logits: bool,
        smooth: float,
        ignore_index: int | None,
        eps: float,
        class_weights: Sequence[float] | None,
    ) -> None:
        super().__init__()
        self.mode = _checked(type(self).__name__, mode)
        if mode == BINARY_MODE and (classes is not None or class_weights is not None):
            raise ValueError(f"{type(self).__name__}: there are no classes to choose or to weigh with mode='binary'")
        self.classes = None if classes is None else list(classes)
        self.log_loss, self.from_logits, self.smooth, self.eps = log_loss, from_logits, smooth, eps
        self.ignore_index, self.class_weights = ignore_index, class_weights
        self.alpha = self.beta = 1.0
        self.gamma = 1.0

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """See the head of this file. -> scalar."""
        if self.from_logits:
            y_pred = y_pred.softmax(dim=1) if self.mode == MULTICLASS_MODE else y_pred.sigmoid()
        count = 1 if self.mode == BINARY_MODE else y_pred.shape[1]
        predicted = y_pred.reshape(len(y_pred), count, -1)  # (N, C, P)
        wanted = y_true.reshape(len(y_true), 1 if self.mode == MULTICLASS_MODE else count, -1)
        counted = torch.ones_like(wanted, dtype=torch.bool)
        if self.ignore_index is not None:
            counted = wanted != self.ignore_index
        if self.mode == MULTICLASS_MODE:
            wanted = wanted == torch.arange(count, device=wanted.device).view(1, -1, 1)
        costs = overlap_costs(
            predicted.where(counted, 0.0), wanted.to(predicted.dtype).where(counted, 0.0), alpha=self.alpha,
            beta=self.beta, smooth=self.smooth, eps=self.eps, log=self.log_loss,
        )  # fmt: skip
        weights = torch.ones_like(costs) if self.class_weights is None else costs.new_tensor(self.class_weights)
        if self.classes is not None:
            costs, weights = costs[self.classes], weights[self.classes]
        average: Tensor = (costs * weights).sum() / weights.sum()
        return average**self.gamma


class JaccardLoss(_RegionLoss):
    """1 minus the intersection over the union of each class over the batch, averaged."""

    def __init__(
        self, mode: str, classes: Sequence[int] | None = None, log_loss: bool = False, from_logits: bool = True,
        smooth: float = 0.0, ignore_index: int | None = None, eps: float = 1e-7,
        class_weights: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(mode, classes, log_loss, from_logits, smooth, ignore_index, eps, class_weights)


class TverskyLoss(_RegionLoss):
    """The same with the prices alpha of false positives and beta of false negatives, to the power gamma."""

    def __init__(
        self, mode: str, classes: Sequence[int] | None = None, log_loss: bool = False, from_logits: bool = True,
        smooth: float = 0.0, ignore_index: int | None = None, eps: float = 1e-7, alpha: float = 0.5, beta: float = 0.5,
        gamma: float = 1.0, class_weights: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(mode, classes, log_loss, from_logits, smooth, ignore_index, eps, class_weights)
        self.alpha, self.beta, self.gamma = alpha, beta, gamma


class DiceLoss(_RegionLoss):
    """The same with half a price for each: 1 minus Dice."""

    def __init__(
        self, mode: str, classes: Sequence[int] | None = None, log_loss: bool = False, from_logits: bool = True,
        smooth: float = 0.0, ignore_index: int | None = None, eps: float = 1e-7,
        class_weights: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(mode, classes, log_loss, from_logits, smooth, ignore_index, eps, class_weights)
        self.alpha = self.beta = 0.5


class FocalLoss(nn.Module):
    """Cross entropy of each class on its own, turned down where the answer is right; averaged over pixels and classes.

    normalized: divided by the sum of what turns it down. reduced_threshold: answers with less are not turned down.
    """

    def __init__(
        self, mode: str, alpha: float | None = None, gamma: float = 2.0, ignore_index: int | None = None,
        from_logits: bool = True, eps: float = 1e-7, reduction: Reduction = "mean", normalized: bool = False,
        reduced_threshold: float | None = None, class_weights: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode = _checked("FocalLoss", mode)
        if mode == BINARY_MODE and class_weights is not None:
            raise ValueError("FocalLoss: there are no classes to weigh with mode='binary'")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"FocalLoss: reduction must be 'mean' or 'sum', found {reduction!r}")
        self.alpha, self.gamma, self.ignore_index, self.from_logits = alpha, gamma, ignore_index, from_logits
        self.eps, self.reduction, self.normalized = eps, reduction, normalized
        self.reduced_threshold, self.class_weights = reduced_threshold, class_weights

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """See the head of this file. -> scalar."""
        if not self.from_logits:
            shares = y_pred.clamp(self.eps, 1 - self.eps)
            y_pred = shares.log() if self.mode == MULTICLASS_MODE else shares.logit()
        if self.mode == BINARY_MODE:
            y_pred, y_true = y_pred.reshape(len(y_pred), 1, -1), y_true.reshape(len(y_true), 1, -1)
        costs = []
        for k in range(y_pred.shape[1]):
            wanted = y_true == k if self.mode == MULTICLASS_MODE else y_true[:, k]
            logits = y_pred[:, k]
            if self.ignore_index is not None:
                counted = (y_true if self.mode == MULTICLASS_MODE else wanted) != self.ignore_index
                logits, wanted = logits[counted], wanted[counted]
            costs.append(self._of_class(logits, wanted.to(logits.dtype)))
        weights = costs[0].new_tensor([1.0] * len(costs) if self.class_weights is None else self.class_weights)
        average: Tensor = (torch.stack(costs) * weights).sum() / weights.sum()
        return average

    def _of_class(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Logits and truth of one shape -> scalar."""
        cost = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        right = torch.exp(-cost)
        turned = 1 - right
        if self.reduced_threshold is None:
            factor = turned**self.gamma
        else:
            factor = ((turned / self.reduced_threshold) ** self.gamma).where(right >= self.reduced_threshold, 1.0)
        cost = cost * factor
        if self.alpha is not None:
            cost = cost * (self.alpha * wanted + (1 - self.alpha) * (1 - wanted))
        if self.normalized:
            cost = cost / factor.sum().clamp_min(1e-6)
        return cost.mean() if self.reduction == "mean" else cost.sum()


class LovaszLoss(nn.Module):
    """Lovász-Softmax, or of yes and no the Lovász hinge, where all classes of a multilabel batch are one."""

    def __init__(
        self, mode: str, per_image: bool = False, ignore_index: int | None = None, from_logits: bool = True
    ) -> None:
        super().__init__()
        self.mode = _checked("LovaszLoss", mode)
        # A label below all others is none that is there: with it nothing is ignored.
        self.loss = OurLovaszLoss(
            loss_type="multi_class" if mode == MULTICLASS_MODE else "binary",
            per_image=per_image,
            ignore_index=-1 if ignore_index is None else ignore_index,
            reduction="mean" if per_image else "none",
        )

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """See the head of this file. -> scalar."""
        if self.mode != MULTICLASS_MODE:
            y_pred, y_true = y_pred.reshape(len(y_pred), 1, -1, 1), y_true.reshape(len(y_true), -1, 1)
        value: Tensor = self.loss(y_pred, y_true.long())
        return value


class SoftBCEWithLogitsLoss(nn.Module):
    """Binary cross entropy with smoothed truth; the mean is over all pixels, ignored ones too.

    weight, pos_weight: as torch has them. smooth_factor: 0.1 makes 0.9 of 1 and 0.1 of 0.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int | None = -100, reduction: Reduction = "mean",
        smooth_factor: float | None = None, pos_weight: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.ignore_index, self.reduction, self.smooth_factor = ignore_index, reduction, smooth_factor
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """Both of one shape -> scalar, or of that shape with reduction="none"."""
        smooth = self.smooth_factor or 0.0
        wanted = (1 - y_true) * smooth + y_true * (1 - smooth)
        cost = F.binary_cross_entropy_with_logits(
            y_pred, wanted.to(y_pred.dtype), self.weight, pos_weight=self.pos_weight, reduction="none"
        )
        if self.ignore_index is not None:
            cost = cost.where(y_true != self.ignore_index, 0.0)
        return _reduced(cost, self.reduction)


class SoftCrossEntropyLoss(nn.Module):
    """Cross entropy with smoothed truth; the mean is over all pixels, ignored ones too.

    smooth_factor: share of the truth that all classes have in equal parts. dim: of the classes.
    """

    def __init__(
        self, reduction: Reduction = "mean", smooth_factor: float | None = None, ignore_index: int | None = -100,
        dim: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.reduction, self.smooth_factor, self.ignore_index, self.dim = reduction, smooth_factor, ignore_index, dim

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """(N, C, H, W), (N, H, W) -> scalar, or (N, H, W) with reduction="none"."""
        logs = y_pred.log_softmax(dim=self.dim).movedim(self.dim, 1)
        counted = torch.ones_like(y_true, dtype=torch.bool)
        if self.ignore_index is not None:
            counted = y_true != self.ignore_index
        smooth = self.smooth_factor or 0.0
        right = logs.gather(1, y_true.where(counted, 0).long().unsqueeze(1))[:, 0]
        cost = -(1 - smooth) * right - smooth * logs.mean(dim=1)
        return _reduced(cost.where(counted, 0.0), self.reduction)


class MCCLoss(nn.Module):
    """1 minus the Matthews correlation of probabilities, not logits, and truth 0 and 1."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """(N, H, W) or (N, 1, H, W), both -> scalar."""
        wanted = y_true.reshape(len(y_true), -1).to(y_pred.dtype)
        return matthews_cost(y_pred.reshape(len(y_pred), -1), wanted, eps=self.eps)


def _checked(loss: str, mode: str) -> str:
    if mode not in MODES:
        raise ValueError(f"{loss}: mode must be one of {', '.join(MODES)}; found {mode!r}")
    return mode


def _reduced(cost: Tensor, reduction: str) -> Tensor:
    return cost.mean() if reduction == "mean" else cost.sum() if reduction == "sum" else cost
