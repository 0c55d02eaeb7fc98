"""Says where every process stands when nothing has moved for a long time."""

from __future__ import annotations

import faulthandler
import sys
import tempfile
import threading
import time
from types import TracebackType


class Watchdog:
    """A thread that prints the stacks of all threads of its process after `seconds` without a sign of life.

    A hang in one of several processes makes the others wait for it, so that each prints where it waits. The training
    is not stopped: what looks like a hang may be a slow disk. Use it as a context; `seconds` of 0 turns it off.

    rank: of this process, for the heading.
    """

    def __init__(self, seconds: float, *, rank: int = 0) -> None:
        self._seconds = seconds
        self._rank = rank
        self._alive = time.monotonic()
        self._doing = "starting"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="intarsia watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._seconds > 0:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def alive(self, doing: str) -> None:
        """A sign of life; `doing` is what follows, for the heading."""
        self._alive, self._doing = time.monotonic(), doing

    def _watch(self) -> None:
        while not self._over.wait(max(0.01, self._alive + self._seconds - time.monotonic())):
            silence = time.monotonic() - self._alive
            if silence < self._seconds:
                continue
            heading = f"No progress for {silence:.0f} s in process {self._rank} while {self._doing}; all its threads:"
            sys.stderr.write(f"\n{heading}\n{_stacks()}\n")  # at once, so that processes do not mix their lines
            sys.stderr.flush()
            self._alive = time.monotonic()


def _stacks() -> str:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        return file.read()
