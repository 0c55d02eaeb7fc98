"""A command of the user's that is told how a run goes: for mail, chat, or whatever else they look at."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Literal

from intarsia.contracts import Report
from intarsia.engine.callbacks.base import ObservedRun, Observer
from intarsia.terminal import printable, warn

TIMEOUT = 30.0
"""Seconds that the command may take."""

_TOLD = 300


class Notify(Observer):
    """Runs a command by the shell with a line of JSON on its standard input: at the start, at each evaluation that is
    the best so far, at the end, and when the run fails.

    It runs beside the training, one after the other, in a session of its own. One that fails, or takes longer than
    `timeout` seconds and is ended, is a single warning; the training takes no notice. Only its end waits, for the last
    of them.

    Every line has "event" (start, best, end, failure), "run" (the folder), "step", "steps" and "time"; best has
    "metric" and "value"; end and failure have "status", and "best" as run.json has it; failure has "error".
    """

    def __init__(self, command: str, *, timeout: float = TIMEOUT) -> None:
        if not command.strip():
            raise ValueError("--notify needs a command, such as 'python tell_me.py'")
        self.command, self.timeout = command, timeout
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._running: _Command | None = None
        self._run: ObservedRun | None = None
        self._warned = False

    # --- What happens -------------------------------------------------------------------------------------------------

    def begin(self, run: ObservedRun, step: int) -> None:
        """Tell of the start; `step` is not 0 where a run goes on."""
        self._run = run
        self._tell("start", step, {})

    def improved(self, run: ObservedRun, step: int, metric: str, value: float) -> None:
        """Tell of an evaluation that is the best so far."""
        self._tell("best", step, {"metric": metric, "value": value})

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Look after the commands."""
        self._go_on()

    def evaluated(self, run: ObservedRun, step: int, report: Report) -> None:
        """Look after the commands."""
        self._go_on()

    def saved(self, step: int, path: Path) -> None:
        """Look after the commands."""
        self._go_on()

    def end(self, step: int, status: Literal["finished", "interrupted", "failed"]) -> None:
        """Tell of the end, and wait until it is told; best evaluations that still wait are left out."""
        known = self._state()
        values: dict[str, Any] = {"status": status, "best": known.get("best")}
        if status == "failed":
            values["error"] = known.get("error")
        self._waiting = deque(entry for entry in self._waiting if entry[0] != "best")
        self._tell("failure" if status == "failed" else "end", step, values)
        while self._running is not None:  # one that runs, the start, and this one
            self._running.wait()
            self._go_on()

    def _state(self) -> Mapping[str, Any]:
        """What run.json says; nothing where it cannot be read."""
        if self._run is None:
            return {}
        with suppress(OSError, ValueError):
            found = json.loads((self._run.out / "run.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    def _tell(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        place = {} if self._run is None else {"run": str(self._run.out.resolve()), "steps": self._run.steps}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        content = {"event": event, **place, "step": step, "time": now, **values}
        plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in content.items()}
        line = json.dumps(plain, ensure_ascii=False, default=str) + "\n"
        self._waiting.append((event, line.encode("utf-8", "replace")))
        self._go_on()

    # --- Beside the training ------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Start the next command if none is running any more; never waits."""
        while self._running is None or self._running.is_over():
            if self._running is not None:
                self._complain(self._running.problem())
                self._running = None
            if not self._waiting:
                return
            try:
                self._running = _Command(self.command, self._waiting.popleft()[1], self.timeout)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                self._complain(f"cannot be run: {error}")

    def _complain(self, problem: str | None) -> None:
        if problem and not self._warned:
            self._warned = True
            warn(f"--notify {printable(self.command, _TOLD)}: {problem}; training goes on, and this is said once")


class _Command:
    """A command that is running, started by the thread that starts the data workers too, and without pipes.

    A worker that is forked while another thread starts a command inherits that thread's ends of the pipes: the command
    never sees the end of its input, and the thread waits for as long as the worker lives. Pipes could be held open by
    what the command leaves behind, too.
    """

    def __init__(self, command: str, line: bytes, timeout: float) -> None:
        self._timeout = timeout
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed by `problem`
        self._ended_here = False
        try:
            with tempfile.TemporaryFile() as given:
                given.write(line)
                given.seek(0)
                self._process = subprocess.Popen(
                    command, shell=True, stdin=given, stdout=subprocess.DEVNULL, stderr=self._said,
                    start_new_session=True,
                )  # fmt: skip
        except BaseException:
            self._said.close()
            raise
        self._last = time.monotonic() + timeout

    def is_over(self) -> bool:
        """Whether it has ended; one that has taken too long is ended."""
        if self._process.poll() is None and time.monotonic() > self._last:
            self._ended_here = True
            self._end()
        return self._ended_here or self._process.returncode is not None

    def wait(self) -> None:
        """Until it has ended or has had its time."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, self._last - time.monotonic()) + 0.001)

    def problem(self) -> str | None:
        """What went wrong, if anything did."""
        with self._said as said:
            if self._ended_here:
                return f"has not ended after {self._timeout:g} seconds, and was ended"
            if self._process.returncode == 0:
                return None
            said.seek(0)
            words = said.read(_TOLD).decode("utf-8", "replace").strip().splitlines()
            return f"failed with exit code {self._process.returncode}" + (f" ({words[-1]})" if words else "")

    def _end(self) -> None:
        """End it and what it has started."""
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
