"""Dice loss of each class over a whole batch, as nnU-Net has it in two dimensions.

Isensee et al., nnU-Net, Nature Methods 18, 2021, methods, "Loss function"; `batch_dice` of the original's plans.

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intarsia.losses.dice import naive_dice_cost
from intarsia.losses.resized_logits import ResizedLogits
from intarsia.losses.resized_sums import Activation, class_sums
from intarsia.losses.targets import on_known_labels, one_hot_targets


class BatchDiceLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar.

    Of each class, over all pixels of all images at once, with softmax probabilities p and truth t in {0, 1}:

        1 - (2 sum(p t) + eps) / (sum(p) + sum(t) + eps)

    averaged over the classes but the background. An image without a class so costs what is wrongly seen in it and no
    more, which over single images it does not (`DiceLoss`). The original leaves out the 1, which has no gradient. Over
    several processes each has the batch of its own.

    Args:
        background: the class that is left out, since it is seen well enough; None for none. A single logit (K = 1) is a
            sigmoid, of the class 1 among labels 0 and 1, and has no background.
        eps: keeps a batch without the class from dividing by 0; it then costs nothing.
        ignore_index: label of pixels that are in none of the sums. A class of this index is left out of the average.
    """

    def __init__(self, *, background: int | None = 0, eps: float = 1e-5, ignore_index: int = 255) -> None:
        super().__init__()
        self.background = background
        self.eps = eps
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        Raises ValueError for labels that are no class (`on_known_labels`), and where no class is left.
        """
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def of_resized(self, logits: ResizedLogits, target: Tensor) -> Tensor:
        """What the loss gives for `logits.whole`, which are never made; see `resized_sums`."""

        def loss(low: Tensor, target: Tensor) -> Tensor:
            sums = class_sums(
                logits, target, activation=_activation(low.shape[1]), counted=target != self.ignore_index
            )  # (N, K) each
            return self._of_sums(*(each.sum(dim=0) for each in sums))

        return on_known_labels(loss, logits.low, target, ignore_index=self.ignore_index)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        classes = logits.shape[1]
        predicted = logits.sigmoid() if _activation(classes) == "sigmoid" else logits.softmax(dim=1)  # (N, K, H, W)
        labelled = (target != self.ignore_index).unsqueeze(1)  # (N, 1, H, W)
        predicted = predicted.where(labelled, 0.0)
        wanted = (one_hot_targets(target, classes) & labelled).to(predicted.dtype)
        return self._of_sums(*(x.sum(dim=(0, 2, 3)) for x in (predicted * wanted, predicted, wanted)))

    def _of_sums(self, *sums: Tensor) -> Tensor:
        """The loss, of the sums of p t, of p and of t, (K,) each."""
        classes = len(sums[0])
        left_out = () if classes == 1 else (self.background, self.ignore_index)
        counted = [k for k in range(classes) if k not in left_out]
        if not counted:
            raise ValueError(f"BatchDiceLoss has no class left of {classes}: background is {self.background}")
        # One by one: a list of places would be sent to the device in each step.
        overlap, predicted, wanted = (torch.stack([each[k] for k in counted]) for each in sums)
        return naive_dice_cost(overlap, predicted, wanted, eps=self.eps).mean()


def _activation(num_logits: int) -> Activation:
    return "sigmoid" if num_logits == 1 else "softmax"
