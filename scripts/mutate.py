"""Breaks the source in small ways, one at a time, and looks whether the tests see it.

    python scripts/mutate.py --sample 300                       some hundred of all faults, the same every time
    python scripts/mutate.py --sample 100 --seed 1              others
    python scripts/mutate.py --only intarsia/losses/dice.py     every fault of a file or folder
    python scripts/mutate.py --only intarsia/losses --list      only names them

A fault is a small change: another sign, number, condition or setting, a call or an argument left out, two arguments
swapped (`mutation/operators.py`). The tests of its file (`mutation/selection.py`) run on a copy of the tree. What
survives is named: each is a test that is missing, or changes nothing, which `mutation/equivalent.py` says with the
reason. Exit code 1 if fewer than nine in ten are killed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mutation.equivalent import EQUIVALENT
from mutation.operators import Mutant, compiles, mutants
from mutation.running import ROOT, Result, Runner
from mutation.selection import ROOMS

KILLED = ("killed", "timeout")


def sources(only: Sequence[str]) -> dict[str, str]:
    """The files below the given paths, or below the usual rooms, and their text."""
    places = [ROOT / path for path in only] or [ROOT / "intarsia" / room for room in ROOMS]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


def chosen(texts: dict[str, str], sample: int | None, seed: int, match: str) -> tuple[list[Mutant], int]:
    """The mutants to run, and how many of the drawn ones are equivalent; of a sample, every file has its share."""
    found = {path: [m for m in mutants(path, text) if match in m.name] for path, text in texts.items()}
    total = sum(map(len, found.values()))
    drawn: list[Mutant] = []
    for path, of_file in found.items():
        share = len(of_file) if sample is None else min(len(of_file), max(1, round(sample * len(of_file) / total)))
        drawn += sorted(random.Random(f"{seed} {path}").sample(of_file, share), key=lambda m: (m.start, m.name))
    kept = [mutant for mutant in drawn if compiles(mutant.applied(texts[mutant.path]))]
    run = [mutant for mutant in kept if mutant.name not in EQUIVALENT]
    return run, len(kept) - len(run)


def report(results: Sequence[Result], equivalent: int, out: Path | None) -> float:
    """Prints a table of files and all survivors; returns the share of mutants that were killed."""
    files: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        assert result.mutant is not None
        files[result.mutant.path].append(result)
    lines = []
    for path, of_file in sorted(files.items()):
        killed = sum(result.outcome in KILLED for result in of_file)
        lines.append(f"{killed:4} of {len(of_file):4}  {path}")
    for outcome in ("survived", "stopped", "no tests"):
        named = [result.mutant for result in results if result.outcome == outcome and result.mutant]
        lines += ["", f"{outcome}:" if named else f"none {outcome}"]
        lines += [f"  {mutant.path}:{mutant.line}  {mutant.name}" for mutant in sorted(named, key=lambda m: m.name)]
    killed = sum(result.outcome in KILLED for result in results)
    timeouts = sum(result.outcome == "timeout" for result in results)
    share = killed / len(results) if results else 1.0
    lines += ["", f"{killed} of {len(results)} killed ({share:.1%}), {timeouts} of them by the limit of time; "
                  f"{equivalent} more change nothing (mutation/equivalent.py)"]  # fmt: skip
    print("\n".join(lines))
    if out is not None:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return share


def run(selected: Sequence[Mutant], processes: int) -> list[Result] | None:
    """Every mutant's result; None, with a word, if the tests fail without a fault."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        runner = Runner(Path(folder), processes)
        for path, result in runner.without_fault(sorted({mutant.path for mutant in selected})):
            print(f"{path}: {result.seconds:.0f} s without a fault", file=sys.stderr, flush=True)
            if result.outcome != "survived":
                print(f"the tests of {path} fail without a fault ({result.outcome}): {result.first}", file=sys.stderr)
                return None
        results = []
        start = time.monotonic()
        for result in runner.with_faults(selected):
            results.append(result)
            assert result.mutant is not None
            so_far = f"{len(results)}/{len(selected)} {time.monotonic() - start:.0f} s"
            print(
                f"{so_far}: {result.outcome} {result.mutant.name} ({result.first[:100]})", file=sys.stderr, flush=True
            )
        return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Break the source in small ways and see whether tests fail.")
    parser.add_argument("--only", action="append", default=[], metavar="PATH", help="a file or folder; may be repeated")
    parser.add_argument("--sample", type=int, metavar="N", help="this many of all faults; without it, every one")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn")
    parser.add_argument("--match", default="", metavar="TEXT", help="faults with this in their name")
    parser.add_argument("--list", action="store_true", help="name the faults and stop")
    parser.add_argument("--processes", type=int, default=max((os.cpu_count() or 1) - 1, 1))
    parser.add_argument("--least", type=float, default=0.9, metavar="SHARE", help="exit code 1 if fewer are killed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table here too")
    options = parser.parse_args(arguments)
    selected, equivalent = chosen(sources(options.only), options.sample, options.seed, options.match)
    if options.list:
        print("\n".join(f"{mutant.path}:{mutant.line}  {mutant.name}" for mutant in selected))
        return 0
    results = run(selected, options.processes)
    if results is None:
        return 2
    return 0 if report(results, equivalent, options.out) >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
