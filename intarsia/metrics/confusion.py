"""The confusion matrix: one table of counts from which every score of a segmentation follows."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1 << 22
"""Pixels counted at a time: the memory needed besides the label maps is a few times this, whatever their size."""


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Count pixels: (K, K) int64 on the device of `prediction`, rows are true classes, columns predicted ones.

    prediction, label: integers of one shape, any number of dimensions. Pixels labelled `ignore_index` count nowhere.
    Raises ValueError for a label or a prediction that is no class.
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction and label must have one shape, found {tuple(prediction.shape)} and {tuple(label.shape)}"
        )
    K = num_classes
    counts = torch.zeros((K + 2) * (K + 1), dtype=torch.int64, device=prediction.device)
    predictions, labels = prediction.reshape(-1), label.to(prediction.device).reshape(-1)
    for start in range(0, labels.numel(), CHUNK):
        # Row K collects ignored pixels, row K + 1 labels that are no class; column K predictions that are no class.
        rows = labels[start : start + CHUNK].to(torch.int32)
        columns = predictions[start : start + CHUNK].to(torch.int32)
        ignored = rows == ignore_index
        rows = torch.where((rows < 0) | (rows >= K), K + 1, rows).masked_fill_(ignored, K)
        columns = torch.where((columns < 0) | (columns >= K), K, columns)
        counts += torch.bincount(rows.mul_(K + 1).add_(columns), minlength=counts.numel())
    table = counts.view(K + 2, K + 1)
    outside = torch.stack([table[K + 1].sum(), table[:K, K].sum()]).tolist()
    for count, what, values in zip(outside, ("label", "prediction"), (label, prediction), strict=True):
        if count:
            raise ValueError(
                f"{count} pixels of the {what} are no class: expected 0 to {K - 1} (or {ignore_index} to ignore a "
                f"pixel of the label), found values up to {int(values.to(torch.int64).max())}"
            )
    return table[:K, :K].clone()
