"""Dice loss: one minus the overlap of prediction and truth, a fraction of both (V-Net, arXiv:1606.04797, section 3).

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from intarsia.losses.resized_logits import ResizedLogits
from intarsia.losses.resized_sums import Activation, class_sums
from intarsia.losses.targets import on_known_labels, one_hot_targets


class DiceLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    Of each image, over all its pixels and classes at once, with probabilities p and truth t in {0, 1}:

        1 - 2 sum(p t) / (sum(p p) + eps + sum(t t) + eps)         or, naively,
        1 - (2 sum(p t) + eps) / (sum(p) + sum(t) + eps)

    An ignored pixel is in none of the sums, and an image of nothing else costs nothing.

    Args:
        use_sigmoid: probabilities of each class on its own; softmax over the classes otherwise. A single logit (K = 1)
            is always on its own, and asks for the class 1 among labels 0 and 1.
        activate: False takes the logits for probabilities.
        naive_dice: the second form.
        eps: keeps images without the class from dividing by 0; in the second form they then cost nothing.
        ignore_index: label of pixels that are ignored; None for no label. A class of this index is left out of the
            sums.
        ignored: "left_out" as above, or "no_class", MMSegmentation's form: an ignored pixel is of no class, so that
            whatever is predicted there counts as too much. Its published models were trained with that.
        reduction: "mean" or "sum" over images.

    Raises ValueError for an unknown word in `ignored`.
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        activate: bool = True,
        naive_dice: bool = False,
        eps: float = 1e-3,
        ignore_index: int | None = 255,
        ignored: Literal["left_out", "no_class"] = "left_out",
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        if ignored not in ("left_out", "no_class"):
            raise ValueError(f"ignored pixels of DiceLoss are 'left_out' or of 'no_class'; got {ignored!r}")
        self.use_sigmoid = use_sigmoid
        self.activate = activate
        self.naive_dice = naive_dice
        self.eps = eps
        self.ignore_index = ignore_index
        self.ignored = ignored
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        Raises ValueError for labels that are no class (`on_known_labels`).
        """
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def of_resized(self, logits: ResizedLogits, target: Tensor) -> Tensor:
        """What the loss gives for `logits.whole`, which are never made; see `resized_sums`."""

        def loss(low: Tensor, target: Tensor) -> Tensor:
            labelled = self._labelled(target)
            activation = self._activation(low.shape[1])
            sums = class_sums(
                logits, target, activation=activation, counted=labelled, squares=not self.naive_dice
            )  # (N, K) each
            overlap, predicted, wanted = (self._counted(each).sum(dim=1) for each in sums)
            return self._of_sums(overlap, predicted, wanted, labelled)

        return on_known_labels(loss, logits.low, target, ignore_index=self.ignore_index)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        predicted = self._probabilities(logits)
        wanted = one_hot_targets(target, logits.shape[1])  # (N, K, H, W)
        labelled = self._labelled(target)
        if labelled is not None:
            in_all = labelled.unsqueeze(1)  # (N, 1, H, W)
            predicted, wanted = predicted.where(in_all, 0.0), wanted & in_all
        predicted, wanted = self._counted(predicted).flatten(1), self._counted(wanted).flatten(1)  # (N, K * H * W)
        wanted = wanted.to(predicted.dtype)
        of_predicted = predicted if self.naive_dice else predicted.square()
        return self._of_sums((predicted * wanted).sum(dim=1), of_predicted.sum(dim=1), wanted.sum(dim=1), labelled)

    def _of_sums(self, overlap: Tensor, predicted: Tensor, wanted: Tensor, labelled: Tensor | None) -> Tensor:
        """The loss, of the sums of p t, of p (naively) or p p, and of t, (N,) each, and the pixels that are in them."""
        if self.naive_dice:
            loss = naive_dice_cost(overlap, predicted, wanted, eps=self.eps)  # (N,)
        else:
            eps = max(self.eps, torch.finfo(overlap.dtype).tiny)
            loss = 1 - 2 * overlap / (predicted + eps + wanted + eps)  # (N,)
        if labelled is not None:
            loss = loss * labelled.flatten(1).any(dim=1)
        return loss.sum() if self.reduction == "sum" else loss.mean()

    def _labelled(self, target: Tensor) -> Tensor | None:
        """The pixels (N, H, W) that are in the sums; None for all."""
        if self.ignored == "no_class" or self.ignore_index is None:
            return None
        return target != self.ignore_index

    def _counted(self, maps: Tensor) -> Tensor:
        """Maps (N, K, H, W) of all classes without the ignored one. A single one stands for class 1, and stays."""
        classes = maps.shape[1]
        if self.ignore_index is None or classes == 1 or not 0 <= self.ignore_index < classes:
            return maps
        return torch.cat([maps[:, : self.ignore_index], maps[:, self.ignore_index + 1 :]], dim=1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        activation = self._activation(logits.shape[1])
        if activation == "none":
            return logits
        return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)

    def _activation(self, num_logits: int) -> Activation:
        if not self.activate:
            return "none"
        return "sigmoid" if self.use_sigmoid or num_logits == 1 else "softmax"


def naive_dice_cost(overlap: Tensor, predicted: Tensor, wanted: Tensor, *, eps: float) -> Tensor:
    """The second form, of the sums of p t, of p, and of t; all of one shape, or of shapes that broadcast.

    Of nothing and nothing it is 0, also for an eps of 0.
    """
    eps = max(eps, torch.finfo(overlap.dtype).tiny)
    return 1 - (2 * overlap + eps) / (predicted + wanted + eps)
