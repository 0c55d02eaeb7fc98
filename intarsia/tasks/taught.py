"""A task that learns from a teacher besides its labels: from what it says of the same images, or of unlabelled ones.

Mean teacher (Tarvainen & Valpola 2017, arXiv:1703.01780): the teacher is the running average of the student. FixMatch
and UniMatch (arXiv:2001.07685, arXiv:2208.09910): the class that it is sure of, in a weakly changed view, is the label
of the student's strongly changed one. Hinton et al. 2015 (arXiv:1503.02531): a teacher that was trained before tells
with its probabilities what labels do not.

Shape letters: N images with labels, M without, K classes, H, W height and width of the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, HeadOutput, LossTerm, Model, Size, Task, Views
from intarsia.layers.levels import resize
from intarsia.layers.precision import full_precision
from intarsia.losses.from_teacher import channel_divergence, pixel_divergence, pseudo_label_loss, pseudo_labels
from intarsia.losses.reduction import mean_over
from intarsia.tasks.confidence import FixedConfidence, OwnConfidence
from intarsia.tasks.mask_classification import MaskClassification
from intarsia.tasks.norm_errors import explained_norms
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import SemanticSegmentation


@dataclass(frozen=True)
class PseudoLabels:
    """How unlabelled images are learned from.

    confidence: probability from which the teacher's class counts; "adaptive": see `OwnConfidence`. weight: of the loss.
    """

    confidence: float | Literal["adaptive"] = 0.95
    weight: float = 1.0


@dataclass(frozen=True)
class Distillation:
    """How a teacher's answers on the labelled images are learned from; see `spec.TeacherSpec`."""

    weight: float = 1.0
    loss: Literal["pixels", "channels"] = "pixels"
    temperature: float = 1.0


_DIVERGENCES = {"pixels": pixel_divergence, "channels": channel_divergence}


class Taught(nn.Module):
    """A task with further terms in its objective. For everyone else it is that task: its children are this one's.

    teacher: says what is learned, and is not trained; it is no child, so that no state of this task holds its weights.
        None: the average of the student's weights, which `follow` brings.
    order: for each class of the student its index among those of the teacher, where they are not the same.
    distillation: of the labelled images, by a teacher that is given. pseudo_labels: of the unlabelled ones.

    Where a pixel may have several classes (of the task and of its teacher), each class is a question of its own, with
    the sigmoid as the probability of yes: the losses are means over the classes, and the teacher may be sure of some.
    """

    model: Model
    preprocess: Preprocess

    def __init__(
        self,
        task: SemanticSegmentation,
        *,
        teacher: Task | None = None,
        order: Sequence[int] | None = None,
        distillation: Distillation | None = None,
        pseudo_labels: PseudoLabels | None = None,
    ) -> None:
        super().__init__()
        if teacher is None and distillation is not None:
            raise ValueError("distillation needs a teacher: the student's own average says what the student says")
        for name, child in task.named_children():
            self.add_module(name, child)
        self.num_classes = task.num_classes
        self.ignore_index = task.ignore_index
        self.distillation = distillation
        self.pseudo_labels = pseudo_labels
        self.multi_label = task.multi_label
        self.confidence = _confidence(pseudo_labels, task)
        self.follows_average = teacher is None
        self._order = None if order is None else torch.tensor(order)
        # In a tuple, nn.Module does not see them.
        self._task = (task,)
        self._teacher = (_frozen(copy.deepcopy(task) if teacher is None else teacher),)

    @property
    def teacher(self) -> Task:
        """What the student learns from."""
        return cast(Task, self._teacher[0])

    def follow(self, show: Callable[[nn.Module], None]) -> None:
        """From now on the teacher is the average. show: gives a copy of the network the averages as its tensors."""
        teacher = _frozen(copy.deepcopy(self._task[0]))
        show(teacher.get_submodule("model"))
        self._teacher = (teacher,)

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """The terms of the task, then those of the teacher.

        "teacher.loss": how the student's answers on the labelled images differ from the teacher's. "unlabelled.loss":
        of the pseudo labels, times the amount of the step; "unlabelled.confident": the share of pixels that have one.

        Raises ValueError as the task does.
        """
        terms, outputs = self._task[0].terms_and_outputs(batch)
        if self.distillation is not None:
            terms.append(self._distilled(self.distillation, batch, outputs))
        if self.pseudo_labels is not None and batch.unlabelled is not None:
            terms += self._pseudo_labelled(self.pseudo_labels, batch.unlabelled)
        return terms

    def end_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """A step was done. total: the sum of a tensor over all processes."""
        self.confidence.end_step(total)

    def _distilled(self, how: Distillation, batch: Batch, outputs: Mapping[str, HeadOutput]) -> LossTerm:
        wanted = self._asked(batch.images, batch.sizes)  # (N, K, H, W)
        found = outputs.get(self._task[0].final_head.head)
        if not isinstance(found, Tensor):  # of points, say
            found = self._answer(batch.images, batch.sizes)
        with torch.autocast(batch.images.device.type, enabled=False):
            scores, inside = self._scores(found, _size(batch.images)), _inside(batch.images, batch.sizes)
            wanted = wanted.to(scores.dtype)
            if self.multi_label and how.loss == "pixels":  # shares of places are of each class by itself anyhow
                inside = inside.repeat_interleave(scores.shape[1], 0)
                scores, wanted = yes_and_no(scores), yes_and_no(wanted)
            value = _DIVERGENCES[how.loss](scores, wanted, inside, temperature=how.temperature)
        return LossTerm("teacher.loss", value, how.weight)

    def _pseudo_labelled(self, how: PseudoLabels, views: Views) -> list[LossTerm]:
        asked = self._asked(views.weak, views.sizes)
        count = asked.shape[1] if self.multi_label else 1  # K questions about a pixel, or one
        labels, probability = pseudo_labels(yes_and_no(asked) if self.multi_label else asked)
        mixed, valid = (of_image.repeat_interleave(count, 0) for of_image in (views.mixed, views.valid))
        confident = self.confidence.sure(probability, labels, valid)
        labels, confident, valid = (
            torch.where(mixed, of_image.roll(-count, 0), of_image) for of_image in (labels, confident, valid)
        )  # (M, H, W), or (M K, H, W)
        with statistics_kept(self.model):
            logits = self._answer(views.strong, views.sizes)
        with torch.autocast(views.strong.device.type, enabled=False):
            scores = self._scores(logits, _size(views.strong))
            scores = yes_and_no(scores) if self.multi_label else scores
            loss = pseudo_label_loss(scores, labels, confident, valid)
        share = mean_over((confident & valid).sum().float(), valid.sum())
        return [
            LossTerm("unlabelled.loss", loss * views.amount, how.weight),
            LossTerm("unlabelled.confident", share, 0.0),
        ]

    @torch.no_grad()
    def _asked(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """The teacher's scores (N, K, H, W) of images (N, C, H, W)."""
        teacher = self._teacher[0]
        preprocess = cast(Preprocess, teacher.preprocess)
        if preprocess.mean.device != images.device:
            teacher.to(images.device)
        if self._order is not None and self._order.device != images.device:
            self._order = self._order.to(images.device)
        logits = self.teacher.logits(images, sizes)
        with torch.autocast(images.device.type, enabled=False):
            if isinstance(teacher, MaskClassification) and not teacher.multi_label:  # amounts: their shares count
                logits = full_precision(logits).clamp(min=torch.finfo(torch.float32).tiny).log()
            aligned = isinstance(teacher, SemanticSegmentation) and teacher.final_head.align_corners
            size = _size(images)
            scores = class_scores(logits, preprocess.padded_size(size, train=False), size, align_corners=aligned)
        return scores if self._order is None else scores.index_select(1, self._order)

    def _answer(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """The student's logits (N, K, h, w) of images (N, C, H, W)."""
        task = self._task[0]
        with explained_norms(task.model):
            return task.model(task.preprocess(images, sizes, train=True))

    def _scores(self, logits: Tensor, size: Size) -> Tensor:
        task = self._task[0]
        padded = task.preprocess.padded_size(size, train=True)
        return class_scores(logits, padded, size, align_corners=task.final_head.align_corners)

    # --- What the task does, it does ---

    def train(self, mode: bool = True) -> Taught:
        """Of the student alone: the teacher always evaluates."""
        super().train(mode)
        self._task[0].train(mode)
        return self

    def label_problem(self, batch: Batch) -> str:
        """As the task."""
        return self._task[0].label_problem(batch)

    def logits(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """As the task: the student's."""
        return self._task[0].logits(images, sizes)

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As the task."""
        return self._task[0].validation_loss(logits, labels)

    def compile_training(self) -> None:
        """As the task; the pass over unlabelled images is not compiled."""
        self._task[0].compile_training()


def class_scores(logits: Tensor, padded: Size, size: Size, *, align_corners: bool) -> Tensor:
    """Logits (N, K, h, w) of a padded input -> scores (N, K, H, W) of its images, in float32.

    One logit, of the class 1, becomes two scores, 0 and itself: the softmax of both is its sigmoid.
    """
    scores = resize(full_precision(logits), padded, align_corners=align_corners)[..., : size[0], : size[1]]
    return torch.cat([torch.zeros_like(scores), scores], dim=1) if scores.shape[1] == 1 else scores


def yes_and_no(scores: Tensor) -> Tensor:
    """Logits (N, K, H, W) of classes that exclude nothing -> scores (N K, 2, H, W) of no and yes to each of them.

    The softmax of both is the sigmoid.
    """
    return torch.stack([torch.zeros_like(scores), scores], dim=2).flatten(0, 1)


@contextmanager
def statistics_kept(network: object) -> Iterator[None]:
    """Inside, norms in training average over their batch, as always, but leave their running statistics as they are.

    These are what evaluation, and the teacher, divide by: they are to be those of images as evaluation sees them.
    """
    modules = network.modules() if isinstance(network, nn.Module) else ()
    norms = [module for module in modules if isinstance(module, _NORMS) and module.training]
    tracking = [norm for norm in norms if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def _confidence(how: PseudoLabels | None, task: SemanticSegmentation) -> FixedConfidence | OwnConfidence:
    """What says which pseudo labels count, of a task whose pixels have one class, or several."""
    least = 1.0 if how is None else how.confidence
    if not isinstance(least, str):
        return FixedConfidence(least)
    return OwnConfidence(task.num_classes, 2) if task.multi_label else OwnConfidence(1, max(task.num_classes, 2))


def _frozen(teacher: Task | nn.Module) -> nn.Module:
    return cast(nn.Module, teacher).eval().requires_grad_(False)


def _size(images: Tensor) -> Size:
    return images.shape[-2], images.shape[-1]


def _inside(images: Tensor, sizes: Sequence[Size]) -> Tensor:
    """(N, H, W), true in each image's unpadded part."""
    inside = torch.zeros((len(images), *_size(images)), dtype=torch.bool, device=images.device)
    for mask, (height, width) in zip(inside, sizes, strict=True):
        mask[:height, :width] = True
    return inside
