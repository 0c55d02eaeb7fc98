"""Cross entropy over classes (softmax), or over each class on its own (sigmoid).

Shape letters: N images, K classes, H, W height and width.

The denominators are those that published results were trained with:

    avg_non_ignore=False   all pixels, ignored ones included: a half-ignored image pulls half as hard
    avg_non_ignore=True    pixels that are not ignored
    with class weights     the same, every labelled pixel counted with the weight of its class, an ignored one (if it is
                           counted at all) with 1; so weights of one are no weights

The sigmoid form averages over all N * K * H * W decisions, or K for each pixel that is not ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers import determinism
from intarsia.losses.class_weights import as_buffer, in_precision_of
from intarsia.losses.reduction import mean_over
from intarsia.losses.resized_cross_entropy import sigmoid_sum, softmax_sum
from intarsia.losses.resized_logits import ResizedLogits
from intarsia.losses.targets import on_known_labels, one_hot_targets


class CrossEntropyLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    With `use_sigmoid` every class is a yes-or-no question of its own; a single logit (K = 1) asks for the class 1 among
    labels 0 and 1.

    Args:
        use_sigmoid: the sigmoid form instead of softmax.
        class_weight: one weight per class. In the softmax form a pixel counts by its class; in the sigmoid form the
            weight goes to the positive answers.
        ignore_index: label of pixels that contribute nothing.
        avg_non_ignore: what "mean" divides by; see the head of this file.
        label_smoothing: share of the target that is spread evenly over all classes (over yes and no under sigmoid).
        reduction: "mean" or "sum" over pixels.

    A batch without a single labelled pixel gives 0, never a nan. Half-precision logits are lifted to float32.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        use_sigmoid: bool = False,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
        avg_non_ignore: bool = False,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1); got {label_smoothing}")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', since a loss is one number; got {reduction!r}")
        self.use_sigmoid = use_sigmoid
        self.ignore_index = ignore_index
        self.avg_non_ignore = avg_non_ignore
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self._class_weight = class_weight
        self.register_buffer("class_weight", as_buffer(class_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        weight: (N, H, W), multiplies what each pixel adds to the sum; a mean divides by the same as without it.

        Raises ValueError for class weights of another number, for a single logit without `use_sigmoid`, whose softmax
        is always 1, and for labels that are no class (`on_known_labels`).
        """
        self._check(logits.shape[1])
        form = self._sigmoid_form if self.use_sigmoid else self._softmax_form
        return on_known_labels(
            lambda logits, target: form(logits, target, weight), logits, target, ignore_index=self.ignore_index
        )

    def of_resized(self, logits: ResizedLogits, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """What the loss gives for `logits.whole`, which are never made; see `resized_cross_entropy`.

        A single logit, whose labels are 0 and 1, is enlarged: it is no larger than the labels.
        """
        self._check(logits.shape[1])
        if logits.shape[1] == 1:
            return self.forward(logits.whole, target, weight=weight)
        sum_of, mean_of = (sigmoid_sum, self._sigmoid_mean) if self.use_sigmoid else (softmax_sum, self._softmax_mean)

        def loss(low: Tensor, target: Tensor) -> Tensor:
            class_weight = self._weights(low)
            total = sum_of(
                logits,
                target,
                ignore_index=self.ignore_index,
                weight=weight,
                class_weight=class_weight,
                label_smoothing=self.label_smoothing,
            )
            return mean_of(total, target, low.shape[1], class_weight)

        return on_known_labels(loss, logits.low, target, ignore_index=self.ignore_index)

    def _check(self, num_logits: int) -> None:
        if self.class_weight is not None and len(self.class_weight) != num_logits:
            raise ValueError(f"class_weight has {len(self.class_weight)} entries for {num_logits} logits")
        if num_logits == 1 and not self.use_sigmoid:
            raise ValueError("the softmax of a single logit is always 1; set use_sigmoid=True, or give two logits")

    def _softmax_form(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        class_weight = self._weights(logits)
        in_one = weight is None and not determinism.wanted_of(logits)
        loss = F.cross_entropy(
            logits,
            target,
            weight=class_weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction="sum" if in_one else "none",
        )
        if not in_one:
            loss = (loss if weight is None else loss * weight).sum()
        return self._softmax_mean(loss, target, logits.shape[1], class_weight)

    def _softmax_mean(self, total: Tensor, target: Tensor, num_logits: int, class_weight: Tensor | None) -> Tensor:
        """What becomes of the sum over all pixels."""
        return total if self.reduction == "sum" else mean_over(total, self._weighted_pixels(target, class_weight))

    def _weights(self, like: Tensor) -> Tensor | None:
        """The class weights (K,) in the precision of the logits, or None."""
        if self.class_weight is None or self._class_weight is None:
            return None
        return in_precision_of(like, self.class_weight, self._class_weight)

    def _weighted_pixels(self, target: Tensor, class_weight: Tensor | None) -> Tensor:
        """What the softmax form divides by: the pixels that count, each with the weight of its class."""
        labelled = target != self.ignore_index  # (N, H, W)
        pixels = labelled if class_weight is None else class_weight[target.where(labelled, 0)] * labelled
        return pixels.sum() if self.avg_non_ignore else pixels.sum() + (~labelled).sum()

    def _sigmoid_form(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        labelled = (target != self.ignore_index).unsqueeze(1)  # (N, 1, H, W)
        counted = labelled.to(logits.dtype) if weight is None else labelled * weight.unsqueeze(1)  # (N, 1, H, W)
        answers = one_hot_targets(target, logits.shape[1]).to(logits.dtype)  # (N, K, H, W)
        if self.label_smoothing:
            answers = answers * (1 - self.label_smoothing) + self.label_smoothing / 2
        class_weight = self._weights(logits)
        positive = None if class_weight is None else class_weight.view(-1, 1, 1)
        loss = F.binary_cross_entropy_with_logits(logits, answers, weight=counted, pos_weight=positive, reduction="sum")
        return self._sigmoid_mean(loss, target, logits.shape[1], class_weight)

    def _sigmoid_mean(self, total: Tensor, target: Tensor, num_logits: int, class_weight: Tensor | None) -> Tensor:
        pixels = (target != self.ignore_index).sum() if self.avg_non_ignore else target.numel()
        return total if self.reduction == "sum" else mean_over(total, pixels * num_logits)
