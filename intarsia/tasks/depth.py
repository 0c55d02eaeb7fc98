"""Depth estimation as a task: a network with its preprocessing and the losses of its heads on true depths.

Ground truth stands where labels stand, as real numbers: what moves pixels moves it like them. 0 is a depth that is not
known, as in padding.

Shape letters: N images, C channels, H, W height and width of the (padded) batch, h, w of a head's depths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, LossTerm, SampleMeta, Size
from intarsia.layers.levels import resize
from intarsia.layers.precision import full_precision
from intarsia.models.assembly import unclaimed
from intarsia.models.depth_estimator import DepthEstimator
from intarsia.tasks.norm_errors import explained_norms
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss


class DepthEstimation(nn.Module):
    """Children `model` and `preprocess`; the state dict is the model's, under `model.`.

    losses: one entry per head that is trained; in validation counts that of the decode head.
    num_classes: 0, since depths have none. ignore_index: the depth that is not known.

    Raises ValueError, naming both sides, for losses of an output that the model does not have, for an output that has
    none, and for a loss that is compared with something else than depths.
    """

    def __init__(
        self,
        model: DepthEstimator,
        *,
        preprocess: Preprocess,
        losses: Sequence[HeadLoss],
        num_classes: int = 0,
        ignore_index: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess
        self.losses = tuple(losses)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        for problem in unclaimed(model.output_names, [head.head for head in losses]):
            raise ValueError(f"{type(model).__name__}: {problem}. Every head has its losses, under its name")
        for head in losses:
            if head.sampler is not None or any(term.loss is None or term.target is not None for term in head.terms):
                raise ValueError(f"{head.head}: depths have no sampler of pixels, no accuracy and no other targets")
        self.criteria = nn.ModuleList(
            term.loss for head in losses for term in head.terms if isinstance(term.loss, nn.Module)
        )

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """The terms of the training objective by name, "decode.loss_silog" ..., for each head in turn.

        Raises ValueError if the batch has no true depths of its images' size, or a norm a single value to average over.
        """
        images, depths = self.preprocess.training_inputs(batch)  # (N, C, H, W), (N, H, W)
        if problem := self.label_problem(batch):
            raise ValueError(problem)
        with explained_norms(self.model):
            outputs = self.model.training_outputs(images, *self.conditions(batch.metas))
        terms = []
        with torch.autocast(depths.device.type, enabled=False):
            for head in self.losses:
                found = outputs[head.head]
                assert isinstance(found, Tensor)
                terms += self._terms(head, found, depths)
        return terms

    @staticmethod
    def _terms(head: HeadLoss, found: Tensor, depths: Tensor) -> list[LossTerm]:
        """Depths (N, 1, h, w) of a head, and true ones (N, H, W)."""
        enlarged = resize(full_precision(found), depths.shape[-2:], align_corners=head.align_corners)
        return [
            LossTerm(f"{head.head}.{term.name}", term.loss(enlarged, depths), term.weight)
            for term in head.terms
            if term.loss is not None
        ]

    def label_problem(self, batch: Batch) -> str:
        """What is wrong with the ground truth of a batch, or "": class indices are no depths."""
        labels = batch.labels
        if isinstance(labels, Tensor) and not labels.is_floating_point():
            return (
                f"depths are real numbers, but the ground truth of this data set is {labels.dtype}: labels of classes. "
                "Take a data set of depths, such as NYUDataset with LoadDepthAnnotation"
            )
        return ""

    def conditions(self, metas: Sequence[SampleMeta]) -> tuple[Tensor, ...]:
        """What the network reads of images besides their pixels: the kind of scene (N,), where it wants to know it."""
        if not self.model.reads_class_ids:
            return ()
        categories = torch.tensor([meta.category for meta in metas])
        return (categories.to(self.preprocess.mean.device, non_blocking=True),)

    def logits(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Stored images (N, C, H, W) of unpadded `sizes`, scenes unknown -> the decode head's depths (N, 1, h, w)."""
        with explained_norms(self.model):
            depths: Tensor = self.model(self.preprocess(images, sizes, train=False))
        return depths

    def compile_training(self) -> None:
        """Let torch.compile make what `training_terms` computes of the network faster."""
        self.model.training_outputs = torch.compile(self.model.training_outputs)  # type: ignore[method-assign]

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted losses of the decode head on its depths (N, 1, h, w) and true ones (N, H, W), summed."""
        head = next((head for head in self.losses if head.head == "decode"), self.losses[0])
        terms = self._terms(head, logits, labels)
        return sum((term.value * term.weight for term in terms), start=logits.new_zeros((), dtype=torch.float32))
