"""Tversky loss: Dice with a price for what is predicted too much and another for what is missed.

Salehi, Erdogmus, Gholipour, Tversky loss function for image segmentation using 3D fully convolutional deep networks,
arXiv:1706.05721, equation 3.

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.losses.class_weights import as_buffer, in_precision_of
from intarsia.losses.resized_logits import ResizedLogits
from intarsia.losses.resized_sums import class_sums
from intarsia.losses.targets import on_known_labels, one_hot_targets


class TverskyLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    Of each image and each class, with softmax probabilities p and truth t in {0, 1} at the pixels that are labelled,
    TP = sum(p t), FP = sum(p (1 - t)), FN = sum((1 - p) t):

        1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)

    averaged over images and classes.

    Args:
        alpha: price of false positives.
        beta: price of false negatives; alpha + beta = 1, and 0.5 each is Dice.
        smooth: keeps images without the class from dividing by 0.
        class_weight: one factor per class; the average still divides by K.
        ignore_index: label of pixels that contribute nothing. A class of this index is left out of the sum.

    Raises ValueError unless alpha + beta = 1.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        if abs(alpha + beta - 1.0) > 1e-6:
            raise ValueError(f"alpha and beta of TverskyLoss add up to 1; got {alpha} and {beta}")
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth
        self.ignore_index = ignore_index
        self._class_weight = class_weight
        self.register_buffer("class_weight", as_buffer(class_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        Raises ValueError for a single logit, which has no softmax, for class weights of another number, and for labels
        that are no class (`on_known_labels`).
        """
        self._check(logits.shape[1])
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def of_resized(self, logits: ResizedLogits, target: Tensor) -> Tensor:
        """What the loss gives for `logits.whole`, which are never made; see `resized_sums`."""
        self._check(logits.shape[1])

        def loss(low: Tensor, target: Tensor) -> Tensor:
            sums = class_sums(logits, target, activation="softmax", counted=target != self.ignore_index)
            return self._of_sums(*sums)

        return on_known_labels(loss, logits.low, target, ignore_index=self.ignore_index)

    def _check(self, num_logits: int) -> None:
        if num_logits == 1:
            raise ValueError("TverskyLoss needs one logit per class; this head has a single one")
        if self.class_weight is not None and len(self.class_weight) != num_logits:
            raise ValueError(f"class_weight has {len(self.class_weight)} entries for {num_logits} logits")

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        labelled = (target != self.ignore_index).unsqueeze(1)  # (N, 1, H, W)
        predicted = logits.softmax(dim=1) * labelled  # (N, K, H, W)
        wanted = (one_hot_targets(target, logits.shape[1]) & labelled).to(predicted.dtype)
        return self._of_sums(*(each.sum(dim=(2, 3)) for each in (predicted * wanted, predicted, wanted)))

    def _of_sums(self, tp: Tensor, predicted: Tensor, wanted: Tensor) -> Tensor:
        """The loss, of the sums of p t, of p and of t, (N, K) each."""
        num_classes = tp.shape[1]
        fp, fn = predicted - tp, wanted - tp
        smooth = max(self.smooth, torch.finfo(tp.dtype).tiny)  # nothing of nothing costs nothing, also without
        loss = 1 - (tp + smooth) / (tp + self.alpha * fp + self.beta * fn + smooth)
        if self.class_weight is not None and self._class_weight is not None:
            loss = loss * in_precision_of(loss, self.class_weight, self._class_weight)
        counted = torch.arange(num_classes, device=loss.device) != self.ignore_index  # a list would be sent each time
        return loss.mean(dim=0).where(counted, 0.0).sum() / num_classes
