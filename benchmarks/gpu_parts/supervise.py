"""Who watches the process that does the checks: ends what takes too long, goes on after a crash, keeps the results."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_parts.checks import EVENT, Check

TO_START = 90
"""Seconds until a new process has begun its first check."""
SAID = 40
"""Lines of what a process said that are kept for the one that crashed."""


class Supervisor:
    """Runs checks in a process of `command` each time one is needed, and writes results.json into `out` after each.

    until: no check begins after this time (of time.monotonic()), and none goes on. patience: how many times as long as
    it says a check may take.
    """

    def __init__(self, command: Sequence[str], out: Path, *, until: float, patience: float = 1) -> None:
        self._command, self._out, self._until, self._patience = list(command), out, until, patience
        self._began = time.monotonic()
        self._results: dict[str, Any] = {"machine": {}, "checks": []}

    def run(self, checks: Sequence[Check]) -> dict[str, Any]:
        """The results: what machine it was, and for each check what became of it."""
        waiting = deque(checks)
        while waiting and time.monotonic() < self._until and "nothing" not in self._results:
            before = len(waiting)
            self._one_process(waiting)
            if len(waiting) == before:  # it ended before it began with anything
                self._finish(waiting.popleft(), "crashed")
        for check in waiting:
            self._finish(check, "not reached")
        return self._results

    def _one_process(self, waiting: deque[Check]) -> None:
        """Takes the checks that it comes to out of `waiting`."""
        names = [check.name for check in waiting]
        process = subprocess.Popen(
            [*self._command, "--work", *names], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        said: deque[str] = deque(maxlen=SAID)
        self._current: dict[str, Any] | None = None
        deadline = min(time.monotonic() + self._patience * TO_START, self._until)
        how = "crashed"
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                how = "out of time"
                break
            if line is None:
                break
            if line.startswith(EVENT):
                deadline = self._heard(json.loads(line[1:]), waiting) or deadline
            elif line.strip():
                said.append(line.rstrip())
        _end(process, patience=10 if how == "crashed" else 0)
        if self._current is not None:
            self._current["said"] = list(said)
            self._finish(waiting.popleft(), how, exit_code=process.returncode)
        elif process.returncode not in (0, 2, 3):
            self._results.setdefault("said", []).extend(said)

    def _heard(self, event: dict[str, Any], waiting: deque[Check]) -> float | None:
        """Note an event; a new deadline, if it sets one."""
        kind = event.pop("event")
        if kind == "machine":
            self._results["machine"] = event
        elif kind == "nothing":
            self._results["nothing"] = event["reason"]
            waiting.clear()
        elif kind == "begun":
            self._current = {"began": time.monotonic(), "comparisons": [], "figures": [], "broken": []}
            print(f"{waiting[0].name} ...", flush=True)
            return min(time.monotonic() + self._patience * waiting[0].seconds, self._until)
        elif kind == "done":
            self._finish(waiting.popleft(), "failed" if event["failures"] else "passed")
            return time.monotonic() + self._patience * TO_START
        elif self._current is not None:
            place = {"comparison": "comparisons", "figure": "figures", "broken": "broken"}[kind]
            self._current[place].append(event.get("values", event))
        return None

    def _finish(self, check: Check, how: str, **more: Any) -> None:
        found = self._current or {"began": time.monotonic(), "comparisons": [], "figures": [], "broken": []}
        self._current = None
        seconds = round(time.monotonic() - found.pop("began"), 1)
        entry = {"name": check.name, "kind": check.kind, "about": check.about, "result": how, "seconds": seconds}
        self._results["checks"].append({**entry, **found, **more})
        self._results["seconds"] = round(time.monotonic() - self._began, 1)
        aside = self._out / "results.json.new"
        aside.write_text(json.dumps(self._results, indent=1), encoding="utf-8")
        os.replace(aside, self._out / "results.json")
        print(f"{check.name}: {how}, {seconds} s", flush=True)


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[str], *, patience: float) -> None:
    """With what it has started, after so many seconds."""
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
