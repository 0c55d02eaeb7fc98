"""The objective of mask classifiers: every true mask is given to one query, all other queries should say "no object".

MaskFormer, arXiv:2107.06278, section 3.2, compares masks at every pixel, by focal loss. Mask2Former, arXiv:2112.01527,
section 3.3, compares them at some thousand points, by cross entropy. Both add the Dice loss of each mask.

Deviation: the random points at which predicted and true masks are matched are drawn once for each image and serve all
layers; the original draws for each layer anew. Each layer's points are distributed as before, so that neither loss nor
gradient changes on average.

Shape letters: L layers, N images, Q queries, K classes, M pairs of a true mask and its query, T true masks of an image,
P points, H, W height and width of labels, h, w of predicted masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions
from intarsia.label_sets import set_count
from intarsia.layers.distributed import mean_over_processes
from intarsia.layers.levels import resize
from intarsia.layers.points import sample_at, uncertain_points
from intarsia.layers.precision import full_precision, without_autocast
from intarsia.losses.class_weights import as_buffer, in_precision_of
from intarsia.losses.dice import naive_dice_cost
from intarsia.losses.each_class import unknown_sets_message
from intarsia.losses.focal import focal_cost
from intarsia.losses.matching import (
    TargetMasks,
    at_size,
    class_costs,
    dice_costs,
    hungarian_match,
    mask_costs,
    masks_from_labels,
    masks_from_sets,
)
from intarsia.losses.reduction import mean_over
from intarsia.losses.targets import refuse_unknown_labels, unknown_labels

NO_OBJECT_WEIGHT = 0.1
"""Weight of queries that should find no object: most of them, which would drown out the others (DETR, section 3.1)."""


class SetCriterion(nn.Module):
    """The predictions of every layer and labels (N, H, W) -> of each layer its losses of class, mask and Dice.

    Every layer is matched by itself. What a pair costs there is what its losses are, except that the class costs minus
    its probability; the factors are of their own.

        of classes   cross entropy over K + 1 classes of all queries, divided by the weights of their classes
        of masks     of each pair, the mean over its places; summed, divided by the number of pairs
        of Dice      the same of 1 - (2 sum(p t) + eps) / (sum(p) + sum(t) + eps)

    The number of pairs is its mean over all processes, at least 1. A batch without a labelled pixel has no pairs: its
    mask losses are 0, and its queries learn to say "no object".

    Args:
        num_classes: K.
        class_weight: K + 1 weights, the last for "no object"; by default 1, and 0.1 there.
        loss_weights, match_weights: factors of class, mask and Dice in the objective and in the matching.
        mask_loss: at each place of a mask, "cross_entropy" or "focal" with `focal_alpha` and `focal_gamma`.
        dice_eps: keeps empty masks from dividing by 0.
        num_points: places where masks are compared; None takes all pixels: of the prediction for the matching, of the
            labels for the losses. Points of the matching are random, the same for all masks of an image.
        oversample_ratio, importance_ratio: how points of the losses are drawn, see `uncertain_points`.
        ignore_index: label of pixels that are in no mask.
        names: of the three losses.
        layers: names of the layers before the last; "d0", "d1" ... unless given.
        multi_label: labels are sets of classes (`label_sets`); each class that an image shows is one true mask still,
            and true masks may cover each other.

    Raises ValueError for another number of class weights, or a focal loss at points: it needs answers of yes and no,
    and between pixels a truth is in between.
    """

    class_weight: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_weight: Sequence[float] | None = None,
        loss_weights: tuple[float, float, float] = (2.0, 5.0, 5.0),
        match_weights: tuple[float, float, float] = (2.0, 5.0, 5.0),
        mask_loss: Literal["cross_entropy", "focal"] = "cross_entropy",
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        dice_eps: float = 1.0,
        num_points: int | None = 12544,
        oversample_ratio: float = 3.0,
        importance_ratio: float = 0.75,
        ignore_index: int = 255,
        names: tuple[str, str, str] = ("loss_cls", "loss_mask", "loss_dice"),
        layers: tuple[str, ...] | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        weights = (*[1.0] * num_classes, NO_OBJECT_WEIGHT) if class_weight is None else tuple(class_weight)
        if len(weights) != num_classes + 1:
            raise ValueError(
                f"class_weight needs {num_classes + 1} entries, one for each of {num_classes} classes and one for "
                f'"no object"; got {len(weights)}'
            )
        if mask_loss == "focal" and num_points is not None:
            raise ValueError("the focal loss compares whole masks: set num_points to None, or mask_loss to another")
        self.num_classes = num_classes
        self.names = names
        self.layers = layers
        self.weights = dict(zip(names, loss_weights, strict=True))
        self.match_weights = match_weights
        self.mask_loss = mask_loss
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.dice_eps = dice_eps
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio
        self.ignore_index = ignore_index
        self.multi_label = multi_label
        self._class_weight = weights
        self.register_buffer("class_weight", as_buffer(weights), persistent=False)

    def forward(self, layers: Sequence[MaskPredictions], labels: Tensor) -> list[dict[str, Tensor]]:
        """The queries after each layer and labels (N, H, W) of class indices -> the losses of each layer, scalars.

        Raises ValueError for labels that are no class; the matching waits for the device anyway.
        """
        with without_autocast(labels):
            return self._losses(layers, labels)

    def _losses(self, layers: Sequence[MaskPredictions], labels: Tensor) -> list[dict[str, Tensor]]:
        layers = [
            MaskPredictions(full_precision(layer.class_logits), full_precision(layer.mask_logits)) for layer in layers
        ]
        truth = [self._truth(image) for image in labels]
        pairs = self._match(layers, truth)  # for each image (L, 2, min(Q, T))
        own = layers[0].mask_logits.new_tensor(sum(image.shape[2] for image in pairs))
        count = mean_over_processes(own).clamp(min=1)
        losses = []
        for i, layer in enumerate(layers):
            chosen = [image[i] for image in pairs]  # for each image (2, min(Q, T))
            mask, dice = self._mask_losses(layer.mask_logits, truth, chosen)
            found_classes = self._class_loss(layer.class_logits, truth, chosen)
            values = (found_classes, mask.sum() / count, dice.sum() / count)
            losses.append(dict(zip(self.names, values, strict=True)))
        return losses

    def _truth(self, labels: Tensor) -> TargetMasks:
        """The true masks of labels (H, W). Raises ValueError for labels that are no class, or no set of classes."""
        if self.multi_label:
            unknown = unknown_labels(labels, set_count(self.num_classes), ignore_index=self.ignore_index)
            if unknown.any():
                raise ValueError(
                    unknown_sets_message(labels[unknown], self.num_classes, ignore_index=self.ignore_index)
                )
            return masks_from_sets(labels, self.num_classes, ignore_index=self.ignore_index)
        truth = masks_from_labels(labels, ignore_index=self.ignore_index)
        unknown = unknown_labels(truth.classes, self.num_classes, ignore_index=self.ignore_index)
        refuse_unknown_labels(unknown, truth.classes, self.num_classes, ignore_index=self.ignore_index)
        return truth

    @torch.no_grad()
    def _match(self, layers: Sequence[MaskPredictions], truth: Sequence[TargetMasks]) -> list[Tensor]:
        """For each image and layer, queries and the true masks that they take: (L, 2, min(Q, T))."""
        for_class, for_mask, for_dice = self.match_weights
        costs = []
        for n, image in enumerate(truth):
            classes = torch.stack([layer.class_logits[n] for layer in layers])  # (L, Q, K + 1)
            masks = torch.stack([layer.mask_logits[n] for layer in layers])  # (L, Q, h, w)
            if self.num_points is None:
                predicted, wanted = masks.flatten(2), at_size(image.masks, masks.shape[2:]).flatten(1)
            else:
                points = torch.rand(1, self.num_points, 2, device=masks.device)  # (1, P, 2)
                predicted = sample_at(masks.flatten(0, 1).unsqueeze(0), points).view(*masks.shape[:2], -1)
                wanted = sample_at(image.masks.unsqueeze(0).float(), points).squeeze(0)
            wanted = wanted.to(predicted.dtype)  # (T, places)
            costs.append(
                for_class * class_costs(classes, image.classes)
                + for_mask * mask_costs(*self._both_costs(predicted), wanted)
                + for_dice * dice_costs(predicted, wanted, eps=self.dice_eps)
            )  # (L, Q, T)
        return hungarian_match(costs)

    def _class_loss(self, logits: Tensor, truth: Sequence[TargetMasks], pairs: Sequence[Tensor]) -> Tensor:
        """Logits (N, Q, K + 1): the class of its mask for a query that has one, "no object" for the others."""
        target = torch.full(logits.shape[:2], self.num_classes, device=logits.device)  # (N, Q)
        for row, image, (queries, masks) in zip(target, truth, pairs, strict=True):
            row[queries] = image.classes[masks]
        weight = in_precision_of(logits, self.class_weight, self._class_weight)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight=weight, reduction="sum")
        return mean_over(loss, weight[target].sum())

    def _mask_losses(
        self, logits: Tensor, truth: Sequence[TargetMasks], pairs: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, Q, h, w) -> the mask loss and the Dice loss of each pair, (M,) and (M,)."""
        masks = torch.cat([image[queries] for image, (queries, _) in zip(logits, pairs, strict=True)])  # (M, h, w)
        if not len(masks):
            nothing = masks.sum(dim=(1, 2))  # (0,), which keeps the masks in the graph
            return nothing, nothing
        wanted = torch.cat([image.masks[chosen] for image, (_, chosen) in zip(truth, pairs, strict=True)])  # (M, H, W)
        if self.num_points is None:
            predicted = resize(masks.unsqueeze(1), wanted.shape[1:]).flatten(1)  # (M, H * W)
            answers = wanted.flatten(1).to(predicted.dtype)
        else:
            points = self._points(masks)  # (M, P, 2)
            predicted = sample_at(masks.unsqueeze(1), points).squeeze(1)  # (M, P)
            answers = sample_at(wanted.unsqueeze(1).float(), points).squeeze(1).to(predicted.dtype)
        inside = predicted.sigmoid()
        dice = naive_dice_cost(
            (inside * answers).sum(dim=1), inside.sum(dim=1), answers.sum(dim=1), eps=self.dice_eps
        )  # (M,)
        return self._cost(predicted, answers).mean(dim=1), dice

    def _points(self, masks: Tensor) -> Tensor:
        """Masks (M, h, w) -> points (M, P, 2) of each, mostly near the edges that are predicted."""
        assert self.num_points is not None
        return uncertain_points(
            masks.detach().unsqueeze(1),
            lambda logits: -logits.squeeze(1).abs(),
            self.num_points,
            self.oversample_ratio,
            self.importance_ratio,
        )

    def _both_costs(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits -> what each place costs if it belongs to the mask, and if not."""
        if self.mask_loss == "focal":
            return self._cost(logits, torch.ones_like(logits)), self._cost(logits, torch.zeros_like(logits))
        if_inside = -F.logsigmoid(logits)
        return if_inside, if_inside + logits  # of a cross entropy, half the work

    def _cost(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Logits and answers in 0..1 of one shape -> what each place costs."""
        if self.mask_loss == "focal":
            alpha = logits.new_tensor(self.focal_alpha)
            return focal_cost(logits, answers > 0.5, gamma=self.focal_gamma, alpha=alpha)
        return F.binary_cross_entropy_with_logits(logits, answers, reduction="none")
