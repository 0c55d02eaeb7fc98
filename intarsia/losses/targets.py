"""Targets as losses want them, and what every loss does before it begins.

Shape letters: N images, K logits, H, W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from intarsia.layers.precision import full_precision, without_autocast


def on_known_labels(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor, *, ignore_index: int | None
) -> Tensor:
    """`loss(logits, target)` in full precision, autocast or not, of labels that are all classes or ignored.

    Logits (N, K, H, W), target (N, H, W) of class indices, integers of any type, -> scalar.

    On the processor, raises ValueError for another label. On an accelerator, where asking would wait for the device in
    every step, the loss is nan then: the training leaves such a step out, and finds the label when it says why.
    """
    num_classes = classes_of(logits)
    target = target.long()  # bytes would be taken for masks where they choose
    unknown = unknown_labels(target, num_classes, ignore_index=ignore_index)
    with without_autocast(logits):
        if is_on_cpu(target):
            refuse_unknown_labels(unknown, target, num_classes, ignore_index=ignore_index)
            return loss(full_precision(logits), target)
        known = target.masked_fill(unknown, -1 if ignore_index is None else ignore_index)
        return loss(full_precision(logits), known).masked_fill(unknown.any(), math.nan)


def classes_of(logits: Tensor) -> int:
    """How many values a label can have: one for each of the logits (N, K, ...), 0 and 1 for a single logit."""
    return max(logits.shape[1], 2)


def unknown_labels(target: Tensor, num_classes: int, *, ignore_index: int | None) -> Tensor:
    """Class indices of any shape -> where they are neither a class nor ignored, of the same shape."""
    outside = (target < 0) | (target >= num_classes)
    return outside if ignore_index is None else outside & (target != ignore_index)


def is_on_cpu(x: Tensor) -> bool:
    """Whether a question about the values of `x` is answered at once: on the processor, not on an accelerator."""
    return x.device.type == "cpu"


def refuse_unknown_labels(unknown: Tensor, labels: Tensor, num_classes: int, *, ignore_index: int | None) -> None:
    """Raises ValueError, naming the values, if any label is `unknown`, both of one shape. Waits for the device."""
    if unknown.any():
        raise ValueError(unknown_labels_message(labels[unknown], num_classes, ignore_index=ignore_index))


def unknown_labels_message(
    labels: Tensor, num_classes: int, *, ignore_index: int | None, where: str = "the labels"
) -> str:
    """What to say of labels (P,) that are neither a class nor ignored. Waits for the device.

    where: whose labels they are, as the subject of a sentence.
    """
    values = labels.unique().tolist()
    shown = ", ".join(map(str, values[:5])) + (" ..." if len(values) > 5 else "")
    kind = "value" if len(values) == 1 else "values"
    ignored = "nothing is ignored" if ignore_index is None else f"{ignore_index} is ignored (ignore_index)"
    return (
        f"{where} have the {kind} {shown}, but there are {num_classes} classes, 0 to {num_classes - 1}, and {ignored}. "
        f"Give such pixels a class or the ignored value in the data set's label table, or set num_classes and "
        f"ignore_index to what the labels have; padding (seg_pad_val) counts as a label too"
    )


def one_hot_targets(target: Tensor, num_classes: int) -> Tensor:
    """(N, H, W) class indices -> (N, K, H, W) bool: whether the pixel is of the class; of none where it is ignored.

    A single class (K = 1) is the class 1 among labels 0 and 1.
    """
    classes = torch.arange(num_classes, device=target.device) if num_classes > 1 else target.new_ones(1)
    return target.unsqueeze(1) == classes.view(-1, 1, 1)
