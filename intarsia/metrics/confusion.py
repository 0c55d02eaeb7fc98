"""The confusion matrix: one table of counts from which every score of a segmentation follows."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1 << 22
"""Pixels counted at a time: the memory needed besides the label maps is a few times this, whatever their size."""

COUNTERS = 64
"""How many counters share the work on an accelerator: neighbouring pixels are mostly alike, and additions to the same
number wait for each other."""


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Count pixels: (K, K) int64 on the device of `prediction`, rows are true classes, columns predicted ones.

    prediction, label: integers of one shape, any number of dimensions. Pixels labelled `ignore_index` count nowhere.
    Raises ValueError for a label or a prediction that is no class, for which it waits for the device.
    """
    table = pixel_table(prediction, label, num_classes, ignore_index)
    check_outside(outside(table), num_classes, ignore_index, label=label, prediction=prediction)
    return table[:-2, :-1].clone()


def pixel_table(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
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
        ignored = rows == ignore_index
        rows = torch.where((rows < 0) | (rows >= K), K + 1, rows).masked_fill_(ignored, K)
        columns = torch.where((columns < 0) | (columns >= K), K, columns)
        counts += count_values(rows.mul_(K + 1).add_(columns), counts.numel())
    return counts.view(K + 2, K + 1)


def count_values(values: Tensor, length: int) -> Tensor:
    """How often each number from 0 to `length` - 1 occurs in integers (n): (length,) int64, on their device.

    torch.bincount makes the processor wait for a GPU, where it looks for the largest number first.
    """
    return counts_of_neighbours(values, length) if values.is_cuda else torch.bincount(values, minlength=length)


def counts_of_neighbours(values: Tensor, length: int) -> Tensor:
    """`count_values` on a GPU: neighbours, which are mostly alike, are counted by different counters."""
    places = torch.arange(len(values), device=values.device).remainder_(COUNTERS).mul_(length).add_(values)
    counts = torch.zeros(COUNTERS * length, dtype=torch.int64, device=values.device)
    return counts.index_add_(0, places, torch.ones_like(places)).view(COUNTERS, length).sum(dim=0)


def outside(table: Tensor) -> Tensor:
    """How many pixels of the label and of the prediction are no class, (2,), from what `pixel_table` gave."""
    return torch.stack([table[-1].sum(), table[:-2, -1].sum()])


def check_outside(
    counts: Tensor,
    num_classes: int,
    ignore_index: int,
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
            raise ValueError(
                f"{count} pixels of the {what} are no class: expected 0 to {num_classes - 1} (or {ignore_index} to "
                f"ignore a pixel of the label){found}"
            )
