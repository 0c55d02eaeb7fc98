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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training_runs import Scores, Tuning, intarsia, table, trained

RECIPE = "small_r18"


@dataclass(frozen=True)
class Start:
    """A training whose weights others begin with. data: a folder below --data, or "scenes"."""

    data: str
    steps: int
    crop: tuple[int, int]


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
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    scenes = given.work / "scenes"
    if not (scenes / "data.yaml").is_file():
        intarsia("demo", "--only-data", "--out", str(scenes), "--overwrite")

    def folder(name: str) -> Path:
        return scenes if name == "scenes" else Path(given.data / name)

    starts = {name: given.work / f"start_{name}" for name in STARTS}
    for name, start in STARTS.items():
        trained(RECIPE, folder(start.data), starts[name], start.steps, start.crop, seed=0)
    scores: Scores = {}
    for tuning in TUNINGS:
        for seed in given.seeds:
            for start_name in ("", *tuning.starts):
                run = given.work / f"{tuning.data}_{tuning.steps}_{start_name or 'scratch'}_{seed}"
                options = ("--weights", str(starts[start_name]), "--allow-partial") if start_name else ()
                score = trained(RECIPE, folder(tuning.data), run, tuning.steps, tuning.crop, seed=seed, options=options)
                scores.setdefault((tuning, start_name), []).append(score)
        text = table(scores)  # what there is so far
        (given.work / "table.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
