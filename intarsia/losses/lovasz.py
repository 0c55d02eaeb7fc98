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

from intarsia.layers.precision import full_precision


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

        Raises ValueError if "binary" gets another number of logits than one, or class weights for other classes.
        """
        num_classes = logits.shape[1]
        if (self.loss_type == "binary") != (num_classes == 1):
            raise ValueError(f"LovaszLoss of type {self.loss_type!r} does not fit {num_classes} logits")
        if self.class_weight is not None and len(self.class_weight) != num_classes:
            raise ValueError(f"class_weight has {len(self.class_weight)} entries for {num_classes} logits")
        of_pixels = self._hinge if self.loss_type == "binary" else self._softmax
        logits = full_precision(logits)
        # All pixels of the batch are one image, (K, N, H, W), unless each image counts on its own.
        images = zip(logits, target, strict=True) if self.per_image else [(logits.transpose(0, 1), target)]
        losses = torch.stack([of_pixels(*self._labelled(*image)) for image in images])
        return losses.sum() if self.reduction == "sum" else losses.mean()

    def _labelled(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (K, ...) and target (...) of the same pixels -> (P, K) and (P,)."""
        labelled = target != self.ignore_index
        return logits[:, labelled].transpose(0, 1), target[labelled]

    def _softmax(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (P, K), target (P,) -> the mean over classes."""
        probabilities = logits.softmax(dim=1)  # (P, K)
        losses = []
        for k in range(logits.shape[1]) if isinstance(self.classes, str) else self.classes:
            wanted = (target == k).to(probabilities.dtype)  # (P,)
            if self.classes == "present" and not wanted.any():
                continue
            loss = lovasz_extension((wanted - probabilities[:, k]).abs(), wanted)
            losses.append(loss if self.class_weight is None else loss * self.class_weight[k])
        return torch.stack(losses).mean() if losses else logits.sum()  # the sum of nothing is 0, with a gradient

    def _hinge(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (P, 1), target (P,) of 0 and 1 -> the loss of class 1."""
        wanted = target.to(logits.dtype)
        return lovasz_extension((1 - logits[:, 0] * (2 * wanted - 1)).relu(), wanted)


def lovasz_extension(errors: Tensor, wanted: Tensor) -> Tensor:
    """The Jaccard loss of a set of wrong pixels, extended to pixels that are wrong to a degree (equation 8).

    Errors (P,) >= 0 and whether a pixel is of the class, (P,) of 0 and 1 -> scalar.
    """
    errors, order = errors.sort(descending=True)
    wanted = wanted[order]
    # How large the Jaccard loss is when the worst 1, 2, ... pixels are wrong, and what each of them adds to it.
    intersection = wanted.sum() - wanted.cumsum(0)
    union = wanted.sum() + (1 - wanted).cumsum(0)
    jaccard = 1 - intersection / union
    added = torch.diff(jaccard, prepend=jaccard.new_zeros(1))
    return errors @ added
