"""How long the command line takes to answer, against the bare interpreter and against importing torch.

    python benchmarks/command_start.py

Measured on 2 cores of an AMD EPYC shared with other work (2026-11-22): see benchmarks/README.md.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "intarsia --help": [sys.executable, "-m", "intarsia.cli.main", "--help"],
    "intarsia config show FILE": [
        *(sys.executable, "-m", "intarsia.cli.main", "config", "show", "configs/fast_scnn_camvid.py"),
    ],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}
REPETITIONS = 7


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    for name, command in CASES.items():
        seconds(command)  # fills the disk cache
        times = [seconds(command) for _ in range(REPETITIONS)]
        print(f"{name:28} best {min(times):.3f} s   median {statistics.median(times):.3f} s")


if __name__ == "__main__":
    main()
