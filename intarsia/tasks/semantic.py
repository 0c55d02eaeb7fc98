"""Semantic segmentation as a task: a network with its preprocessing and the losses of its heads.

Shape letters: N images, K classes, H, W height and width of the (padded) batch, h, w of a head's logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, Loss, LossTerm, Model, PointLogits, Size
from intarsia.layers.levels import resize
from intarsia.layers.precision import full_precision
from intarsia.losses.reduction import mean_over
from intarsia.losses.targets import is_on_cpu
from intarsia.models.assembly import claims, unclaimed
from intarsia.tasks.labels import label_problem
from intarsia.tasks.norm_errors import explained_norms
from intarsia.tasks.preprocess import Preprocess


class PixelSampler(Protocol):
    """Chooses the pixels that a head learns from."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) -> the weight of each pixel (N, H, W): 1 for the chosen, 0 for others.

        What a loss divides by stays what it is without the weights.
        """
        ...


class PixelwiseLoss(Protocol):
    """A loss that is a sum over pixels, so that each of them can have a weight."""

    def __call__(self, logits: Tensor, target: Tensor, *, weight: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W), weight (N, H, W) -> scalar."""
        ...


@dataclass(frozen=True)
class HeadLoss:
    """What one head is trained on.

    head: key of `Model.training_outputs`.
    losses: (name in the log, loss, weight) each.
    align_corners: how this head's logits are resized to the labels.
    sampler: chooses pixels for the losses; the logged accuracy always sees all of them.

    Raises ValueError for a sampler beside a loss that does not take a weight for each pixel.
    """

    head: str
    losses: Sequence[tuple[str, Loss, float]]
    ignore_index: int
    align_corners: bool
    sampler: PixelSampler | None = None

    def __post_init__(self) -> None:
        for name, loss, _ in self.losses if self.sampler is not None else ():
            function = loss.forward if isinstance(loss, nn.Module) else loss
            if "weight" not in inspect.signature(function).parameters:
                raise ValueError(
                    f"the head {self.head} has a sampler of pixels, but its loss {name} ({type(loss).__name__}) is not "
                    f"a sum over pixels and takes no weights for them; leave one of the two out"
                )


class SemanticSegmentation(nn.Module):
    """Children `model` and `preprocess`; the state dict is the model's, under `model.`.

    losses: one entry per head that is trained. In validation counts the loss of the last decode head, whose logits are
        the model's; without one, that of the first head.
    num_classes: classes that a label can have. ignore_index: what evaluation leaves out.

    Raises ValueError, naming both sides, for losses of an output that the model does not have, and for an output that
    has no losses.
    """

    def __init__(
        self,
        model: Model,
        *,
        preprocess: Preprocess,
        losses: Sequence[HeadLoss],
        num_classes: int,
        ignore_index: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess
        self.losses = tuple(losses)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        outputs = getattr(model, "output_names", None)  # those of a model of one's own show in the first step
        if outputs is not None:
            self._check_claims(outputs)
        # Losses with tensors of their own (class weights) follow the task to its device.
        self.criteria = nn.ModuleList(
            loss for head in self.losses for _, loss, _ in head.losses if isinstance(loss, nn.Module)
        )

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """The terms of the training objective by name, for each head in turn.

        "decode.loss_ce" and whatever else the head is trained on, then "decode.acc_seg", its pixel accuracy in percent,
        with weight 0. A head with stages has these for each, "decode.loss_ce.s0" ...; one that is trained at some
        points only calls them "pointloss_ce" and "acc_point".

        Raises ValueError if the batch has no labels of its images' size, or a norm a single value to average over; on
        the processor also for labels that are no class, which on an accelerator make the losses nan.
        """
        images, labels = self.preprocess.training_inputs(batch)  # (N, C, H, W), (N, H, W)
        if is_on_cpu(labels) and (problem := self.label_problem(batch)):
            raise ValueError(problem)
        with explained_norms(self.model):
            outputs = self.model.training_outputs(images)
        self._check_claims(tuple(outputs))
        return [
            term
            for head in self.losses
            for name, output in outputs.items()
            if claims(head.head, name)
            for term in self._terms(head, output, labels, stage=name.removeprefix(head.head))
        ]

    def _check_claims(self, outputs: Sequence[str]) -> None:
        for problem in unclaimed(outputs, [head.head for head in self.losses]):
            raise ValueError(f"{type(self.model).__name__}: {problem}. Every head has its losses, under its name")

    def label_problem(self, batch: Batch) -> str:
        """What is wrong with the labels of a batch, by the name of the image, or ""; waits for the device."""
        return label_problem(batch, self.preprocess, num_classes=self.num_classes, ignore_index=self.ignore_index)

    def logits(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Stored images (N, C, H, W) of unpadded `sizes` -> the decode head's logits (N, K, h, w)."""
        with explained_norms(self.model):
            return self.model(self.preprocess(images, sizes, train=False))

    def compile_training(self) -> None:
        """Let torch.compile make what `training_terms` computes of the network faster."""
        self.model.training_outputs = torch.compile(self.model.training_outputs)  # type: ignore[method-assign]

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted losses of the final head, summed, on logits (N, K, h, w) and labels (N, H, W); a scalar."""
        decode = [head for head in self.losses if head.head.startswith("decode")]
        terms = self._terms(decode[-1] if decode else self.losses[0], logits, labels.long())
        return sum((term.value * term.weight for term in terms), start=logits.new_zeros((), dtype=torch.float32))

    @staticmethod
    def _terms(head: HeadLoss, output: Tensor | PointLogits, labels: Tensor, stage: str = "") -> list[LossTerm]:
        # Interpolation and losses stay out of autocast: in half precision they would cost accuracy, not time.
        with torch.autocast(labels.device.type, enabled=False):
            if isinstance(output, PointLogits):
                logits = full_precision(output.logits).unsqueeze(3)  # (N, K, P, 1)
                labels = labels_at(output.points, labels).unsqueeze(2)  # (N, P, 1)
                prefix, accuracy_name = "point", "acc_point"
            else:
                size = labels.shape[-2:]
                logits = resize(full_precision(output), size, align_corners=head.align_corners)  # (N, K, H, W)
                prefix, accuracy_name = "", "acc_seg"
            terms = []
            chosen = None if head.sampler is None else head.sampler(logits, labels)  # (N, H, W)
            for name, loss, weight in head.losses:
                if chosen is None:
                    value = loss(logits, labels)
                else:
                    value = cast("PixelwiseLoss", loss)(logits, labels, weight=chosen)
                terms.append(LossTerm(f"{head.head}.{prefix}{name}{stage}", value, weight))
            accuracy = pixel_accuracy(logits.detach(), labels, ignore_index=head.ignore_index)
        return [*terms, LossTerm(f"{head.head}.{accuracy_name}{stage}", accuracy, 0.0)]


def labels_at(points: Tensor, labels: Tensor) -> Tensor:
    """Points (N, P, 2), as (x, y) in 0..1, and labels (N, H, W) -> the labels (N, P) of the pixels that they lie in."""
    height, width = labels.shape[1:]
    x = (points[..., 0] * width).long().clamp(0, width - 1)  # (N, P)
    y = (points[..., 1] * height).long().clamp(0, height - 1)
    return labels.flatten(1).gather(1, y * width + x)


def pixel_accuracy(logits: Tensor, labels: Tensor, *, ignore_index: int) -> Tensor:
    """Percentage of pixels of labels (N, H, W) whose class has the largest of the logits (N, K, H, W), as float32.

    A single logit says class 1 where it is positive. Ignored pixels do not count; without any other, the answer is 0.
    """
    # max() finds the first of the largest like argmax(), and is several times faster on a processor.
    predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.max(dim=1).indices  # (N, H, W)
    labelled = labels != ignore_index
    correct = ((predicted == labels) & labelled).sum().float()
    return 100.0 * mean_over(correct, labelled.sum())
