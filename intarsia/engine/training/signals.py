"""Ctrl-C, and the signals of a machine that is about to go away, as a wish to stop at the next good moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

import torch

from intarsia.distributed.runtime import FabricRuntime

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGBREAK") if hasattr(signal, name))
"""SIGUSR1 is what SLURM is usually asked to send before a job's time is over (`#SBATCH --signal=USR1@120`); Windows has
no such signal, but SIGBREAK."""
AGREE_EVERY = 10
"""Steps between two questions to the other processes whether one of them was told to stop."""

REPEATED_WITHIN = 2.0
"""Seconds in which another signal is taken for the same one."""

SAID = b"\nStopping after this step; once more to stop at once, without saving.\n"


class StopRequest:
    """Set by the first signal; a second Ctrl-C interrupts at once, as usual. Use it as a context.

    A launcher passes on a signal that its processes may have received as well, and schedulers repeat themselves: only a
    Ctrl-C that comes a while after the first signal is impatience.
    """

    def __init__(self, runtime: FabricRuntime) -> None:
        self._runtime = runtime
        self._before: dict[signal.Signals, Any] = {}
        self.asked = False
        self._asked_at = 0.0

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python lets nobody else handle signals
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if number == signal.SIGINT and time.monotonic() - self._asked_at > REPEATED_WITHIN:
                raise KeyboardInterrupt
            return
        self.asked, self._asked_at = True, time.monotonic()
        if self._runtime.rank == 0:
            with suppress(OSError):  # print is not for signal handlers: what it would interrupt may be a print
                os.write(2, SAID)

    def agreed(self, step: int) -> bool:
        """Whether the run stops after `step` steps. All processes say the same, within `AGREE_EVERY` steps."""
        if self._runtime.world_size == 1:
            return self.asked
        if step % AGREE_EVERY:
            return False
        return bool(self._runtime.all_reduce_sum(torch.tensor(float(self.asked))) > 0)
