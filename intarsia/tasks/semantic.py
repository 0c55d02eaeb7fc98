"""Semantic segmentation as a task: a network with its preprocessing and the losses of its heads.

Shape letters: N images, K classes, H, W height and width of the (padded) batch, h, w of a head's logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from intarsia.contracts import (
    Batch,
    HeadOutput,
    ImageLogits,
    Loss,
    LossTerm,
    Model,
    PointLogits,
    Size,
    Target,
    TargetInput,
)
from intarsia.layers.precision import full_precision
from intarsia.losses.accuracy import accuracy_of_resized, pixel_accuracy
from intarsia.losses.resized_logits import LossOfResized, ResizedLogits, takes_resized
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


class SamplerOfResized(Protocol):
    """A sampler that takes logits which nobody has enlarged."""

    def of_resized(self, logits: ResizedLogits, target: Tensor) -> Tensor:
        """What the sampler gives for `logits.whole`."""
        ...


class PixelwiseLoss(Protocol):
    """A loss that is a sum over pixels, so that each of them can have a weight."""

    def __call__(self, logits: Tensor, target: Tensor, *, weight: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W), weight (N, H, W) -> scalar."""
        ...


@dataclass(frozen=True)
class HeadTerm:
    """One thing that a head is trained on, or logged of it.

    name: in the log, behind that of the head. loss: None for the pixel accuracy, whose weight is 0.
    output: the stage of the head that it is for, "" being the head's logits themselves; None for each stage, whose
        name then follows that of the term.
    target: what the output is compared with, if not the labels.

    Raises ValueError for an accuracy with a weight.
    """

    name: str
    loss: Loss | None
    weight: float = 1.0
    output: str | None = None
    target: Target | None = None

    def __post_init__(self) -> None:
        if self.loss is None and self.weight:
            raise ValueError(f"the term {self.name} is an accuracy, which has no gradient; its weight must be 0")


@dataclass(frozen=True)
class HeadLoss:
    """What one head is trained on.

    head: key of `Model.training_outputs`. terms: in the order of the log.
    align_corners: how this head's logits are resized to the labels.
    sampler: chooses pixels for the losses; the logged accuracy always sees all of them.
    accuracy: whether the pixel accuracy of each stage is logged behind its losses.

    Raises ValueError for a sampler beside a loss that does not take a weight for each pixel, or that is compared with
    something else than the labels.
    """

    head: str
    terms: Sequence[HeadTerm]
    ignore_index: int
    align_corners: bool
    sampler: PixelSampler | None = None
    accuracy: bool = True

    def __post_init__(self) -> None:
        for term in self.terms if self.sampler is not None else ():
            loss = term.loss
            function = loss.forward if isinstance(loss, nn.Module) else loss
            if function is not None and "weight" not in inspect.signature(function).parameters:
                raise ValueError(
                    f"the head {self.head} has a sampler of pixels, but its loss {term.name} ({type(loss).__name__}) "
                    f"is not a sum over pixels and takes no weights for them; leave one of the two out"
                )
            if term.target is not None:
                raise ValueError(
                    f"the head {self.head} has a sampler of pixels, which looks at the labels, but its loss "
                    f"{term.name} is compared with {type(term.target).__name__}; leave the sampler out"
                )

    def of_stage(self, stage: str) -> list[HeadTerm]:
        """The terms of one output of the head, by the names that they have there."""
        return [
            term if term.output is not None or not stage else replace(term, name=f"{term.name}.{stage}")
            for term in self.terms
            if term.output in (None, stage)
        ]

    @property
    def stages(self) -> list[str] | None:
        """The outputs of the head that its terms are for; None where they are for all that there are."""
        named = [term.output for term in self.terms]
        return None if not named or None in named else list(dict.fromkeys(cast("list[str]", named)))


class SemanticSegmentation(nn.Module):
    """Children `model` and `preprocess`; the state dict is the model's, under `model.`.

    losses: one entry per head that is trained. In validation counts the loss of the last decode head, whose logits are
        the model's; without one, that of the first head.
    num_classes: classes that a label can have. ignore_index: what evaluation leaves out.
    multi_label: a pixel may have several classes at once; labels are sets of them (`label_sets`), as the losses know.

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
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess
        self.losses = tuple(losses)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.multi_label = multi_label
        outputs = getattr(model, "output_names", None)  # those of a model of one's own show in the first step
        if outputs is not None:
            self._check_claims(outputs)
        # Losses with tensors of their own (class weights) follow the task to its device.
        parts = [part for head in self.losses for term in head.terms for part in (term.loss, term.target)]
        self.criteria = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """The terms of the training objective by name, for each head in turn.

        "decode.loss_ce" and whatever else the head is trained on, then "decode.acc_seg", its pixel accuracy in percent,
        with weight 0. A head with stages has these for each, "decode.loss_ce.s0" ..., or names of its own for some of
        them; one that is trained at some points only calls them "pointloss_ce" and "acc_point".

        Raises ValueError if the batch has no labels of its images' size, or a norm a single value to average over; on
        the processor also for labels that are no class, which on an accelerator make the losses nan.
        """
        return self.terms_and_outputs(batch)[0]

    def terms_and_outputs(self, batch: Batch) -> tuple[list[LossTerm], Mapping[str, HeadOutput]]:
        """What `training_terms` gives, and the outputs of the network that the terms were computed of."""
        images, labels = self.preprocess.training_inputs(batch)  # (N, C, H, W), (N, H, W)
        if is_on_cpu(labels) and (problem := self.label_problem(batch)):
            raise ValueError(problem)
        with explained_norms(self.model):
            outputs = self.model.training_outputs(images)
        self._check_claims(tuple(outputs))
        maps = self.preprocess.training_maps(batch)
        terms = []
        for head in self.losses:
            stages = {
                name.removeprefix(head.head).removeprefix("."): output
                for name, output in outputs.items()
                if claims(head.head, name)
            }
            self._check_stages(head, [name for name, output in stages.items() if not isinstance(output, TargetInput)])
            terms += _terms(head, stages, labels, maps)
        return terms, outputs

    def _check_claims(self, outputs: Sequence[str]) -> None:
        for problem in unclaimed(outputs, [head.head for head in self.losses]):
            raise ValueError(f"{type(self.model).__name__}: {problem}. Every head has its losses, under its name")

    def _check_stages(self, head: HeadLoss, found: Collection[str]) -> None:
        expected = head.stages
        if expected is not None and set(expected) != set(found):
            wanted, given = (", ".join(repr(name) for name in names) for names in (expected, found))
            raise ValueError(
                f"{type(self.model).__name__}: the terms of {head.head!r} are for its outputs {wanted}, but it gives "
                f"{given}. Every output has its terms"
            )

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
        """Stored images (N, C, H, W) of unpadded `sizes` -> the decode head's logits (N, K, h, w)."""
        with explained_norms(self.model):
            return self.model(self.preprocess(images, sizes, train=False))

    @property
    def final_head(self) -> HeadLoss:
        """The last decode head, whose logits are the model's; without one, the first head."""
        decode = [head for head in self.losses if head.head.startswith("decode")]
        return decode[-1] if decode else self.losses[0]

    def compile_training(self) -> None:
        """Let torch.compile make what `training_terms` computes of the network faster."""
        self.model.training_outputs = torch.compile(self.model.training_outputs)  # type: ignore[method-assign]

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted losses of the final head that compare its logits (N, K, h, w) with labels (N, H, W), summed."""
        head = self.final_head
        plain = [term for term in head.of_stage("") if term.target is None and term.weight]
        terms = _terms(replace(head, terms=plain, accuracy=False), {"": logits}, labels.long(), {})
        return sum((term.value * term.weight for term in terms), start=logits.new_zeros((), dtype=torch.float32))


# --- The terms of a head ------------------------------------------------------------------------------------------


def _terms(
    head: HeadLoss, stages: Mapping[str, HeadOutput], labels: Tensor, maps: Mapping[str, Tensor]
) -> list[LossTerm]:
    """The terms of all outputs of a head on labels (N, H, W)."""
    # Interpolation and losses stay out of autocast: in half precision they would cost accuracy, not time.
    with torch.autocast(labels.device.type, enabled=False):
        compared = {
            stage: _compared(output, labels, head)
            for stage, output in stages.items()
            if not isinstance(output, TargetInput)
        }
        known = _Known(stages, {stage: found for stage, (found, _) in compared.items()})
        terms = []
        for stage, (found, wanted) in compared.items():
            at_points = isinstance(stages[stage], PointLogits)
            every = head.of_stage(stage)
            if not _in_pieces(found, head, every):
                found = _whole(found)
            if head.accuracy:
                accuracy = HeadTerm("acc_point" if at_points else "acc_seg", None, 0.0, target=_first_target(every))
                every += HeadLoss("", [accuracy], head.ignore_index, False).of_stage(stage)
            targets = _targets(every, found, wanted, known, maps)
            chosen = _chosen(head.sampler, found, wanted)  # (N, H, W)
            for term, target in zip(every, targets, strict=True):
                prefix = "point" if at_points and term.loss is not None else ""
                value = _value(term, found, target, chosen, head.ignore_index)
                terms.append(LossTerm(f"{head.head}.{prefix}{term.name}", value, term.weight))
    return _in_order(head, terms)


class _Known(Mapping[str, Tensor]):
    """What targets may look at: the logits of each stage, enlarged when one is looked at, and each `TargetInput`."""

    def __init__(self, stages: Mapping[str, HeadOutput], compared: Mapping[str, Tensor | ResizedLogits]) -> None:
        self._stages, self._compared = stages, compared

    def __getitem__(self, stage: str) -> Tensor:
        output = self._stages[stage]
        return output.value if isinstance(output, TargetInput) else _whole(self._compared[stage])

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)


def _in_pieces(found: Tensor | ResizedLogits, head: HeadLoss, terms: Sequence[HeadTerm]) -> bool:
    """Whether nothing that a stage is trained on needs its enlarged logits."""
    return (
        isinstance(found, ResizedLogits)
        and found.worthwhile
        and all(takes_resized(part) for part in (head.sampler, *(term.loss for term in terms)) if part is not None)
        and not any(getattr(term.target, "reads_logits", True) for term in terms if term.target is not None)
    )


def _whole(found: Tensor | ResizedLogits) -> Tensor:
    return found.whole if isinstance(found, ResizedLogits) else found


def _targets(
    terms: Sequence[HeadTerm],
    found: Tensor | ResizedLogits,
    labels: Tensor,
    known: Mapping[str, Tensor],
    maps: Mapping[str, Tensor],
) -> list[Tensor]:
    """What each term is compared with, each made once. Tells logits that are not enlarged whose accuracy is wanted."""
    shown = found.low if isinstance(found, ResizedLogits) else found
    different = {id(term.target): term.target for term in terms if term.target is not None}
    made = {key: target(labels, shown, known, maps) for key, target in different.items()}
    targets = [made.get(id(term.target), labels) for term in terms]
    if isinstance(found, ResizedLogits):
        found.labels = next((t for term, t in zip(terms, targets, strict=True) if term.loss is None), None)
    return targets


def _chosen(sampler: PixelSampler | None, found: Tensor | ResizedLogits, wanted: Tensor) -> Tensor | None:
    if sampler is None:
        return None
    if isinstance(found, ResizedLogits):
        return cast(SamplerOfResized, sampler).of_resized(found, wanted)
    return sampler(found, wanted)


def _value(
    term: HeadTerm, found: Tensor | ResizedLogits, target: Tensor, chosen: Tensor | None, ignore_index: int
) -> Tensor:
    if isinstance(found, ResizedLogits):
        if term.loss is None:
            return accuracy_of_resized(found, target, ignore_index=ignore_index)
        loss = cast(LossOfResized, term.loss)
        return loss.of_resized(found, target) if chosen is None else loss.of_resized(found, target, weight=chosen)
    if term.loss is None:
        return pixel_accuracy(found.detach(), target, ignore_index=ignore_index)
    if chosen is None:
        return term.loss(found, target)
    return cast("PixelwiseLoss", term.loss)(found, target, weight=chosen)


def _first_target(terms: Sequence[HeadTerm]) -> Target | None:
    """What a stage learns, which its accuracy is measured by."""
    return terms[0].target if terms else None


def _in_order(head: HeadLoss, terms: list[LossTerm]) -> list[LossTerm]:
    """Terms that name their outputs stand in the order in which the head lists them; others as they came."""
    if head.stages is None:
        return terms
    places = {f"{head.head}.{term.name}": place for place, term in enumerate(head.terms)}
    return sorted(terms, key=lambda term: places.get(term.name, len(places)))


def _compared(
    output: Tensor | PointLogits | ImageLogits, labels: Tensor, head: HeadLoss
) -> tuple[Tensor | ResizedLogits, Tensor]:
    """Logits and labels of one size: (N, K, H, W) and (N, H, W); those of a map are not enlarged yet.

    Points are an image of one column, (N, K, P, 1). The classes of an image are one of a single logit in one row,
    (N, 1, 1, K), since each is a yes or no of its own; they leave the labels as they are.
    """
    if isinstance(output, PointLogits):
        return full_precision(output.logits).unsqueeze(3), labels_at(output.points, labels).unsqueeze(2)
    if isinstance(output, ImageLogits):
        return full_precision(output.logits)[:, None, None], labels
    height, width = labels.shape[-2:]
    return ResizedLogits(full_precision(output), (height, width), head.align_corners), labels


def labels_at(points: Tensor, labels: Tensor) -> Tensor:
    """Points (N, P, 2), as (x, y) in 0..1, and labels (N, H, W) -> the labels (N, P) of the pixels that they lie in."""
    height, width = labels.shape[1:]
    x = (points[..., 0] * width).long().clamp(0, width - 1)  # (N, P)
    y = (points[..., 1] * height).long().clamp(0, height - 1)
    return labels.flatten(1).gather(1, y * width + x)
