"""Lovász loss: the mean IoU itself, made continuous.

Berman, Rannen Triki, Blaschko, The Lovász-Softmax loss: A tractable surrogate for the optimization of the
intersection-over-union measure in neural networks, arXiv:1705.08790.

Shape letters: N images, K classes, H, W height and width, P pixels that are labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from intarsia.losses.resized_logits import ResizedLogits
from intarsia.losses.resized_lovasz import jaccard_steps, lovasz_softmax
from intarsia.losses.targets import is_on_cpu, on_known_labels


class LovaszLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    Args:
        loss_type: "multi_class" is Lovász-Softmax (section 3.2); "binary" is the Lovász hinge of a single logit
            (section 3.1), labels 0 and 1.
        classes: the classes that are averaged: those "present" in the labels, "all", or a list of indices.
        per_image: average over images what is computed for each; otherwise all pixels of the batch are one image.
        class_weight: one factor per class.
        ignore_index: label of pixels that contribute nothing.
        reduction: "mean" or "sum" over images under `per_image`; without it there is nothing to reduce, which "none"
            says.

    A batch without a single labelled pixel gives 0.

    Nothing waits for an accelerator. There every class is computed, also those that are not present; on the processor,
    where asking is free, they are left out.

    Raises ValueError for `per_image` with a reduction of "none".
    """

    def __init__(
        self,
        *,
        loss_type: Literal["multi_class", "binary"] = "multi_class",
        classes: Literal["present", "all"] | Sequence[int] = "present",
        per_image: bool = False,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> None:
        super().__init__()
        if per_image and reduction == "none":
            raise ValueError("LovaszLoss is one number: per_image needs reduction 'mean' or 'sum', not 'none'")
        self.loss_type = loss_type
        self.classes = classes
        self.per_image = per_image
        self.class_weight = class_weight
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        Raises ValueError if "binary" gets another number of logits than one, for class weights of another number, for
        `classes` that there are not, and for labels that are no class (`on_known_labels`).
        """
        self._check(logits.shape[1])
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def of_resized(self, logits: ResizedLogits, target: Tensor) -> Tensor:
        """What the loss gives for `logits.whole`, which are not made for several classes; see `resized_lovasz`."""
        if self.loss_type == "binary":
            return self(logits.whole, target)  # type: ignore[no-any-return]
        self._check(num_classes := logits.shape[1])

        def loss(low: Tensor, target: Tensor) -> Tensor:
            losses = lovasz_softmax(
                logits,
                target,
                classes=range(num_classes) if isinstance(self.classes, str) else self.classes,
                if_present=self.classes == "present",
                class_weight=self.class_weight,
                ignore_index=self.ignore_index,
                per_image=self.per_image,
            )
            return self._reduced(losses)

        return on_known_labels(loss, logits.low, target, ignore_index=self.ignore_index)

    def _check(self, num_classes: int) -> None:
        if (self.loss_type == "binary") != (num_classes == 1):
            raise ValueError(f"LovaszLoss of type {self.loss_type!r} does not fit {num_classes} logits")
        if self.class_weight is not None and len(self.class_weight) != num_classes:
            raise ValueError(f"class_weight has {len(self.class_weight)} entries for {num_classes} logits")
        if not isinstance(self.classes, str) and not all(0 <= k < num_classes for k in self.classes):
            raise ValueError(f"classes of LovaszLoss are {list(self.classes)}, but the head has {num_classes} logits")

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        of_pixels = self._hinge if self.loss_type == "binary" else self._softmax
        # All pixels of the batch are one image, (K, N, H, W), unless each image counts on its own.
        images = zip(logits, target, strict=True) if self.per_image else [(logits.transpose(0, 1), target)]
        losses = torch.stack([of_pixels(logits.flatten(1), target.flatten()) for logits, target in images])
        return self._reduced(losses)

    def _reduced(self, losses: Tensor) -> Tensor:
        return losses.sum() if self.reduction == "sum" else losses.mean()

    def _softmax(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (K, P), target (P,) -> the mean over classes."""
        labelled = target != self.ignore_index  # (P,)
        probabilities = logits.softmax(dim=0)  # (K, P)
        total, count = probabilities[:, :0].sum(), logits.new_zeros(())  # the sum of nothing: 0, with a gradient
        for k in range(len(logits)) if isinstance(self.classes, str) else self.classes:
            wanted = (target == k) & labelled  # (P,)
            counts = wanted.any() if self.classes == "present" else labelled.new_ones(())
            if is_on_cpu(counts) and not counts:
                continue
            loss = lovasz_extension((wanted.to(logits.dtype) - probabilities[k]).abs(), wanted, labelled)
            total = total + counts * (loss if self.class_weight is None else loss * self.class_weight[k])
            count = count + counts
        return total / count.clamp(min=1)

    def _hinge(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (1, P), target (P,) of 0 and 1 -> the loss of class 1."""
        labelled = target != self.ignore_index  # (P,)
        errors = (1 - logits[0] * (2 * target.to(logits.dtype) - 1)).relu()
        return lovasz_extension(errors, (target == 1) & labelled, labelled)


def lovasz_extension(errors: Tensor, wanted: Tensor, labelled: Tensor) -> Tensor:
    """The Jaccard loss of a set of wrong pixels, extended to pixels that are wrong to a degree (equation 8).

    Errors (P,) >= 0, whether a pixel is of the class, and whether it is labelled at all, (P,) bool -> scalar.
    """
    steps = jaccard_steps(errors, wanted, labelled)
    return steps.errors @ steps.added
