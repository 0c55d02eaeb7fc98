"""Which of many predicted masks stands for which true one: the pairs that cost least together.

Carion et al., DETR, arXiv:2005.12872, section 3.1, for the masks of a label map: MaskFormer, arXiv:2107.06278, section
3.2; Mask2Former, arXiv:2112.01527, section 3.2.

Shape letters: L layers of a decoder, Q predicted masks, T true masks of an image, P places (pixels or points) where
they are compared, H, W height and width of a label map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.losses.dice import naive_dice_cost


class TargetMasks(NamedTuple):
    """What is to be found in one image. classes: (T,). masks: (T, H, W) bool, without overlap but of sets."""

    classes: Tensor
    masks: Tensor


def masks_from_labels(labels: Tensor, *, ignore_index: int) -> TargetMasks:
    """Labels (H, W) -> one mask for each class that is there, by ascending class; ignored pixels are in none."""
    classes = labels.unique()
    classes = classes[classes != ignore_index]  # (T,)
    return TargetMasks(classes, labels == classes.view(-1, 1, 1))


def masks_from_sets(labels: Tensor, num_classes: int, *, ignore_index: int) -> TargetMasks:
    """Labels (H, W) of sets (`label_sets`) -> one mask for each class that is there; ignored pixels are in none."""
    of_classes = torch.arange(num_classes, device=labels.device).view(-1, 1, 1)
    masks = ((labels.long() >> of_classes) & 1 == 1) & (labels != ignore_index)  # (K, H, W)
    found = masks.flatten(1).any(dim=1)
    return TargetMasks(of_classes.flatten()[found], masks[found])


def class_costs(logits: Tensor, classes: Tensor) -> Tensor:
    """Logits (L, Q, K + 1) and classes (T,) -> minus the probability of each of them (L, Q, T)."""
    return -logits.softmax(dim=-1)[..., classes]


def mask_costs(if_inside: Tensor, if_outside: Tensor, truth: Tensor) -> Tensor:
    """What every place costs if it belongs to the mask, or not, (L, Q, P) both, and truth (T, P) in 0..1 -> (L, Q, T).

    The mean cost of each mask for each. A truth between 0 and 1 costs its share of both, as in a cross entropy.
    """
    return (if_outside.sum(dim=-1, keepdim=True) + (if_inside - if_outside) @ truth.T) / truth.shape[1]


def dice_costs(logits: Tensor, truth: Tensor, *, eps: float) -> Tensor:
    """Logits (L, Q, P) and truth (T, P) in 0..1 -> the Dice loss of each for each (L, Q, T)."""
    inside = logits.sigmoid()
    return naive_dice_cost(inside @ truth.T, inside.sum(dim=-1, keepdim=True), truth.sum(dim=-1), eps=eps)


def hungarian_match(costs: Sequence[Tensor]) -> list[Tensor]:
    """Costs (L, Q, T_i) of some images -> for each image and layer, which query takes which mask, (L, 2, min(Q, T_i)).

    The pairs whose costs add up to the least: Kuhn, The Hungarian Method for the Assignment Problem, 1955, as scipy has
    it, on the processor; all costs travel there at once. Costs that are not finite count as very high, so that a
    diverging training is stopped by its loss and not by this.
    """
    from scipy.optimize import linear_sum_assignment

    sizes = [cost.numel() for cost in costs]
    huge = torch.finfo(torch.float32).max
    flat = torch.cat([cost.flatten() for cost in costs]).nan_to_num(nan=huge, posinf=huge, neginf=-huge).cpu()
    pairs = []
    for cost, values in zip(costs, flat.split(sizes), strict=True):
        found = np.array([linear_sum_assignment(layer.numpy()) for layer in values.view(cost.shape)], dtype=np.int64)
        pairs.append(torch.from_numpy(found).to(cost.device))
    return pairs


def at_size(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (T, H, W) bool -> (T, *size) in 0 and 1, by nearest pixels."""
    return F.interpolate(masks.unsqueeze(1).float(), size=list(size), mode="nearest").squeeze(1)
