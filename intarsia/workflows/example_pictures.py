"""Pictures for people: image, truth, prediction and errors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.contracts import ConfidenceMetric, Metric, NumberedMetric, Report
from intarsia.engine.callbacks.sample_images import paint_one
from intarsia.inference.threshold import predictor_at
from intarsia.metrics.several import count, needs_instances
from intarsia.weights.file import apply_state, load_state, read_meta

if TYPE_CHECKING:
    from intarsia.engine.training.run import Validation

Map = npt.NDArray[Any]


@dataclass
class Worst:
    """A metric that also keeps the `count` images whose share of right pixels is lowest. For one pass.

    kept: (share, number of the image in its data set, label map).
    """

    metric: Metric
    ignore_index: int
    count: int
    kept: list[tuple[float, int, Map]] = field(default_factory=list)
    _seen: int = 0

    @property
    def needs_confidence(self) -> bool:
        """The metric's."""
        return isinstance(self.metric, ConfidenceMetric) and self.metric.needs_confidence

    @property
    def needs_instances(self) -> bool:
        """The metric's."""
        return needs_instances(self.metric)

    def update(
        self,
        prediction: Tensor,
        label: Tensor,
        confidence: Tensor | None = None,
        *,
        instances: Tensor | None = None,
    ) -> None:
        """Count one image, and keep it if it is among the worst."""
        count(self.metric, prediction, label, confidence=confidence, instances=instances)
        valid = label != self.ignore_index
        share = float(_right(prediction, label)[valid].float().mean()) if bool(valid.any()) else 1.0
        self.kept.append((share, self._seen, prediction.cpu().numpy()))
        self.kept = sorted(self.kept, key=lambda entry: entry[:2])[: self.count]
        self._seen += 1

    def number_images(self, first: int, step: int) -> None:
        """The metric's."""
        if isinstance(self.metric, NumberedMetric):
            self.metric.number_images(first, step)

    def join(self, kept: Sequence[Sequence[tuple[float, int, Map]]]) -> None:
        """Keep the worst of what several processes have kept, each of every n-th image from that of its own number."""
        entries = [
            (share, rank + number * len(kept), label)
            for rank, entries in enumerate(kept)
            for share, number, label in entries
        ]
        self.kept = sorted(entries, key=lambda entry: entry[:2])[: self.count]

    def state(self) -> Tensor:
        """The metric's."""
        return self.metric.state()

    def load_state(self, state: Tensor) -> None:
        """The metric's; what was kept stays."""
        self.metric.load_state(state)

    def report(self) -> Report:
        """The metric's."""
        return self.metric.report()


def _right(prediction: Tensor, label: Tensor) -> Tensor:
    """Where a class is the true one, or a depth within a quarter of the true one."""
    if not prediction.is_floating_point():
        return prediction == label
    return torch.maximum(prediction / label, label / prediction) < 1.25


def paint_examples(validation: Validation, weights: Path, folder: Path, most: int) -> int:
    """The first images of the validation data, under the weights of a finished training; how many."""
    meta = read_meta(weights)
    predictor = predictor_at(validation.predictor, meta.threshold, meta.thresholds)
    apply_state(predictor.task.model, load_state(weights))  # type: ignore[arg-type]
    count = min(most, len(validation.pipeline))
    for index in range(count):
        paint_one(predictor, validation.pipeline, index, folder)
    return count
