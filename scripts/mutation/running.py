"""Runs tests on a copy of the project with one fault in it, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import io
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Literal

from mutation.operators import Mutant
from mutation.selection import Group, groups_for

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = (
    "torch", "torch.nn.functional", "torch.utils.data", "torch.export", "torch._dynamo", "lightning_fabric", "numpy",
    "cv2", "PIL.Image", "scipy.optimize", "yaml", "rich.console", "typer", "hypothesis", "pytest",
)  # fmt: skip
"""Imported once, by the process that all others are forked from; nothing of our own."""
LEAST_SECONDS = 60.0
SLACK = 5.0
"""How many times as long as without the fault the tests may take, in seconds of the processor."""

Outcome = Literal["killed", "timeout", "survived", "no tests", "stopped"]


@dataclass(frozen=True)
class Result:
    """What became of a mutant, after how many seconds; `first` is the test that failed, if one did.

    "stopped": pytest itself ended, which says nothing about the fault.
    """

    mutant: Mutant | None
    outcome: Outcome
    seconds: float
    first: str = ""


def copied(to: Path) -> Path:
    """A copy of the working tree: what git tracks, and what it would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
    return to


class Runner:
    """Copies of the project, one for each process, and the processes that test them."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(processes):
            self.copies.put(copied(folder / f"copy{number}"))
        self.processes = processes
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self.context = multiprocessing.get_context(method)
        if method == "forkserver":
            self.context.set_forkserver_preload(list(PRELOADED))
        self.limits: dict[str, float] = {}

    def without_fault(self, paths: Sequence[str]) -> Iterator[tuple[str, Result]]:
        """The tests of each file on the copy as it is, which sets the limits of time; they must pass."""
        known: dict[Group, Result] = {}
        for path in paths:
            groups = groups_for(path)
            for group in groups:
                if group not in known:
                    known[group] = self._tested(None, [group], 3600.0)
            seconds = sum(known[group].seconds for group in groups)
            self.limits[path] = max(LEAST_SECONDS, SLACK * seconds)
            failed = [known[group] for group in groups if known[group].outcome != "survived"]
            yield path, failed[0] if failed else Result(None, "survived", seconds)

    def with_faults(self, mutants: Sequence[Mutant]) -> Iterator[Result]:
        """Every mutant's result, as they come."""
        waiting: SimpleQueue[Mutant | None] = SimpleQueue()
        results: SimpleQueue[Result] = SimpleQueue()
        for item in (*mutants, *(None for _ in range(self.processes))):
            waiting.put(item)

        def work() -> None:
            while (mutant := waiting.get()) is not None:
                results.put(self._tested(mutant, groups_for(mutant.path), self.limits[mutant.path]))

        for _ in range(self.processes):
            Thread(target=work, daemon=True).start()
        for _ in mutants:
            yield results.get()

    def _tested(self, mutant: Mutant | None, groups: Sequence[Group], limit: float) -> Result:
        copy = self.copies.get()
        try:
            with _fault(copy, mutant):
                return self._run(copy, mutant, groups, limit)
        finally:
            self.copies.put(copy)

    def _run(self, copy: Path, mutant: Mutant | None, groups: Sequence[Group], limit: float) -> Result:
        receiver, sender = self.context.Pipe(duplex=False)
        arguments = (str(copy), [group.arguments() for group in groups], limit, mutant is None, sender)
        process = self.context.Process(target=run_tests, args=arguments)  # type: ignore[attr-defined]
        start = time.monotonic()
        process.start()
        sender.close()
        answer = None
        # On a busy machine a second of the processor takes several.
        if receiver.poll(10 * limit):
            with contextlib.suppress(EOFError):
                answer = receiver.recv()
        if answer is None:
            process.kill()
        process.join()
        if answer is None:
            return Result(mutant, "timeout", time.monotonic() - start)
        outcome, seconds, first = answer
        return Result(mutant, outcome, seconds, first)


@contextlib.contextmanager
def _fault(copy: Path, mutant: Mutant | None) -> Iterator[None]:
    """The copy has the fault within."""
    if mutant is None:
        yield
        return
    file = copy / mutant.path
    source = file.read_text(encoding="utf-8")
    for cached in file.parent.glob(f"__pycache__/{file.stem}.*.pyc"):
        cached.unlink()  # it could pass for that of the changed file, which may have the same size and second
    file.write_text(mutant.applied(source), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(source, encoding="utf-8")


def run_tests(copy: str, groups: list[list[str]], limit: float, keep_bytecode: bool, answer: Connection) -> None:
    """In a process of its own: the groups until one fails; sends outcome, seconds and the first failure."""
    os.setsid() if hasattr(os, "setsid") else None
    os.chdir(copy)
    sys.path[:0] = [copy]
    os.environ["PYTHONPATH"] = copy
    sys.dont_write_bytecode = not keep_bytecode
    _limit_processor(limit)
    output = io.StringIO()
    import pytest
    import torch

    torch.set_num_threads(1)
    outcome: Outcome = "survived"
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        for group in groups:
            code = pytest.main([*group, "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0"])
            if code == pytest.ExitCode.NO_TESTS_COLLECTED:
                outcome = "no tests"
                break
            if code != pytest.ExitCode.OK:
                outcome = "stopped" if code == pytest.ExitCode.INTERNAL_ERROR else "killed"
                break
    lines = [line for line in output.getvalue().splitlines() if line.startswith(("FAILED", "ERROR", "E  ", "Exit"))]
    first = next((line for line in lines if line.startswith("FAILED")), lines[0] if lines else "")
    if outcome == "no tests":
        first = " ".join(group)
    answer.send((outcome, time.process_time(), first.removeprefix("FAILED ")))
    answer.close()
    os._exit(0)


def _limit_processor(seconds: float) -> None:
    """An endless loop ends; where the system has no such limit, the clock on the wall must do."""
    with contextlib.suppress(ImportError):
        resource = importlib.import_module("resource")
        used = int(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (used, used + 5))
