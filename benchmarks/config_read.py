"""How long it takes to read a config with all its bases, and that no torch is needed for it.

    python benchmarks/config_read.py [FILE ...] [--repeat 100]

"cold" parses every file anew; "warm" is what a second read in the same process costs, bases and all; "dumped" is the
same config as one resolved file, read cold; "first" includes importing the reader, in a fresh process. Best of the
repetitions, in milliseconds: on a busy machine the others measure the neighbours.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from intarsia.config.dump import dump
from intarsia.config.language import source
from intarsia.config.language.reader import read_file

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def best(function: Callable[[], object], repeat: int, *, before: Callable[[], object] = lambda: None) -> float:
    """Shortest time of a call, in milliseconds."""
    shortest = float("inf")
    for _ in range(repeat):
        before()
        start = time.perf_counter()
        function()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest * 1000


def first_read(file: Path) -> float:
    """Milliseconds from importing the reader to the values, in a process of its own that must not load torch."""
    program = (
        "import sys, time; start = time.perf_counter()\n"
        "from intarsia.config.language.reader import read_file\n"
        f"read_file({str(file)!r}).values\n"
        "print((time.perf_counter() - start) * 1000)\n"
        "assert 'torch' not in sys.modules, 'reading a config imported torch'\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True) for _ in range(3)
    ]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(CONFIGS.glob("*.py")))
    parser.add_argument("--repeat", type=int, default=100)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"{'config':<34}{'files':>6}{'KB':>7}{'cold':>8}{'warm':>8}{'dumped':>8}{'first':>8}   ms")
    for file in options.files:
        config = read_file(file)
        size = sum(os.path.getsize(one) for one in config.files) / 1000
        cold = best(lambda f=file: read_file(f).values, options.repeat, before=source.forget)
        warm = best(lambda f=file: read_file(f).values, options.repeat)
        with tempfile.TemporaryDirectory() as folder:
            resolved = Path(folder) / "resolved.py"
            resolved.write_text(dump(config.values), encoding="utf-8")
            dumped = best(lambda f=resolved: read_file(f).values, options.repeat, before=source.forget)
        first = first_read(file)
        print(f"{file.name:<34}{len(config.files):>6}{size:>7.1f}{cold:>8.2f}{warm:>8.2f}{dumped:>8.2f}{first:>8.1f}")


if __name__ == "__main__":
    main()
