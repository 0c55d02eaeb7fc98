"""How long the stages of loading take: reading, each transform, collating. Measured where it happens, in the workers.

It costs two looks at a clock for each stage of a sample, and says what to change where a training waits for its data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from intarsia.contracts import LoadTimes

READING, COLLATING = "reading files", "collating"


class StageTimes:
    """Seconds by stage since they were last taken, in one process. Those of a stage inside another are the inner's."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._seconds: dict[str, float] = {}
        self._samples = self._bytes = 0
        self._inner = 0.0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """The block is of this stage."""
        outer, self._inner = self._inner, 0.0
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self._seconds[stage] = self._seconds.get(stage, 0.0) + took - self._inner
            self._inner = outer + took

    def count(self, size: int) -> None:
        """A sample of so many bytes was read."""
        self._samples += 1
        self._bytes += size

    def take(self) -> LoadTimes:
        """What was measured since the last time."""
        taken = LoadTimes(self._seconds, self._samples, self._bytes)
        self._clear()
        return taken
