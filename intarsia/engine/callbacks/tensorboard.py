"""Values of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.engine.callbacks.base import ObservedRun, Observer


class TensorBoard(Observer):
    """Every value as a scalar, for `tensorboard --logdir RUNS`.

    folder: of the event files; None means "tensorboard" in the run's folder.
    Raises ValueError if tensorboard is not installed.
    """

    def __init__(self, *, folder: str | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("logging for TensorBoard needs it: pip install 'intarsia[log]'") from error
        self._make = SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def begin(self, run: ObservedRun, step: int) -> None:
        """Events after `step` that an interrupted run left are hidden by the writer."""
        folder = self._folder or str(run.out / "tensorboard")
        self._writer = self._make(folder, purge_step=step + 1 if step else None)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, step: int, status: str) -> None:
        """Bring everything to the disk."""
        if self._writer is not None:
            self._writer.close()
