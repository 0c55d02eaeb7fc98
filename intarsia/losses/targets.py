"""Targets as losses that look at each class on its own want them."""

from __future__ import annotations

import torch
from torch import Tensor


def one_per_class(target: Tensor, num_classes: int) -> Tensor:
    """(N, H, W) class indices -> (N, K, H, W) bool: whether the pixel is of the class; of none where it is ignored.

    A single class (K = 1) is the class 1 among labels 0 and 1.
    """
    classes = torch.arange(num_classes, device=target.device) if num_classes > 1 else target.new_ones(1)
    return target.unsqueeze(1) == classes.view(-1, 1, 1)
