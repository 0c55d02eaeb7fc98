"""Scores of a foreground, the second of two classes, over all pixels and image by image.

With true positives TP, false positives FP and false negatives FN of the foreground:

    Dice  2 TP / (2 TP + FP + FN)     IoU  TP / (TP + FP + FN)     Precision  TP / (TP + FP)     Recall  TP / (TP + FN)

Over all pixels a large object counts more than a small one; the mean over images lets every image count alike, as
medicine has it. There an image without foreground has no ratio, and a rule must say what it counts:

    "one"    1 in each score if nothing was predicted either, else 0. Nothing found where there is nothing is right
    "skip"   nothing: it is left out of the mean, whatever was predicted in it

An image with foreground in which none was predicted has 0 in each score, the precision too: leaving it out would reward
a network for finding nothing. Images without a labelled pixel are left out in any case.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

EmptyImages = Literal["one", "skip"]
"""What images without foreground count in the mean over images."""

SCORES = ("Dice", "IoU", "Precision", "Recall")

_UNIT = 1 << 40
"""Sums of scores are kept in this fixed point, so that neither order nor number of processes changes them."""


def image_scores(hit: Tensor, wrong: Tensor, missed: Tensor) -> Tensor:
    """The `SCORES` of one image from TP, FP and FN, integers (...): (4, ...) float64, in which nothing is nan.

    Without foreground (TP + FN = 0): 1 where nothing was predicted either, else 0.
    """
    tp, fp, fn = (counts.to(torch.float64) for counts in (hit, wrong, missed))
    ratios = torch.stack([2 * tp / (2 * tp + fp + fn), tp / (tp + fp + fn), tp / (tp + fp), tp / (tp + fn)])
    nothing = (tp + fp + fn) == 0
    return torch.where(tp > 0, ratios, torch.where(nothing, 1.0, 0.0))


class ForegroundScores:
    """Running sums of the images' scores.

    empty_images: of `EmptyImages`. Raises ValueError for another rule.
    """

    def __init__(self, *, empty_images: EmptyImages = "one") -> None:
        if empty_images not in get_args(EmptyImages):
            raise ValueError(f"empty_images is {' or '.join(get_args(EmptyImages))}, found {empty_images!r}")
        self.empty_images = empty_images
        self.images = 0
        self._sums = torch.zeros(len(SCORES), dtype=torch.int64)

    def add(self, matrix: Tensor) -> None:
        """Count one image by its confusion matrix (2, 2): rows are true classes, columns predicted ones."""
        (_, wrong), (missed, hit) = matrix.cpu()
        if not int(matrix.sum()):
            return
        if self.empty_images == "skip" and not int(hit + missed):
            return
        self.images += 1
        self._sums += in_fixed_point(image_scores(hit, wrong, missed))

    def state(self) -> Tensor:
        """(5,) int64; states of several processes add up."""
        return torch.cat([torch.tensor([self.images], dtype=torch.int64), self._sums])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        counts = state.cpu()
        self.images = int(counts[0])
        self._sums = counts[1:].clone()

    def means(self) -> dict[str, float]:
        """The mean of each score over the images; nan without images."""
        if not self.images:
            return dict.fromkeys(SCORES, math.nan)
        return {name: int(total) / _UNIT / self.images for name, total in zip(SCORES, self._sums, strict=True)}


def in_fixed_point(scores: Tensor) -> Tensor:
    """Scores as whole numbers, int64, whose sums do not depend on their order."""
    return scores.mul(_UNIT).round().to(torch.int64)
