"""What a start is worth: the same training from random weights and from weights of another class set.

    python benchmarks/fine_tuning.py --data ../shared/realdata --work /tmp/fine_tuning [--seeds 1 2 3]

Two starts are trained first, from random weights, since nothing is downloaded: one on the painted street scenes of
`intarsia demo`, one on the 62 images of CamVid. Then every data set of `TUNINGS` is trained with each of its starts,
all else equal: recipe, steps, batch, rates, seed. The score is the mIoU on the validation images at the last step.

What is finished is not trained again, and what was interrupted goes on, so that the command may be killed and repeated.
The whole takes about half an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RECIPE = "small_r18"
COMMON = ("--batch", "4", "--workers", "0", "--device", "cpu")


@dataclass(frozen=True)
class Start:
    """A training whose weights others begin with. data: a folder below --data, or "scenes"."""

    data: str
    steps: int
    crop: tuple[int, int]


@dataclass(frozen=True)
class Tuning:
    """A data set, how long and how large it is trained, and the starts that are compared with random weights."""

    data: str
    steps: int
    crop: tuple[int, int]
    starts: tuple[str, ...]


STARTS = {"scenes": Start("scenes", 400, (160, 192)), "camvid": Start("camvid", 400, (160, 192))}
TUNINGS = (
    Tuning("camvid", 100, (160, 192), ("scenes",)),
    Tuning("dsb2018_nuclei", 100, (128, 128), ("camvid",)),
    Tuning("camvid", 400, (160, 192), ("scenes",)),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with camvid and dsb2018_nuclei")
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes, runs and the result")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    scenes = options.work / "scenes"
    if not (scenes / "data.yaml").is_file():
        _intarsia("demo", "--only-data", "--out", str(scenes), "--overwrite")

    def folder(name: str) -> Path:
        return scenes if name == "scenes" else Path(options.data / name)

    starts = {name: options.work / f"start_{name}" for name in STARTS}
    for name, start in STARTS.items():
        _train(folder(start.data), starts[name], start.steps, start.crop, seed=0)
    scores: dict[tuple[Tuning, str], list[float]] = {}
    for tuning in TUNINGS:
        for seed in options.seeds:
            for start_name in ("", *tuning.starts):
                run = options.work / f"{tuning.data}_{tuning.steps}_{start_name or 'scratch'}_{seed}"
                weights = starts[start_name] if start_name else None
                score = _train(folder(tuning.data), run, tuning.steps, tuning.crop, seed=seed, weights=weights)
                scores.setdefault((tuning, start_name), []).append(score)
        _show(scores, options.work / "table.md")  # what there is so far


def _train(
    data: Path, out: Path, steps: int, crop: tuple[int, int], *, seed: int, weights: Path | None = None
) -> float:
    """The mIoU of a run, which is trained unless it is there already."""
    record = out / "run.json"
    if not record.is_file():
        _intarsia(
            *("train", RECIPE, "--data", str(data), "--out", str(out), "--seed", str(seed), *COMMON),
            *("--for", f"{steps} steps", "--eval-every", f"{steps} steps", "--crop", *map(str, crop)),
            *(() if weights is None else ("--weights", str(weights), "--allow-partial")),
        )
    elif json.loads(record.read_text())["status"] != "finished":
        _intarsia("train", "--resume", str(out), "--device", "cpu")
    score = float(json.loads((out / "eval.json").read_text())["mIoU"])
    print(f"{out.name}: mIoU {score:.4f}", flush=True)
    return score


def _intarsia(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "intarsia", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"intarsia {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def _show(scores: dict[tuple[Tuning, str], list[float]], file: Path) -> None:
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
    file.write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
