"""Observers: what is told how a training goes, without being part of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from torch import nn

from intarsia.contracts import Report
from intarsia.weights.file import WeightsMeta


class ObservedRun(Protocol):
    """What observers are promised of a run; what they get is the `intarsia.engine.training.run.Run` itself."""

    @property
    def out(self) -> Path:
        """The run's folder."""

    @property
    def steps(self) -> int:
        """Optimizer steps in total."""

    @property
    def batch(self) -> int:
        """Images of an optimizer step."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    @property
    def meta(self) -> WeightsMeta:
        """What the weights file says: config, classes, palette ..."""


class Observer:
    """Is told of everything that happens in a run; override what you care for.

    Only the first of several processes has observers, so that they may write files, and must not communicate between
    processes. What they raise ends the run like any other error. In a config: `custom_hooks = [dict(type=
    "mypackage.module:MyObserver", ...)]`.
    """

    def begin(self, run: ObservedRun, step: int) -> None:
        """The run begins, or goes on, after `step` steps."""

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """A line of metrics.jsonl: means of the loss terms, "lr", or the scores of an evaluation as "val/..."."""

    def evaluated(self, run: ObservedRun, step: int, report: Report) -> None:
        """An evaluation was made after `step` steps; the network is still the one that was evaluated."""

    def improved(self, run: ObservedRun, step: int, metric: str, value: float) -> None:
        """The evaluation after `step` steps is the best so far; its weights are in the weights file."""

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint was written."""

    def end(self, step: int, status: Literal["finished", "interrupted", "failed"]) -> None:
        """The run ends after `step` steps. Comes after an error, too."""
