"""The Matthews correlation coefficient of a foreground as a loss.

Abhishek, Hamarneh, Matthews Correlation Coefficient Loss for Deep Convolutional Networks, ISBI 2021, arXiv:2010.13454.

Shape letters: N images, H, W height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intarsia.losses.targets import on_known_labels


def matthews_cost(predicted: Tensor, wanted: Tensor, *, eps: float, counted: Tensor | None = None) -> Tensor:
    """1 - the coefficient, of probabilities and truth of one shape; 0 (all right) to 2. counted: pixels that count."""
    unseen, unwanted = 1 - predicted, 1 - wanted
    outcomes: tuple[Tensor, ...] = (predicted * wanted, unseen * unwanted, predicted * unwanted, unseen * wanted)
    if counted is not None:
        outcomes = tuple(outcome.where(counted, 0.0) for outcome in outcomes)
    tp, tn, fp, fn = (outcome.sum() + eps for outcome in outcomes)
    # One root of four: their product is beyond float32 for a few hundred thousand pixels, and half of it is not.
    below = ((tp + fp) * (tn + fn)).sqrt() * ((tp + fn) * (tn + fp)).sqrt()
    cost: Tensor = 1 - (tp * tn - fp * fn) / below
    return cost


class MatthewsLoss(nn.Module):
    """A single logit (N, 1, H, W) and labels 0 and 1 (N, H, W) -> scalar.

    1 minus the correlation of sigmoid and truth over all labelled pixels of the batch. Unlike Dice it counts rightly
    seen background, too, so that foreground and background may be exchanged.

    Args:
        eps: added to each of the four sums; a batch of one class alone then costs 1.
        ignore_index: label of pixels that are in none of the sums.
    """

    def __init__(self, *, eps: float = 1e-5, ignore_index: int = 255) -> None:
        super().__init__()
        self.eps = eps
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, 1, H, W), target (N, H, W) -> scalar.

        Raises ValueError for several logits, and for labels that are no class (`on_known_labels`).
        """
        count = logits.shape[1]
        if count != 1:
            raise ValueError(f"MatthewsLoss is for a single logit, of foreground and background; found {count}")
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        wanted = (target == 1).to(logits.dtype)
        counted: Tensor = torch.ne(target, self.ignore_index)
        return matthews_cost(logits[:, 0].sigmoid(), wanted, eps=self.eps, counted=counted)
