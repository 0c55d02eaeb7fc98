"""What images without labels are worth, and a teacher: a tenth of the labels alone, and with all images besides.

    python benchmarks/less_labels.py --data ../shared/realdata --work /tmp/less_labels --start lite0.pth
        [--folder camvid] [--seeds 1 2 3]

--start is what `pretraining.py` writes: EfficientNet-Lite0 of ImageNet, the backbone of all but the student. Of the
nuclei every fifth image validates; CamVid has a validation folder. For each seed every tenth of the others keeps its
label, beginning with another one. All rows train the same network for the same number of optimizer steps of 4 labelled
crops, with averaged weights; the rows with unlabelled images see 4 crops of all training images in every step, too.
The student is a small network from random weights, with all labels, alone and taught by the row with all labels of the
first seed. The score is the mIoU on the validation images at the last step.

What is finished is not trained again, and what was interrupted goes on, so that the command may be killed and repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training_runs import trained

SHARE = 10
AVERAGE = "custom_hooks=[dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=10, momentum=0.004)]"
"""Of all rows: that of `--unlabelled`, whose teacher it is. What averaging alone gives is no news."""
ALL, UNLABELLED, TEACHER = "all labels", "--unlabelled", "--teacher"
STUDENT = "small_r18"
ARMS: Mapping[str, tuple[str, ...]] = {
    "a tenth of the labels": (),
    "a tenth, and unlabelled images, adaptive": (UNLABELLED, "--confidence", "adaptive"),
    "a tenth, and unlabelled images, 0.95": (UNLABELLED, "--confidence", "0.95"),
    ALL: (),
    STUDENT: (),
    f"{STUDENT}, taught": (TEACHER,),
}
"""Row of the table -> further words of `intarsia train`."""


@dataclass(frozen=True)
class Folder:
    """Real images, and how they are trained on.

    images, labels: folders of the training images, and of those that validate where they are apart: (training,
    validation). crop: of the network, and of the student.
    """

    name: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    steps: int
    crop: tuple[int, int]
    student_crop: tuple[int, int]
    recipe: str = "segformer_timm:tf_efficientnet_lite0"


FOLDERS = {
    "nuclei": Folder("dsb2018_nuclei", ("images",), ("masks",), 300, (96, 96), (64, 64)),
    "camvid": Folder("camvid", ("train", "val"), ("trainannot", "valannot"), 200, (128, 128), (96, 96)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dsb2018_nuclei and camvid")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and the result")
    parser.add_argument("--start", type=Path, required=True, help="tf_efficientnet_lite0.pth of pretraining.py")
    parser.add_argument("--folder", choices=list(FOLDERS), default="nuclei")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, help="others than the folder's")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), help="rows of the table")
    given = parser.parse_args(arguments)
    folder, work = FOLDERS[given.folder], given.work / given.folder
    steps = given.steps or folder.steps
    found: dict[str, list[Path]] = {}
    for seed in given.seeds:
        for arm in given.arms:
            found.setdefault(arm, []).append(run_of(arm, folder, given.data, work, given.start, steps, seed))
        text = table(found)  # what there is so far
        (work / f"table_{steps}.md").write_text(text)
        print(text, flush=True)


def run_of(arm: str, folder: Folder, data: Path, work: Path, start: Path, steps: int, seed: int) -> Path:
    """The finished run of a row and a seed."""
    whole = divided(folder, data, work / "whole")
    tenth = divided(folder, data, work / f"tenth_{seed}", first=seed - 1, step=SHARE)
    student = arm.startswith(STUDENT)
    options = [*ARMS[arm], "--pretrained", "none" if student else str(start), "--set", AVERAGE]
    if student:
        options.append("optim_wrapper.optimizer.lr=0.001")
    if UNLABELLED in options:
        options.insert(options.index(UNLABELLED) + 1, str(whole / "images" / "train"))
    if TEACHER in options:
        teacher = run_of(ALL, folder, data, work, start, steps, 1)
        options.insert(options.index(TEACHER) + 1, str(teacher))
    run = work / f"{arm.replace(' ', '_').replace(',', '')}_{steps}_{seed}"
    trained(
        STUDENT if student else folder.recipe, whole if student or arm == ALL else tenth, run, steps,
        folder.student_crop if student else folder.crop, seed=seed, options=options,
    )  # fmt: skip
    if UNLABELLED in options:
        print(f"confident at the end: {confident(run):.2f}", flush=True)
    return run


def divided(folder: Folder, data: Path, part: Path, *, first: int = 0, step: int = 1) -> Path:
    """The images, of those for training every `step`-th from the `first` on. Without a folder of their own, every fifth
    validates.
    """
    if not part.is_dir():
        for kind, sources in (("images", folder.images), ("masks", folder.labels)):
            training, *others = (sorted((data / folder.name / source).glob("*.png")) for source in sources)
            validation = others[0] if others else training[4::5]
            training = [file for file in training if file not in validation][first::step]
            for split, chosen in (("val", validation), ("train", training)):
                (part / kind / split).mkdir(parents=True)
                for file in chosen:
                    shutil.copy(file, part / kind / split)
    return part


def confident(run: Path) -> float:
    """The share of unlabelled pixels that had a pseudo label, in the last line of the log."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(line["unlabelled.confident"] for line in reversed(lines) if "unlabelled.confident" in line))


def table(found: Mapping[str, Sequence[Path]]) -> str:
    """The scores as Markdown: mIoU, and the mean IoU of each class; standard deviations are those of a sample."""
    reports = {arm: [json.loads((run / "eval.json").read_text()) for run in runs] for arm, runs in found.items()}
    classes = next(iter(reports.values()))[0]["classes"]
    lines = [
        f"| trained on | mIoU by seed | mean | standard deviation | {' | '.join(classes)} |",
        "| --- " * (4 + len(classes)) + "|",
    ]
    for arm, of_arm in reports.items():
        values = [report["mIoU"] for report in of_arm]
        spread = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-"
        each = ", ".join(f"{value:.3f}" for value in values)
        means = [statistics.mean(report["classes"][name]["IoU"] for report in of_arm) for name in classes]
        of_classes = " | ".join(f"{value:.3f}" for value in means)
        lines.append(f"| {arm} | {each} | {statistics.mean(values):.3f} | {spread} | {of_classes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
