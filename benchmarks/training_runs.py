"""What measurements of trainings share: runs by the command line that are kept, their scores, and a table of them."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tuning:
    """A data set, how long and how large it is trained, and the starts that are compared with random weights.

    crop: height and width in pixels. starts: names of starts.
    """

    data: str
    steps: int
    crop: tuple[int, int]
    starts: tuple[str, ...]


Scores = dict[tuple[Tuning, str], list[float]]
"""A data set and a start ("" is random weights) -> mIoU of each seed."""


def trained(
    recipe: str, data: Path, out: Path, steps: int, crop: tuple[int, int], *, seed: int, options: Sequence[str] = ()
) -> float:
    """The mIoU of a run on the validation images at its last step.

    What is finished is not trained again, and what was interrupted goes on. steps: of 4 crops. options: further words
    of `intarsia train`.
    """
    if not (out / "run.json").is_file():
        intarsia(
            *("train", recipe, "--data", str(data), "--out", str(out), "--seed", str(seed)),
            *("--batch", "4", "--workers", "0", "--device", "cpu", "--for", f"{steps} steps"),
            *("--eval-every", f"{steps} steps", "--crop", *map(str, crop), *options),
        )
    elif record_of(out)["status"] != "finished":
        intarsia("train", "--resume", str(out), "--device", "cpu")
    score = score_of(out)
    print(f"{out.name}: mIoU {score:.4f}", flush=True)
    return score


def record_of(run: Path) -> Mapping[str, object]:
    """What a run says of itself."""
    record: Mapping[str, object] = json.loads((run / "run.json").read_text())
    return record


def score_of(run: Path) -> float:
    """The mIoU of a finished run."""
    return float(json.loads((run / "eval.json").read_text())["mIoU"])


def intarsia(*words: str) -> None:
    """Run a command; where it fails, end with what it said."""
    done = subprocess.run([sys.executable, "-m", "intarsia", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"intarsia {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def table(scores: Scores) -> str:
    """The scores as Markdown; standard deviations are those of a sample."""
    lines = [
        "| data | steps | start | mIoU by seed | mean | standard deviation |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (tuning, start), values in scores.items():
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        each = ", ".join(f"{value:.3f}" for value in values)
        lines.append(
            f"| {tuning.data} | {tuning.steps} | {start or 'random weights'} | {each} | {statistics.mean(values):.3f} "
            f"| {spread:.3f} |"
        )
    return "\n".join(lines) + "\n"
