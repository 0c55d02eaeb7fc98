"""A command of the user's that is told how a run goes: for mail, chat, or whatever else they look at."""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Literal

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
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
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

    def end(self, step: int, status: Literal["finished", "interrupted", "failed"]) -> None:
        """Tell of the end, and wait until it is told; best evaluations that still wait are left out."""
        known = self._state()
        values: dict[str, Any] = {"status": status, "best": known.get("best")}
        if status == "failed":
            values["error"] = known.get("error")
        self._drop("best")
        self._tell("failure" if status == "failed" else "end", step, values)
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(3 * self.timeout + 1)  # one that runs, the start, and this one
            self._thread = None

    def _drop(self, event: str) -> None:
        """Forget what waits of a kind."""
        kept = []
        with suppress(queue.Empty):
            while True:
                kept.append(self._waiting.get_nowait())
        for entry in kept:
            if entry is None or entry[0] != event:
                self._waiting.put(entry)

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
        self._waiting.put((event, line.encode("utf-8", "replace")))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
            self._thread.start()

    # --- Beside the training ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (entry := self._waiting.get()) is not None:
            try:
                problem = self._call(entry[1])
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                problem = f"cannot be run: {error}"
            if problem and not self._warned:
                self._warned = True
                warn(f"--notify {printable(self.command, _TOLD)}: {problem}; training goes on, and this is said once")

    def _call(self, line: bytes) -> str | None:
        """Run the command; what went wrong, if anything did."""
        with tempfile.TemporaryFile() as said:  # a pipe could be held open by what the command leaves behind
            process = subprocess.Popen(
                self.command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
                start_new_session=True,
            )  # fmt: skip
            try:
                process.communicate(line, timeout=self.timeout)
            except subprocess.TimeoutExpired:
                _end(process)
                return f"has not ended after {self.timeout:g} seconds, and was ended"
            if process.returncode == 0:
                return None
            said.seek(0)
            words = said.read(_TOLD).decode("utf-8", "replace").strip().splitlines()
            return f"failed with exit code {process.returncode}" + (f" ({words[-1]})" if words else "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
