"""Jobs in processes of their own, and a file of results that is whole after each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peer_parts.environments import interpreter
from peer_parts.measuring import MARK, STARTED
from peer_parts.works import OURS, Work

HERE = Path(__file__).resolve().parents[1]
PATIENCE = 900
"""Seconds after which a job is ended."""

Run = Callable[[str, Mapping[str, Any], Mapping[str, str]], dict[str, Any]]
"""Does the job of somebody, with further variables of the environment; gives what `measuring.main` prints."""


def run_worker(
    who: str, job: Mapping[str, Any], variables: Mapping[str, str], *, place: Path, log: Path
) -> dict[str, Any]:
    """One job in the environment of its library."""
    command = [str(interpreter(who, place)), "-m", f"peer_parts.worker_{who}", json.dumps(job)]
    try:
        done = subprocess.run(
            command, cwd=HERE, env=environment(who) | dict(variables) | {STARTED: str(time.time())},
            capture_output=True, text=True, errors="replace", timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {PATIENCE} s"}
    with log.open("a", encoding="utf-8") as file:
        file.write(f"== {' '.join(command)}\n{done.stdout}{done.stderr}\n")
    lines = [line for line in done.stdout.split("\n") if line.startswith(MARK)]
    if not lines:
        return {"error": f"ended with code {done.returncode}: {done.stderr.strip()[-200:]}"}
    answer: dict[str, Any] = json.loads(lines[-1][len(MARK) :])
    return answer


def environment(who: str) -> dict[str, str]:
    """One thread each, nothing fetched; only Intarsia sees this checkout."""
    left = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in left}
    kept |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    kept |= {"HF_HUB_OFFLINE": "1", "PYTHONNOUSERSITE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    return kept | ({"PYTHONPATH": str(HERE.parent)} if who == OURS else {})


@dataclass
class Results:
    """What is known so far. Kept in a file, from which an interrupted run goes on.

    facts: machine, versions, sizes: figures of others do not belong with these. figures: by `Work.key`, a round each.
    """

    file: Path
    facts: dict[str, Any]
    figures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def opened(cls, file: Path, facts: dict[str, Any]) -> Results:
        """The file's, if there is one. Raises ValueError where its figures are of other versions or sizes."""
        if not file.exists():
            return cls(file, facts)
        kept = json.loads(file.read_text(encoding="utf-8"))
        for name in ("quick", "machine"):
            if kept["facts"][name] != facts[name]:
                raise ValueError(
                    f"{file} has figures with {name} {kept['facts'][name]!r}, and this run has {facts[name]!r}; "
                    "choose another --out, or delete the file"
                )
        other = {
            who for who, found in facts["versions"].items() if kept["facts"]["versions"].get(who, found) != found
        }  # fmt: skip
        if other:
            raise ValueError(
                f"{file} has figures of other versions of {', '.join(sorted(other))}; "
                "choose another --out, or delete it"
            )
        versions = kept["facts"]["versions"] | facts["versions"]
        return cls(file, {**facts, "versions": versions}, kept["figures"], {}, kept["checks"])

    def save(self) -> None:
        """Write all of it, whole or not at all."""
        values = {"facts": self.facts, "figures": self.figures, "errors": self.errors, "checks": self.checks}
        aside = self.file.with_suffix(".part")
        aside.write_text(json.dumps(values, indent=1), encoding="utf-8")
        os.replace(aside, self.file)


def measure(work: Work, run: Run, results: Results, *, rounds: int, job: Mapping[str, Any], who: list[str]) -> None:
    """All rounds of a work that are still missing, one library after the other in each."""
    for number in range(rounds):
        for name in who:
            key = work.key(name)
            known = results.figures.setdefault(key, [])
            if len(known) > number or key in results.errors:
                continue
            answer = run(name, job, work.variables if name == OURS else {})
            if "error" in answer:
                results.errors[key] = answer["error"]
            else:
                known.append({**answer, "load": round(_load(), 1)})
            results.save()
            _tell(work, name, number, answer)


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def _tell(work: Work, who: str, number: int, answer: Mapping[str, Any]) -> None:
    said = answer.get("error") or f"{answer[work.clock] / work.per:.3g} s, {answer['memory']:.0f} MB"
    name = work.name or f"{work.curve}: {work.x:.3g}"
    print(f"  {name} | {who} {number + 1}: {said}", file=sys.stderr, flush=True)


def free_gigabytes() -> float:
    """Memory that a process could have now; infinite where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 2**20
    except OSError:
        return float("inf")
