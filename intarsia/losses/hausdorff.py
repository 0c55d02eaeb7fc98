"""Hausdorff distance loss: errors weigh the more, the farther they lie inside a mask.

Karimi, Salcudean, Reducing the Hausdorff distance in medical image segmentation with convolutional neural networks,
arXiv:1904.10030, equation 8 with alpha = 2.

Shape letters: N images, K classes, H, W height and width.

Differs from the paper as MMSegmentation does, whose numbers it gives: distances are those to the background inside of
what is no background, of the truth and of the largest logit, and the same for each class; each class's probability is
compared with the class index and not with 0 or 1. With two classes, background and one other, that is the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from intarsia.losses.class_weights import as_buffer, in_precision_of
from intarsia.losses.reduction import mean_over
from intarsia.losses.targets import on_known_labels


class HausdorffDistanceLoss(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W), class 0 being the background -> scalar.

    For each class k > 0, with softmax probabilities p, truth t and the distances d in pixels,

        mean((p_k - t)^2 (d_predicted^2 + d_true^2))

    over the labelled pixels; summed over these classes and divided by K. There is no gradient through the distances.

    Args:
        class_weight: one factor per class; the sum is still divided by K.
        ignore_index: label of pixels that add nothing; nor do masks end at them. A class of this index is left out of
            the sum.

    Distances are computed on the processor: an accelerator is waited for in every step.
    """

    class_weight: Tensor | None

    def __init__(self, *, class_weight: Sequence[float] | None = None, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self._class_weight = class_weight
        self.register_buffer("class_weight", as_buffer(class_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        Raises ValueError for a single logit, which has no background, for class weights of another number, and for
        labels that are no class (`on_known_labels`).
        """
        num_classes = logits.shape[1]
        if num_classes == 1:
            raise ValueError("HausdorffDistanceLoss needs one logit per class, the first being the background; got one")
        if self.class_weight is not None and len(self.class_weight) != num_classes:
            raise ValueError(f"class_weight has {len(self.class_weight)} entries for {num_classes} logits")
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        num_classes = logits.shape[1]
        labelled = target != self.ignore_index  # (N, H, W)
        truth = target.masked_fill(~labelled, 0)
        inside = torch.stack([logits.detach().argmax(dim=1), truth]).ne(0) | ~labelled  # (2, N, H, W)
        squares = (distances_inside(inside.flatten(0, 1)) ** 2).view(inside.shape).sum(dim=0) * labelled
        errors = (logits.softmax(dim=1) - truth.unsqueeze(1)) ** 2 * squares.unsqueeze(1)  # (N, K, H, W)
        of_classes = mean_over(errors.sum(dim=(0, 2, 3)), labelled.sum())  # (K,)
        if self.class_weight is not None and self._class_weight is not None:
            of_classes = of_classes * in_precision_of(of_classes, self.class_weight, self._class_weight)
        counted = [k for k in range(1, num_classes) if k != self.ignore_index]
        return sum((of_classes[k] for k in counted), start=of_classes[:0].sum()) / num_classes


def distances_inside(masks: Tensor) -> Tensor:
    """Masks (N, H, W) of bool -> the distance of each of their pixels to the nearest outside, in pixels, as float32.

    0 outside of a mask. A mask that fills the image ends at the image's border. Waits for the device.
    """
    found = np.stack([_inside(mask) for mask in masks.cpu().numpy()])
    return torch.from_numpy(found).to(masks.device)


def _inside(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    from scipy.ndimage import distance_transform_edt  # which takes its time, and most trainings have another loss

    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    whole = bool(mask.all())  # scipy's answer is not defined then
    found: npt.NDArray[np.float32] = distance_transform_edt(np.pad(mask, 1) if whole else mask).astype(np.float32)
    return found[1:-1, 1:-1] if whole else found
