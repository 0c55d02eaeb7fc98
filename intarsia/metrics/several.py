"""Several metrics that count the same predictions, in one pass, as one metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from intarsia.contracts import (
    ClassScore,
    ConfidenceMetric,
    ForegroundMetric,
    InstanceMetric,
    Metric,
    NumberedMetric,
    ProbabilityMetric,
    Report,
)


def count(
    metric: Metric,
    prediction: Tensor,
    label: Tensor,
    *,
    confidence: Tensor | None = None,
    foreground: Tensor | None = None,
    probabilities: Tensor | None = None,
    instances: Tensor | None = None,
) -> None:
    """Have a metric count one image, with what it wants to know besides the label maps."""
    besides: dict[str, Tensor] = {}
    if confidence is not None and isinstance(metric, ConfidenceMetric) and metric.needs_confidence:
        besides["confidence"] = confidence
    if foreground is not None and isinstance(metric, ForegroundMetric) and metric.needs_foreground:
        besides["foreground"] = foreground
    if probabilities is not None and isinstance(metric, ProbabilityMetric) and metric.needs_probabilities:
        besides["probabilities"] = probabilities
    if instances is not None and needs_instances(metric):
        besides["instances"] = instances
    metric.update(prediction, label, **besides)


def needs_instances(metric: Metric) -> bool:
    """Whether a metric wants to be told which object each pixel belongs to."""
    return isinstance(metric, InstanceMetric) and metric.needs_instances


class Evaluator:
    """Several metrics as one: each counts what it counts alone, and the report has the scores of all.

    prefixes: put before the names of a metric's scores, with "/" between them; one for each, None for none.

    Of names that a metric only repeats (its `also_called`) those are left out that another metric has. A column of the
    table of classes that several have is the first's.

    Raises ValueError without metrics, and for as many prefixes as there are no metrics.
    """

    def __init__(self, metrics: Sequence[Metric], *, prefixes: Sequence[str | None] | None = None) -> None:
        if not metrics:
            raise ValueError("an Evaluator needs at least one metric")
        if prefixes is not None and len(prefixes) != len(metrics):
            raise ValueError(f"an Evaluator of {len(metrics)} metrics has {len(prefixes)} prefixes")
        self.metrics = tuple(metrics)
        self.prefixes = (None,) * len(metrics) if prefixes is None else tuple(prefixes)

    @property
    def needs_confidence(self) -> bool:
        """Whether one of them does."""
        return any(isinstance(metric, ConfidenceMetric) and metric.needs_confidence for metric in self.metrics)

    @property
    def needs_foreground(self) -> bool:
        """Whether one of them does."""
        return any(isinstance(metric, ForegroundMetric) and metric.needs_foreground for metric in self.metrics)

    @property
    def needs_probabilities(self) -> bool:
        """Whether one of them does."""
        return any(isinstance(metric, ProbabilityMetric) and metric.needs_probabilities for metric in self.metrics)

    @property
    def needs_instances(self) -> bool:
        """Whether one of them does."""
        return any(map(needs_instances, self.metrics))

    def number_images(self, first: int, step: int) -> None:
        """For those that it concerns."""
        for metric in self.metrics:
            if isinstance(metric, NumberedMetric):
                metric.number_images(first, step)

    def update(
        self,
        prediction: Tensor,
        label: Tensor,
        confidence: Tensor | None = None,
        *,
        foreground: Tensor | None = None,
        probabilities: Tensor | None = None,
        instances: Tensor | None = None,
    ) -> None:
        """Have each count one image; arguments as those of the metrics."""
        for metric in self.metrics:
            count(
                metric, prediction, label, confidence=confidence, foreground=foreground, probabilities=probabilities,
                instances=instances,
            )  # fmt: skip

    def state(self) -> Tensor:
        """The counts of all one after the other, float64 on the processor, exact up to 9e15."""
        return torch.cat([metric.state().detach().flatten().cpu().double() for metric in self.metrics])

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave."""
        own = [metric.state() for metric in self.metrics]
        for metric, now, part in zip(self.metrics, own, state.cpu().split([s.numel() for s in own]), strict=True):
            metric.load_state(part.view(now.shape).to(now.device, now.dtype))

    def report(self) -> Report:
        """The scores of all. Raises ValueError where two metrics give scores of one name."""
        reports = [metric.report() for metric in self.metrics]
        return replace(
            reports[0],
            summary=self._summary(reports),
            classes=self._classes(reports),
            absent=next((report.absent for report in reports if report.classes), ()),
        )

    def _summary(self, reports: Sequence[Report]) -> dict[str, float]:
        given = [
            (metric, {self._named(prefix, name): value for name, value in report.summary.items()})
            for metric, prefix, report in zip(self.metrics, self.prefixes, reports, strict=True)
        ]
        times = Counter(name for _, scores in given for name in scores)
        owner: dict[str, Metric] = {}
        summary: dict[str, float] = {}
        for metric, scores in given:
            repeated: Sequence[str] = getattr(metric, "also_called", ())
            for name, value in scores.items():
                if times[name] > 1 and name in repeated:
                    continue
                if name in owner:
                    raise ValueError(
                        f"{type(owner[name]).__name__} and {type(metric).__name__} both give a score called {name!r}; "
                        "give one of them a prefix"
                    )
                owner[name], summary[name] = metric, value
        return summary

    def _classes(self, reports: Sequence[Report]) -> tuple[ClassScore, ...]:
        values: dict[str, dict[str, float]] = {}
        pixels: dict[str, int] = {}
        for prefix, report in zip(self.prefixes, reports, strict=True):
            for entry in report.classes:
                row = values.setdefault(entry.name, {})
                pixels.setdefault(entry.name, entry.pixels)
                for name, value in entry.values.items():
                    row.setdefault(self._named(prefix, name), value)
        columns = dict.fromkeys(column for row in values.values() for column in row)
        return tuple(ClassScore(name, _complete(row, columns), pixels[name]) for name, row in values.items())

    @staticmethod
    def _named(prefix: str | None, name: str) -> str:
        return f"{prefix}/{name}" if prefix else name


def _complete(row: Mapping[str, float], columns: Mapping[str, None]) -> dict[str, float]:
    return {column: row.get(column, float("nan")) for column in columns}
