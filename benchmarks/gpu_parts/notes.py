"""What a check writes down: comparisons that hold or do not, and figures. Everything is told at once, so that what was
found before a crash or the end of the time is not lost.
"""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpu_parts.checks import EVENT


def tell(kind: str, **values: Any) -> None:
    """A line for the supervisor."""
    print(f"\n{EVENT}{json.dumps({'event': kind, **values})}", file=sys.__stdout__, flush=True)


@dataclass
class Notes:
    """The notes of one check. small: sizes are toys. folder: for files, the same for all checks."""

    device: torch.device
    small: bool
    folder: Path
    failures: int = field(default=0, init=False)

    @property
    def on_gpu(self) -> bool:
        """Whether there is a device to wait for."""
        return self.device.type == "cuda"

    def holds(self, what: str, error: float, tolerance: float) -> None:
        """A comparison: an error that is not a number, or above the tolerance, is a failure."""
        held = bool(error <= tolerance)
        self.failures += not held
        number = error if math.isfinite(error) else str(error)
        tell("comparison", what=what, error=number, tolerance=tolerance, holds=held)

    def is_true(self, what: str, value: bool) -> None:
        """A comparison without a number."""
        self.holds(what, 0.0 if value else math.inf, 0.0)

    def figure(self, **values: Any) -> None:
        """A row of figures."""
        tell("figure", values=values)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """A part of a check that may fail by itself: the others go on."""
        try:
            yield
        except Exception as error:
            if "CUDA error" in str(error):
                raise  # of which no process recovers
            self.failures += 1
            tell("broken", what=what, error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()
