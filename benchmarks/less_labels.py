"""What images without labels are worth: nuclei with a tenth of their labels, alone and with all images besides.

    python benchmarks/less_labels.py --data ../shared/realdata --work /tmp/less_labels [--seeds 1 2 3]

Every fifth of the 67 images validates. For each seed every tenth of the others keeps its label, beginning with another
one. All rows of the table train the same network for the same number of optimizer steps of 4 labelled crops, from the
same random weights; the rows with unlabelled images see 4 crops of all training images in every step, too. The score is
the mIoU on the validation images at the last step.

What is finished is not trained again, and what was interrupted goes on, so that the command may be killed and repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from training_runs import trained

RECIPE, STEPS, CROP, SHARE = "small_r18", 400, (64, 64), 10
COMMON = ("--pretrained", "none", "--ema", "0.01", "--set", "optim_wrapper.optimizer.lr=0.001")
"""Of all rows. Averaged weights, since the teacher of unlabelled images is one: what they alone give is no news."""
UNLABELLED = "--unlabelled"
ALL = "all labels"
ARMS: Mapping[str, tuple[str, ...]] = {
    "a tenth of the labels": (),
    "a tenth, and unlabelled images": (UNLABELLED,),
    "the same, confidence 0.8": (UNLABELLED, "--confidence", "0.8"),
    ALL: (),
}
"""Row of the table -> further words of `intarsia train`."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dsb2018_nuclei")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and the result")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help="rows of the table")
    given = parser.parse_args(arguments)
    source = given.data / "dsb2018_nuclei"
    whole = divided(source, given.work / "whole")
    scores: dict[str, list[float]] = {}
    for seed in given.seeds:
        part = divided(source, given.work / f"tenth_{seed}", first=seed - 1, step=SHARE)
        for arm in given.arms:
            options = list(ARMS[arm])
            if UNLABELLED in options:
                options.insert(options.index(UNLABELLED) + 1, str(whole / "images" / "train"))
            run = given.work / f"{arm.replace(' ', '_').replace(',', '')}_{given.steps}_{seed}"
            data = whole if arm == ALL else part
            score = trained(RECIPE, data, run, given.steps, CROP, seed=seed, options=(*COMMON, *options))
            scores.setdefault(arm, []).append(score)
            if UNLABELLED in options:
                print(f"confident at the end: {confident(run):.2f}", flush=True)
        text = table(scores)  # what there is so far
        (given.work / f"table_{given.steps}.md").write_text(text)
        print(text, flush=True)


def divided(source: Path, part: Path, *, first: int = 0, step: int = 1) -> Path:
    """The images with every fifth for validation, and of the others every `step`-th from the `first` on."""
    if not part.is_dir():
        for kind in ("images", "masks"):
            files = sorted((source / kind).glob("*.png"))
            validation = files[4::5]
            training = [file for file in files if file not in validation][first::step]
            for split, chosen in (("val", validation), ("train", training)):
                (part / kind / split).mkdir(parents=True)
                for file in chosen:
                    shutil.copy(file, part / kind / split)
    return part


def confident(run: Path) -> float:
    """The share of unlabelled pixels that had a pseudo label, in the last line of the log."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(line["unlabelled.confident"] for line in reversed(lines) if "unlabelled.confident" in line))


def table(scores: Mapping[str, Sequence[float]]) -> str:
    """The scores as Markdown; standard deviations are those of a sample."""
    lines = ["| trained on | mIoU by seed | mean | standard deviation |", "| --- | --- | --- | --- |"]
    for arm, values in scores.items():
        spread = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-"
        each = ", ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {arm} | {each} | {statistics.mean(values):.3f} | {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
