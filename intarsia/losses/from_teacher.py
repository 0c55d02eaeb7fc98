"""What a network learns from another one, the teacher: its answers, softly, or the class that it is sure of.

Scores are what becomes probabilities by a softmax over the classes. `tasks/taught.py` alone has them: these are no
losses that a config names, since they take no labels.

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.losses.reduction import mean_over


def pixel_divergence(scores: Tensor, teacher: Tensor, valid: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of the teacher's probabilities from the student's, as mean over the valid pixels.

    scores, teacher: (N, K, H, W) in float32; valid: (N, H, W) bool. Both are divided by the temperature T, and the
    result multiplied by T^2, which keeps gradients the same size at every temperature. 0 without valid pixels.

    Hinton, Vinyals, Dean, Distilling the knowledge in a neural network, arXiv:1503.02531, section 2.
    """
    ours, others = (F.log_softmax(given / temperature, dim=1) for given in (scores, teacher))
    of_pixels = F.kl_div(ours, others, reduction="none", log_target=True).sum(dim=1)  # (N, H, W)
    return temperature**2 * mean_over(of_pixels.where(valid, 0.0).sum(), valid.sum())


def channel_divergence(scores: Tensor, teacher: Tensor, valid: Tensor, *, temperature: float = 1.0) -> Tensor:
    """As `pixel_divergence`, but of where in the image each class has its share: a softmax over places, not classes.

    The mean over images and classes, of the sum over valid pixels.

    Shu et al., Channel-wise knowledge distillation for dense prediction, arXiv:2011.13256, section 3.
    """
    least = torch.finfo(scores.dtype).min
    places = valid.unsqueeze(1)
    ours, others = (
        F.log_softmax((given / temperature).masked_fill(~places, least).flatten(2), dim=2)
        for given in (scores, teacher)
    )
    terms = F.kl_div(ours, others, reduction="none", log_target=True).where(places.flatten(2), 0.0)  # (N, K, H W)
    return temperature**2 * terms.sum(dim=2).mean()


def pseudo_labels(teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (N, K, H, W) -> the likeliest class (N, H, W), and its probability."""
    likeliest = teacher.softmax(dim=1).max(dim=1)
    return likeliest.indices, likeliest.values


def pseudo_label_loss(scores: Tensor, labels: Tensor, confident: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy of scores (N, K, H, W) at confident pixels, divided by the number of all valid ones.

    labels: (N, H, W) classes. confident, valid: (N, H, W) bool. So few confident pixels count little, as in FixMatch
    (arXiv:2001.07685, equation 4). A scalar, 0 without valid pixels.
    """
    of_pixels = F.cross_entropy(scores, labels, reduction="none")  # (N, H, W)
    return mean_over(of_pixels.where(confident & valid, 0.0).sum(), valid.sum())
