"""Libraries that do the same work pass by pass in turn: for machines whose speed changes within minutes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from peer_parts.environments import interpreter
from peer_parts.measuring import MARK, TURNS
from peer_parts.report import seconds
from peer_parts.running import HERE, environment
from peer_parts.works import OURS, TITLES, Work


class Passing(Protocol):
    """Somebody who is ready for the next pass."""

    def seconds(self) -> float:
        """Do one pass; the processor's seconds of it. Raises RuntimeError if that fails."""

    def close(self) -> None:
        """No further pass is wanted."""


Start = Callable[[str, Mapping[str, Any], Mapping[str, str]], Passing]
"""Who is ready to do a job, with further variables of the environment. Raises RuntimeError if that fails."""


class Worker:
    """A process in the environment of its library, whose first pass is done."""

    def __init__(
        self, who: str, job: Mapping[str, Any], variables: Mapping[str, str], *, place: Path, log: TextIO
    ) -> None:
        command = [str(interpreter(who, place)), "-m", f"peer_parts.worker_{who}", json.dumps(job)]
        self._process = subprocess.Popen(
            command, cwd=HERE, env=environment(who) | dict(variables) | {TURNS: "1"}, text=True, errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        try:
            self._answer()
        except RuntimeError:
            self.close()
            raise

    def _answer(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line[len(MARK) :])
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer
        raise RuntimeError(f"ended with code {self._process.wait()}; the log says more")

    def seconds(self) -> float:
        """See `Passing`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def close(self) -> None:
        """See `Passing`."""
        self._process.communicate()


def take_turns(
    work: Work, job: Mapping[str, Any], who: Sequence[str], count: int, start: Start
) -> dict[str, list[float]]:
    """Seconds of so many passes of each, by name; who is first changes with every turn."""
    found: dict[str, list[float]] = {name: [] for name in who}
    with ExitStack() as stack:
        ready = {
            name: stack.enter_context(closing(start(name, job, work.variables if name == OURS else {}))) for name in who
        }
        for number in range(count):
            for name in who if number % 2 else reversed(who):
                found[name].append(ready[name].seconds() / work.per)
    return found


@dataclass
class Turns:
    """What was measured, in a file that is whole after each work, and with which an interrupted run goes on."""

    file: Path
    facts: Mapping[str, Any]
    passes: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def opened(cls, file: Path, facts: Mapping[str, Any]) -> Turns:
        """The file's, if it is of this machine and these versions; else without any."""
        if file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            if all(kept["facts"][name] == facts[name] for name in ("quick", "machine", "versions")):
                return cls(file, facts, kept["passes"])
        return cls(file, facts)

    def measure(self, work: Work, job: Mapping[str, Any], who: Sequence[str], count: int, start: Start) -> None:
        """One work, unless so many passes of it are known."""
        if len(who) < 2 or all(len(self.passes.get(work.name, {}).get(name, ())) >= count for name in who):
            return
        try:
            self.passes[work.name] = take_turns(work, job, who, count, start)
        except RuntimeError as error:
            self.errors[work.name] = str(error)
        print(f"  {work.name}: {self.errors.get(work.name) or _words(self.passes[work.name])}", file=sys.stderr)
        aside = self.file.with_suffix(".part")
        values = {"facts": self.facts, "passes": self.passes, "errors": self.errors}
        aside.write_text(json.dumps(values, indent=1), encoding="utf-8")
        os.replace(aside, self.file)

    def markdown(self) -> str:
        """A row for each work and each other library."""
        rows = [f"| {work} | {row} |" for work, found in self.passes.items() for row in _rows(found)]
        head = "| work | Intarsia | the other | share | passes |\n| --- | --- | --- | --- | --- |"
        errors = [f"- {work}: {error}" for work, error in self.errors.items()]
        return "\n".join([
            f"{self.facts['machine']}; {self.facts['date']}; one thread each, pass by pass in turn. Seconds of the "
            "processor are the least of all passes; the share is the median of those of two passes that follow each "
            "other, in brackets its quartiles.",
            "", head, *rows, *errors, "",
        ])  # fmt: skip


def _rows(found: Mapping[str, Sequence[float]]) -> Iterator[str]:
    for who, theirs in found.items():
        if who != OURS:
            shares = [ours / other for ours, other in zip(found[OURS], theirs, strict=True)]
            low, middle, high = statistics.quantiles(shares, n=4) if len(shares) > 1 else 3 * shares
            share = f"{middle:.2f} ({low:.2f} to {high:.2f})"
            yield f"{seconds(min(found[OURS]))} | {TITLES[who]} {seconds(min(theirs))} | {share} | {len(shares)}"


def _words(found: Mapping[str, Sequence[float]]) -> str:
    return "; ".join(_rows(found))
