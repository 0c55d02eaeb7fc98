"""Further scores that follow from the confusion matrix alone.

Rows are true classes, columns predicted ones; n is the number of labelled pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def frequency_weighted_iou(matrix: Tensor) -> float:
    """The mean of the IoU over classes, weighed by their share of the labelled pixels (Long et al., CVPR 2015)."""
    counts = matrix.cpu().to(torch.float64)
    hit, labelled, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    iou = (hit / (labelled + predicted - hit)).nan_to_num(nan=0.0)  # of classes that are nowhere, whose weight is 0
    return float((iou * labelled).sum() / labelled.sum())


def cohens_kappa(matrix: Tensor) -> float:
    """(p - e) / (1 - e) of the share p of right pixels and the share e expected by chance (Cohen, 1960).

    1 is agreement, 0 is chance; nan where truth and prediction are one and the same class, and chance is always right.
    """
    counts = matrix.cpu().to(torch.float64)
    total = counts.sum()
    right = counts.diagonal().sum() / total
    chance = (counts.sum(dim=0) * counts.sum(dim=1)).sum() / total**2
    return float((right - chance) / (1 - chance)) if chance < 1 else math.nan


def class_groups(groups: Mapping[str, Sequence[str]], classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The indices of each group's classes. Groups may overlap, and need not cover all classes.

    Raises ValueError for an empty group, or one with an unknown class.
    """
    indices: dict[str, tuple[int, ...]] = {}
    for group, members in groups.items():
        members = (members,) if isinstance(members, str) else tuple(members)
        unknown = [name for name in members if name not in classes]
        if unknown or not members:
            found = f"unknown: {', '.join(unknown)}" if unknown else "it has none"
            raise ValueError(f"group {group!r}: expected names out of {', '.join(classes)}; {found}")
        indices[group] = tuple(dict.fromkeys(classes.index(name) for name in members))
    return indices


def group_iou(matrix: Tensor, members: Sequence[int]) -> float:
    """The IoU of several classes as if they were one; nan where none of them is there."""
    counts = matrix.cpu().to(torch.float64)
    chosen = list(members)
    hit = counts[chosen][:, chosen].sum()
    return float(hit / (counts[chosen].sum() + counts[:, chosen].sum() - hit))
