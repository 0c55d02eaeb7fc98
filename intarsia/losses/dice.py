"""Dice loss: one minus the overlap of prediction and truth, a fraction of both (V-Net, arXiv:1606.04797, section 3).

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from intarsia.layers.precision import full_precision
from intarsia.losses.targets import one_per_class


class DiceLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    Of each image, over all its pixels and classes at once, with probabilities p and truth t in {0, 1}:

        1 - 2 sum(p t) / (sum(p p) + eps + sum(t t) + eps)         or, naively,
        1 - (2 sum(p t) + eps) / (sum(p) + sum(t) + eps)

    An ignored pixel is of no class, so that whatever is predicted there counts as too much; that is what published
    models were trained with.

    Args:
        use_sigmoid: probabilities of each class on its own; softmax over the classes otherwise. A single logit (K = 1)
            is always on its own, and asks for the class 1 among labels 0 and 1.
        activate: False takes the logits for probabilities.
        naive_dice: the second form.
        eps: keeps images without the class from dividing by 0; in the second form they then cost nothing.
        ignore_index: label of pixels of no class. A class of this index is left out of the sums.
        reduction: "mean" or "sum" over images.
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        activate: bool = True,
        naive_dice: bool = False,
        eps: float = 1e-3,
        ignore_index: int | None = 255,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.use_sigmoid = use_sigmoid
        self.activate = activate
        self.naive_dice = naive_dice
        self.eps = eps
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar."""
        num_classes = logits.shape[1]
        predicted = self._probabilities(full_precision(logits))
        wanted = one_per_class(target, num_classes).to(predicted.dtype)  # (N, K, H, W)
        counted = [k for k in range(num_classes) if k != self.ignore_index]
        predicted, wanted = predicted[:, counted].flatten(1), wanted[:, counted].flatten(1)  # (N, K * H * W)
        overlap = (predicted * wanted).sum(dim=1)  # (N,)
        if self.naive_dice:
            loss = naive_dice_cost(overlap, predicted.sum(dim=1), wanted.sum(dim=1), eps=self.eps)  # (N,)
        else:
            loss = 1 - 2 * overlap / (predicted.square().sum(dim=1) + self.eps + wanted.sum(dim=1) + self.eps)  # (N,)
        return loss.sum() if self.reduction == "sum" else loss.mean()

    def _probabilities(self, logits: Tensor) -> Tensor:
        if not self.activate:
            return logits
        return logits.sigmoid() if self.use_sigmoid or logits.shape[1] == 1 else logits.softmax(dim=1)


def naive_dice_cost(overlap: Tensor, predicted: Tensor, wanted: Tensor, *, eps: float) -> Tensor:
    """The second form, of the sums of p t, of p, and of t; all of one shape, or of shapes that broadcast."""
    return 1 - (2 * overlap + eps) / (predicted + wanted + eps)
