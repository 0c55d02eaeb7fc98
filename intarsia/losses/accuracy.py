"""The pixel accuracy: no loss, but logged beside each.

Shape letters: N images, K logits, H, W height and width.
"""

from __future__ import annotations

from torch import Tensor

from intarsia.losses.reduction import mean_over
from intarsia.losses.resized_cross_entropy import right_pixels
from intarsia.losses.resized_logits import ResizedLogits


def pixel_accuracy(logits: Tensor, labels: Tensor, *, ignore_index: int) -> Tensor:
    """Percentage of pixels of labels (N, H, W) whose class has the largest of the logits (N, K, H, W), as float32.

    A single logit says class 1 where it is positive. Ignored pixels do not count; without any other, the answer is 0.
    """
    # max() finds the first of the largest like argmax(), and is several times faster on a processor.
    predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.max(dim=1).indices  # (N, H, W)
    return _percentage(predicted == labels, labels, ignore_index)


def accuracy_of_resized(logits: ResizedLogits, labels: Tensor, *, ignore_index: int) -> Tensor:
    """`pixel_accuracy` of `logits.whole`, K > 1, which are never made."""
    return _percentage(right_pixels(logits, labels), labels, ignore_index)


def _percentage(right: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    labelled = labels != ignore_index
    return 100.0 * mean_over((right & labelled).sum().float(), labelled.sum())
