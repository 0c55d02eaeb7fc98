"""The confusion matrix: one table of counts from which every score of a segmentation follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 22
"""Pixels counted at a time: the memory needed besides the label maps is a few times this, whatever their size."""

COUNTERS = 64
"""How many counters share the work on an accelerator: neighbouring pixels are mostly alike, and additions to the same
number wait for each other."""

COUNTED = 1 << 22
"""Numbers of all counters together, at most: of many classes there are fewer counters, and pixels are less alike."""


def class_indices(values: Any, what: str) -> Tensor:
    """Class indices as a tensor: integers, or truth values for two classes; of a tensor, an array or a list.

    what: whose they are, in a message. Raises ValueError for real numbers, such as logits or probabilities.
    """
    found = values if isinstance(values, Tensor) else torch.as_tensor(_known_to_torch(np.asarray(values)))
    if found.is_floating_point() or found.is_complex():
        raise ValueError(
            f"the {what} holds class indices, integers; found {found.dtype}. Of logits (N, K, H, W) take "
            "logits.argmax(dim=1); of a single logit, (logits > 0)[:, 0]"
        )
    return found.to(torch.uint8) if found.dtype == torch.bool else found


def _known_to_torch(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in a type that torch computes with, in the byte order of the machine."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def ignored_pixels(label: Tensor, ignore_index: int | None) -> Tensor:
    """Where a label of any shape counts nowhere; with None, at no pixel."""
    return torch.zeros_like(label, dtype=torch.bool) if ignore_index is None else label == ignore_index


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Count pixels: (K, K) int64 on the device of `prediction`, rows are true classes, columns predicted ones.

    prediction, label: integers of one shape, any number of dimensions. Pixels labelled `ignore_index` count nowhere.
    Raises ValueError for a label or a prediction that is no class, for which it waits for the device.
    """
    table = pixel_table(prediction, label, num_classes, ignore_index)
    check_outside(outside(table), num_classes, ignore_index, label=label, prediction=prediction)
    return table[:-2, :-1].clone()


def pixel_table(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Count pixels without waiting for the device: (K + 2, K + 1), the confusion matrix with what is no class.

    Row K has the ignored pixels, row K + 1 labels that are no class; column K predictions that are no class.
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction and label must have one shape, found {tuple(prediction.shape)} and {tuple(label.shape)}"
        )
    K = num_classes
    counts = torch.zeros((K + 2) * (K + 1), dtype=torch.int64, device=prediction.device)
    predictions, labels = prediction.reshape(-1), label.to(prediction.device, non_blocking=True).reshape(-1)
    for start in range(0, labels.numel(), CHUNK):
        rows = labels[start : start + CHUNK].to(torch.int32)
        columns = predictions[start : start + CHUNK].to(torch.int32)
        ignored = ignored_pixels(rows, ignore_index)
        rows = torch.where((rows < 0) | (rows >= K), K + 1, rows).masked_fill_(ignored, K)
        columns = torch.where((columns < 0) | (columns >= K), K, columns)
        places = rows.mul_(K + 1).add_(columns)
        if counts.numel() > len(places):  # a pass over all pairs of so many classes would cost more than the pixels
            counts.index_add_(0, places, torch.ones_like(places, dtype=torch.int64))
        else:
            counts += count_values(places, counts.numel())
    return counts.view(K + 2, K + 1)


def count_values(values: Tensor, length: int) -> Tensor:
    """How often each number from 0 to `length` - 1 occurs in integers (n): (length,) int64, on their device.

    torch.bincount makes the processor wait for a GPU, where it looks for the largest number first.
    """
    return counts_of_neighbours(values, length) if values.is_cuda else torch.bincount(values, minlength=length)


def counts_of_neighbours(values: Tensor, length: int) -> Tensor:
    """`count_values` on a GPU: neighbours, which are mostly alike, are counted by different counters."""
    counters = max(min(COUNTERS, COUNTED // length), 1)
    places = torch.arange(len(values), device=values.device).remainder_(counters).mul_(length).add_(values)
    counts = torch.zeros(counters * length, dtype=torch.int64, device=values.device)
    return counts.index_add_(0, places, torch.ones_like(places)).view(counters, length).sum(dim=0)


def outside(table: Tensor) -> Tensor:
    """How many pixels of the label and of the prediction are no class, (2,), from what `pixel_table` gave."""
    return torch.stack([table[-1].sum(), table[:-2, -1].sum()])


def check_outside(
    counts: Tensor,
    num_classes: int,
    ignore_index: int | None,
    *,
    label: Tensor | None = None,
    prediction: Tensor | None = None,
) -> None:
    """Raise ValueError if there are pixels that are no class, by the counts that `outside` gave.

    label, prediction: if they are still at hand, the message has their largest value.
    """
    for count, what, values in zip(counts.tolist(), ("label", "prediction"), (label, prediction), strict=True):
        if count:
            found = "" if values is None else f", found values up to {int(values.to(torch.int64).max())}"
            other = (
                "nothing is ignored" if ignore_index is None else f"or {ignore_index} to ignore a pixel of the label"
            )
            raise ValueError(
                f"{count} pixels of the {what} are no class: expected 0 to {num_classes - 1} ({other}){found}"
            )
