"""What the choices of `intarsia train --data` are worth: the same training without them and with them.

    python benchmarks/own_defaults.py --data ../shared/realdata --work /tmp/own_defaults [--seeds 1 2 3] [--each]

Five small sets of real images are trained from random weights, all else equal: recipe, steps, batch, crops, seed. The
scores are those on the validation images at the last step: the mIoU, and the IoU of the class with the fewest pixels.
Where nothing is chosen, the two ways are the same config, and are trained once. `--each` trains once more without each
choice that is made. `--only` takes some of the folders.

What is finished is not trained again, and what was interrupted goes on, so that the command may be killed and repeated.
Measured on one core: 35 s a run of CrackForest, 16 s of the nuclei, 37 s of CWFID, whose images are large.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training_runs import trained

RECIPE = "small_r18"
PLAIN, CHOSEN = "--plain all", "as chosen"


@dataclass(frozen=True)
class Folder:
    """A folder below --data, and how long and how large it is trained: steps of 4 crops, height and width."""

    data: str
    steps: int = 100
    crop: tuple[int, int] = (160, 160)


FOLDERS = (
    Folder("crackforest", steps=200),
    Folder("dsb2018_nuclei"),
    Folder("cwfid"),
    Folder("isbi2012_membrane"),
    Folder("camvid", crop=(160, 192)),
)


@dataclass
class Row:
    """A folder trained one way. rarest: name of the class with the fewest pixels. Scores by seed."""

    folder: Folder
    way: str
    rarest: str
    miou: list[float] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the folders of FOLDERS")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and the result")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", default=[folder.data for folder in FOLDERS], help="folders of FOLDERS")
    parser.add_argument("--each", action="store_true", help="also without each choice by itself")
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    rows: dict[tuple[str, str], Row] = {}
    for folder in (folder for folder in FOLDERS if folder.data in given.only):
        for seed in given.seeds:
            for way, run in runs(folder, given.data, given.work, seed, each=given.each):
                scores = json.loads((run / "eval.json").read_text())
                rarest = rarest_class(run)
                row = rows.setdefault((folder.data, way), Row(folder, way, rarest))
                row.miou.append(scores["mIoU"])
                row.iou.append(scores["classes"][rarest]["IoU"])
        text = table(list(rows.values()))  # what there is so far
        (given.work / "table.md").write_text(text)
        print(text, flush=True)


def runs(folder: Folder, data: Path, work: Path, seed: int, *, each: bool) -> Iterator[tuple[str, Path]]:
    """(way, folder of the run) of each training that is compared."""

    def run(way: str, name: str, options: Sequence[str]) -> tuple[str, Path]:
        out = work / f"{folder.data}_{name}_{seed}"
        trained(RECIPE, data / folder.data, out, folder.steps, folder.crop, seed=seed, options=options)
        return way, out

    plain = run(PLAIN, "plain", ("--plain", "all"))
    yield plain
    names = made(plain[1])
    if names:
        yield run(CHOSEN, "chosen", ())
    for name in names if each and len(names) > 1 else ():
        yield run(f"--plain {name}", f"without-{name}", ("--plain", name))


def made(plain: Path) -> list[str]:
    """Names of the choices that are made where a run was trained without them."""
    from intarsia.config.language.reader import read_file
    from intarsia.data.description.read import read_description
    from intarsia.workflows.own_defaults import choose

    return [choice.name for choice in choose(read_file(plain / "config.py"), read_description(plain / "data.yaml"))]


def rarest_class(run: Path) -> str:
    """The class with the fewest labelled pixels of the training images."""
    from intarsia.data.description.read import read_description

    shares = read_description(run / "data.yaml").shares
    assert shares is not None
    return min(shares, key=lambda name: shares[name])


def table(rows: Sequence[Row]) -> str:
    """Means and standard deviations (of a sample) as Markdown."""
    lines = [
        "| data | steps | crop | way | mIoU | class with the fewest pixels | its IoU | by seed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        height, width = row.folder.crop
        lines.append(
            f"| {row.folder.data} | {row.folder.steps} | {height} x {width} | {row.way} | {spread(row.miou)} "
            f"| {row.rarest} | {spread(row.iou)} | {', '.join(f'{value:.3f}' for value in row.iou)} |"
        )
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """ "0.320 ± 0.012"."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
