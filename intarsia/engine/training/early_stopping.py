"""The end of a training whose validation score no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from intarsia.spec import EarlyStopSpec

DEFAULT = "mIoU"
"""What is watched where a run names no metric at all."""


class EarlyStopping:
    """Counts evaluations in a row without a gain of more than `min_delta` over a reference value.

    Only a counted gain moves the reference, so that many small ones add up to one. A score that is not a number is no
    gain. It also ends the training when a value is better than the spec's `threshold`.

    metric, mode: what is watched, where the spec does not say it.
    """

    def __init__(self, spec: EarlyStopSpec, *, metric: str | None, mode: Literal["max", "min"]) -> None:
        self.patience, self.min_delta = spec.patience, spec.min_delta
        self.metric = spec.metric or metric or DEFAULT
        self.mode = spec.mode if spec.metric else mode if metric else "max"
        self.threshold = spec.threshold
        self.reference: float | None = None
        self._reached: float | None = None
        self.evaluations = 0

    def update(self, scores: Mapping[str, float]) -> bool:
        """Count an evaluation, which must give what is watched; whether the training should end."""
        value = scores[self.metric]
        if self._is_gain(value):
            self.reference, self.evaluations = value, 0
        else:
            self.evaluations += 1
        if self.threshold is not None and (value > self.threshold if self.mode == "max" else value < self.threshold):
            self._reached = value
        return self.evaluations >= self.patience or self._reached is not None

    def _is_gain(self, value: float) -> bool:
        if self.reference is None or not math.isfinite(value):
            return math.isfinite(value)
        gain = value - self.reference if self.mode == "max" else self.reference - value
        return gain > self.min_delta

    def __str__(self) -> str:
        """Why the training ends."""
        if self._reached is not None:
            side = "above" if self.mode == "max" else "below"
            return f"{self.metric} is {self._reached:.4g}, {side} {self.threshold:g}"
        return f"{self.metric} has not improved by {self.min_delta:g} in {self.evaluations} evaluations"

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"reference": self.reference, "evaluations": self.evaluations}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.reference, self.evaluations = state["reference"], state["evaluations"]
