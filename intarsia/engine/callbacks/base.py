"""Observers: what is told how a training goes, without being part of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intarsia.contracts import Report

if TYPE_CHECKING:
    from intarsia.engine.training.run import Run


class Observer:
    """Is told of everything that happens in a run; override what you care for.

    Only the first of several processes has observers, so that they may write files, and must not communicate between
    processes. What they raise ends the run like any other error. In a config: `custom_hooks = [dict(type=
    "mypackage.module:MyObserver", ...)]`.
    """

    def begin(self, run: Run, step: int) -> None:
        """The run begins, or goes on, after `step` steps."""

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """A line of metrics.jsonl: means of the loss terms, "lr", or the scores of an evaluation as "val/..."."""

    def evaluated(self, run: Run, step: int, report: Report) -> None:
        """An evaluation was made after `step` steps; the network is still the one that was evaluated."""

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint was written."""

    def end(self, step: int, status: Literal["finished", "interrupted", "failed"]) -> None:
        """The run ends after `step` steps. Comes after an error, too."""
