"""Semantic segmentation by a set of masks: a network of queries with its preprocessing and its objective.

Shape letters: N images, K classes, H, W height and width of the (padded) batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Batch, LossTerm, MaskClassificationModel, MaskPredictions, Size
from intarsia.label_sets import has, set_count
from intarsia.layers.levels import resize
from intarsia.layers.precision import full_precision
from intarsia.losses.each_class import unknown_sets_message
from intarsia.losses.reduction import mean_over
from intarsia.losses.targets import is_on_cpu, refuse_unknown_labels, unknown_labels
from intarsia.tasks.labels import label_problem
from intarsia.tasks.norm_errors import explained_norms
from intarsia.tasks.preprocess import Preprocess


class SetObjective(Protocol):
    """What the queries of all layers are trained on.

    weights: of its losses by name. layers: names of the layers before the last, or None where these are numbered.
    """

    weights: Mapping[str, float]
    layers: Sequence[str] | None

    def __call__(self, layers: Sequence[MaskPredictions], labels: Tensor) -> Sequence[Mapping[str, Tensor]]:
        """The queries after each layer, labels (N, H, W) -> the losses of each layer by name, scalars."""
        ...


@runtime_checkable
class HasConstants(Protocol):
    """A model part of which computes the same in every step."""

    def compute_constants(self) -> None:
        """Compute what is the same in every step, and keep it."""
        ...


class MaskClassification(nn.Module):
    """Children `model` and `preprocess`; the state dict is the model's, under `model.`.

    num_classes: classes that a label can have. ignore_index: what evaluation leaves out. multi_label: a pixel may have
    several classes at once; labels are sets of them (`label_sets`), as model and objective know.
    """

    def __init__(
        self,
        model: MaskClassificationModel,
        *,
        preprocess: Preprocess,
        objective: SetObjective,
        num_classes: int,
        ignore_index: int,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.model = model
        self.preprocess = preprocess
        self.objective = objective  # a child where it is a module: class weights follow the task to its device
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """The terms of the training objective by name: "decode.loss_cls", "decode.loss_mask" and "decode.loss_dice".

        Those of the layers before the last follow as "decode.d0.loss_cls" ... The objective has these names.

        Raises ValueError if the batch has no labels of its images' size, or a norm a single value to average over; on
        the processor also for labels that are no class, which on an accelerator make the losses nan.
        """
        images, labels = self.preprocess.training_inputs(batch)  # (N, C, H, W), (N, H, W)
        if is_on_cpu(labels) and (problem := self.label_problem(batch)):
            raise ValueError(problem)
        with explained_norms(self.model):
            layers = self.model.queries(images)
        # Matching and losses stay out of autocast: in half precision they would cost accuracy, not time.
        with torch.autocast(labels.device.type, enabled=False):
            *before, last = self.objective(layers, labels)
        names = self.objective.layers or [f"d{i}" for i in range(len(before))]
        named = [("decode", last), *((f"decode.{name}", losses) for name, losses in zip(names, before, strict=True))]
        weights = self.objective.weights
        return [
            LossTerm(f"{layer}.{name}", value, weights[name])
            for layer, losses in named
            for name, value in losses.items()
        ]

    def label_problem(self, batch: Batch) -> str:
        """What is wrong with the labels of a batch, by the name of the image, or ""; waits for the device."""
        return label_problem(
            batch,
            self.preprocess,
            num_classes=self.num_classes,
            ignore_index=self.ignore_index,
            multi_label=self.multi_label,
        )

    def logits(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Stored images (N, C, H, W) of unpadded `sizes` -> how much of each class is in each pixel (N, K, H', W').

        With `multi_label` logits, of each class a yes or no.
        """
        with explained_norms(self.model):
            return self.model(self.preprocess(images, sizes, train=False))

    def compile_training(self) -> None:
        """Let torch.compile make what `training_terms` computes of the network faster."""
        if isinstance(self.model, HasConstants):
            self.model.compute_constants()  # so that the graph has them, and not what they are computed by
        self.model.queries = torch.compile(self.model.queries)  # type: ignore[method-assign]

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What `logits` gave (N, K, H', W') and labels (N, H, W) -> minus the mean log of the true class's share.

        The objective of the training is about queries, which evaluation does not keep. A class's share of a pixel is
        its part of what all classes have there. With `multi_label`, the mean over classes and pixels of the cross
        entropy of yes and no. A scalar; 0 without a labelled pixel.

        Raises ValueError, on the processor, for labels that are no class; on an accelerator the loss is nan then.
        """
        amounts = resize(full_precision(logits), labels.shape[-2:])  # (N, K, H, W)
        labels = labels.long()
        if self.multi_label:
            return self._loss_of_sets(amounts, labels)
        unknown = unknown_labels(labels, amounts.shape[1], ignore_index=self.ignore_index)
        if is_on_cpu(labels):
            refuse_unknown_labels(unknown, labels, amounts.shape[1], ignore_index=self.ignore_index)
        labels = labels.masked_fill(unknown, self.ignore_index)
        labelled = labels != self.ignore_index  # (N, H, W)
        own = amounts.gather(1, labels.where(labelled, 0).unsqueeze(1)).squeeze(1)  # (N, H, W)
        least = torch.finfo(torch.float32).tiny
        loss = amounts.sum(dim=1).clamp(min=least).log() - own.clamp(min=least).log()
        return mean_over(loss.where(labelled, 0.0).sum(), labelled.sum()).masked_fill(unknown.any(), math.nan)

    def _loss_of_sets(self, logits: Tensor, labels: Tensor) -> Tensor:
        count = logits.shape[1]
        unknown = unknown_labels(labels, set_count(count), ignore_index=self.ignore_index)
        if is_on_cpu(labels) and unknown.any():
            raise ValueError(unknown_sets_message(labels[unknown], count, ignore_index=self.ignore_index))
        labelled = (labels != self.ignore_index) & ~unknown  # (N, H, W)
        answers = torch.stack([has(labels, k) for k in range(count)], dim=1).to(logits.dtype)  # (N, K, H, W)
        loss = F.binary_cross_entropy_with_logits(logits, answers, reduction="none").mean(dim=1)
        return mean_over(loss.where(labelled, 0.0).sum(), labelled.sum()).masked_fill(unknown.any(), math.nan)
