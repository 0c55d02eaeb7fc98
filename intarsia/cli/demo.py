"""``intarsia demo``: the main job from beginning to end, on data that it paints, through the ordinary commands."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

TRAIN, VAL = 112, 24
"""Scenes to train on, and to be judged by."""
RECIPE = "small_r18"
TRAINING = (
    *("--pretrained", "none"),
    *("--for", "600 steps", "--batch", "4", "--workers", "1", "--seed", "1", "--eval-every", "300 steps"),
    *("--set", "train_dataloader.dataset.pipeline.2.ratio_range=(0.75,1.5)"),
)


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything.")] = Path("demo"),
    only_data: Annotated[bool, typer.Option("--only-data", help="Paint the scenes into the folder, and stop.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo in the folder.")] = False,
) -> None:
    """Paint a small data set of street scenes, then check it, train, evaluate and predict: about two minutes."""
    program: Callable[[Sequence[str]], int] = context.obj
    from intarsia.terminal import say

    began = time.monotonic()
    _make_room(out, overwrite)
    _paint(out if only_data else out / "data", out / "data.yaml")
    if only_data:
        say(f"next: intarsia data check {out}")
        return

    data, run = str(out / "data.yaml"), str(out / "run")
    _command(program, "data", "check", data)
    _command(program, "data", "show", data, "--out", str(out / "data.png"))
    _command(program, "train", RECIPE, "--data", data, "--out", run, *TRAINING)
    _command(program, "eval", run, "--out", str(out / "evaluation"))
    _command(program, "predict", run, str(out / "data" / "images" / "val"), "-o", str(out / "predictions"))

    score = json.loads((out / "evaluation" / "eval.json").read_text(encoding="utf-8"))["mIoU"]
    say(f"\nmIoU {score:.3f} on scenes it was not trained on, {time.monotonic() - began:.0f} s in all. Look at:")
    for name, what in (
        ("data.png", "the data set at a glance"),
        ("evaluation/pictures", "image, truth, prediction and errors side by side"),
        ("run/curve.png", "how the training went"),
        ("evaluation/eval.json", "scores by class; the same as eval.csv"),
        ("run/weights.safetensors", "the model: all that predict needs"),
        ("predictions", "label maps and overlays"),
    ):
        say(f"  {out / name!s:32}  {what}")
    say("Now your own images: intarsia data check DIR")


def _paint(folder: Path, description_file: Path) -> None:
    from intarsia.data.description.write import write_description
    from intarsia.demo import write_scenes
    from intarsia.terminal import progress, say

    with progress("painting street scenes") as bar:
        description = write_scenes(folder, train=TRAIN, val=VAL, progress=bar)
    write_description(description, description_file)
    say(f"painted {TRAIN + VAL} street scenes: {folder}; what their labels mean: {description_file}")


def _make_room(out: Path, overwrite: bool) -> None:
    """Take an earlier demo away, and nothing else."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    scenes = [folder / "images" / "train" / "street_000.jpg" for folder in (out, out / "data")]
    if not any(scene.is_file() for scene in scenes):
        raise ValueError(f"--out {out} holds other things than a demo; choose another folder")
    if not overwrite:
        raise ValueError(f"{out} holds an earlier demo; replace it with --overwrite, or choose another --out")
    for name in ("data", "images", "labels", "run", "evaluation", "predictions"):
        shutil.rmtree(out / name, ignore_errors=True)


def _command(program: Callable[[Sequence[str]], int], *words: str) -> None:
    """Print a command and run it, as if it had been typed."""
    from intarsia.terminal import say

    say(f"\n$ intarsia {shlex.join(words)}", style="bold cyan")
    code = program(words)
    if code != 0:
        raise typer.Exit(code)
