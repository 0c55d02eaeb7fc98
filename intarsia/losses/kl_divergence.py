"""Kullback-Leibler divergence of two networks' answers, to train the one after the other.

Hinton, Vinyals, Dean, Distilling the knowledge in a neural network, arXiv:1503.02531, section 2.

Shape letters: N images, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.precision import full_precision, without_autocast


class KLDivLoss(nn.Module):
    """Logits (N, K, ...) and the logits (N, K, ...) of another network -> scalar.

    With softmax probabilities p of the logits and q of the other's, both of logits / T, each place and class adds
    T^2 q (log q - log p). T^2 keeps gradients the same size at every temperature.

    The original takes the probability of the first network where its logarithm belongs, and so is negative, or least
    where the answers differ (docs/design.md, section 9): this is the paper's formula.

    Args:
        temperature: T, more than 0.
        reduction: what becomes of the numbers of each image, their "mean" or their "sum"; the loss is the mean over
            images. "none", where a head takes the mean, is the same as "mean".

    There is no gradient for the other network. Half-precision logits are lifted to float32.

    Raises ValueError for a temperature that is not more than 0.
    """

    def __init__(self, *, temperature: float = 1.0, reduction: Literal["mean", "sum", "none"] = "mean") -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the temperature of KLDivLoss is more than 0; got {temperature}")
        self.temperature = temperature
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, ...) and logits to be like, of the same shape -> scalar.

        Raises ValueError for other shapes: labels are no logits.
        """
        if logits.shape != target.shape or not target.is_floating_point():
            raise ValueError(
                f"KLDivLoss compares logits {tuple(logits.shape)} with those of another network, of the same shape; "
                f"got {target.dtype} {tuple(target.shape)}. For labels, take CrossEntropyLoss"
            )
        with without_autocast(logits):
            ours = F.log_softmax(full_precision(logits) / self.temperature, dim=1)
            others = F.log_softmax(full_precision(target.detach()) / self.temperature, dim=1)
            terms = F.kl_div(ours, others, reduction="none", log_target=True) * self.temperature**2
            of_images = terms.flatten(1)  # (N, places and classes)
            return (of_images.sum(dim=1) if self.reduction == "sum" else of_images.mean(dim=1)).mean()
