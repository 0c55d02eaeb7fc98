"""Whether every recipe for own data learns: the smallest network of each method, trained on one small set of images.

    python benchmarks/own_recipes.py --data ../shared/realdata/dsb2018_nuclei --work /tmp/own_recipes [--only pspnet]

Each starts from random weights and is trained as `intarsia train` proposes, but for the steps, which are few, and the
size of crops: whoever learns nothing in them has a rate, a loss or a start that does not suit. The score is that of the
validation images at the last step, of one seed: enough to see who fails, not who is best, since networks that want
pretrained weights or long trainings are behind here. A recipe that stops with an error is named with it, and the
others go on. What is finished is not trained again, so that the command may be killed and repeated.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from training_runs import trained

from intarsia.guide.facts import cost
from intarsia.guide.networks import networks


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of own data")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and the result")
    parser.add_argument("--steps", type=int, default=60, help="of 4 crops [60]")
    parser.add_argument("--crop", type=int, nargs=2, default=(128, 128), metavar=("HEIGHT", "WIDTH"), help="[128 128]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="recipes whose names have one of these words")
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    crop = (given.crop[0], given.crop[1])
    scores: dict[str, Mapping[str, object] | str] = {}
    for recipe in smallest():
        if given.only and not any(word in recipe for word in given.only):
            continue
        out = given.work / recipe.replace(os.sep, "_")
        try:
            trained(recipe, given.data, out, given.steps, crop, seed=given.seed)
            scores[recipe] = json.loads((out / "eval.json").read_text(encoding="utf-8"))
        except SystemExit as error:  # what the command said is in it
            scores[recipe] = str(error.code)
            print(f"{recipe}: {error.code}", flush=True)
        (given.work / "table.md").write_text(table(scores), encoding="utf-8")
    print(table(scores))


def smallest() -> list[str]:
    """For each method its own-data recipe with the fewest multiply-adds, in the order of the guide to the models."""
    found: dict[str, tuple[float, str]] = {}
    for network in networks():
        if network.own is None:
            continue
        known = cost(network.first)
        work = float("inf") if known is None else known.multiply_adds
        method = network.own.partition("/")[0] if network.method is None else network.method.name
        found[method] = min(found.get(method, (float("inf"), network.own)), (work, network.own))
    return [recipe for _, recipe in found.values()]


def table(scores: Mapping[str, Mapping[str, object] | str]) -> str:
    """Markdown: mIoU and the IoU of each class; or why there is none."""
    lines = ["| recipe | mIoU | IoU of the classes |", "| --- | --- | --- |"]
    for recipe, said in scores.items():
        if isinstance(said, str):
            lines.append(f"| `{recipe}` | failed | {said.strip().splitlines()[-1]} |")
            continue
        classes = said["classes"]
        assert isinstance(classes, Mapping)
        each = ", ".join(f"{name} {_number(row['IoU'])}" for name, row in classes.items())
        lines.append(f"| `{recipe}` | {_number(said['mIoU'])} | {each} |")
    return "\n".join(lines) + "\n"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


if __name__ == "__main__":
    main()
