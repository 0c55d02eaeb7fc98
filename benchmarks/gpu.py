"""Everything that only a GPU shows, within eight minutes: whether it is right, then how fast it is.

    make gpu                                     or: python benchmarks/gpu.py [--minutes 8] [--out gpu_results]
    python benchmarks/gpu.py --only training kernel_argmax
    python benchmarks/gpu.py --list              what is checked, in this order, and the most seconds each may take
    python benchmarks/gpu.py --device cpu --small      the script itself, with toy sizes, anywhere

Nothing is downloaded: networks have random weights, images are painted. The checks run in a process beside this one,
which takes them one after the other; where it crashes, hangs or loses its device, that is noted and a new process goes
on with the next. After each check `results.json` in --out is written anew, and at the end `report.md`, the tables for
benchmarks/README.md. The exit code is 1 if a check of correctness failed, 2 if nothing could be checked.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_parts.checks import CHECKS, Check, chosen
from gpu_parts.report import markdown, verdict
from gpu_parts.supervise import Supervisor

PATIENCE = 10
"""How many times as long a check may take on a processor."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="no check begins after that, and none goes on")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="these checks, or those whose names begin so")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="toy sizes: whether the script works")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        from gpu_parts.worker import work

        return work(options.work, options.out, device=options.device, small=options.small)
    checks = chosen(options.only, small=options.small)
    if options.list:
        print("\n".join(f"{check.seconds:4} s  {check.kind:12} {check.name:36} {check.about}" for check in CHECKS))
        return 0
    if not checks:
        print(f"--only {' '.join(options.only)}: no such check; see --list", file=sys.stderr)
        return 2
    return _run(checks, options)


def _run(checks: Sequence[Check], options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--out", str(options.out), "--device", options.device]
    supervisor = Supervisor(
        [*command, *(["--small"] if options.small else [])], options.out,
        until=time.monotonic() + 60 * options.minutes, patience=PATIENCE if options.device == "cpu" else 1,
    )  # fmt: skip
    results = supervisor.run(checks)
    text = markdown(results)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten: {options.out / 'results.json'}, {options.out / 'report.md'}")
    return verdict(results)


if __name__ == "__main__":
    sys.exit(main())
