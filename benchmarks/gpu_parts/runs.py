"""Trainings on painted scenes, as `intarsia train` does them, in this process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

from gpu_parts.notes import Notes
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.engine.training.run import Run, TrainingResult
from intarsia.engine.training.trainer import StepResult, Trainer
from intarsia.workflows.adjust import TrainingOptions
from intarsia.workflows.train import resume_training, start_training
from intarsia.workflows.training_config import TrainingRequest, training_config

RECIPE = "fast_scnn"


def scenes(notes: Notes) -> Path:
    """The description of a few painted scenes."""
    file = notes.folder / "data.yaml"
    if not file.exists():
        count = (6, 2) if notes.small else (24, 8)
        write_description(write_scenes(notes.folder / "scenes", train=count[0], val=count[1]), file)
    return file


def request(notes: Notes, out: str, *, steps: int, **changes: Any) -> TrainingRequest:
    """A training on the scenes, evaluated once in its midst. changes: further TrainingOptions."""
    options = {
        "batch": 2 if notes.small else 8,
        "crop": (64, 64) if notes.small else (128, 192),
        "workers": 0,
        "seed": 3,
    }
    return TrainingRequest(
        name=RECIPE, out=notes.folder / out, data=scenes(notes), device=notes.device.type, pretrained="none",
        training=TrainingOptions(
            duration=f"{steps} steps", evaluate_every=f"{steps // 2} steps", save_every=f"{steps // 2} steps",
            **{**options, **changes},
        ),
        settings=("default_hooks.logger.interval=1",),
    )  # fmt: skip


def train(wanted: TrainingRequest) -> TrainingResult:
    result = start_training(wanted)
    assert result is not None
    return result


def train_with_a_stop(notes: Notes, wanted: TrainingRequest, *, at: int) -> TrainingResult:
    """The same, interrupted as by a machine that is about to go away, and gone on with."""
    step = Trainer.step

    def stopping(trainer: Trainer) -> StepResult:
        result = step(trainer)
        if trainer.steps_done == at:
            os.kill(os.getpid(), signal.SIGUSR1)
        return result

    with mock.patch.object(Trainer, "step", stopping):
        try:
            start_training(wanted)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("the run was not interrupted")
    result = resume_training(wanted.out, device=notes.device.type)
    assert result is not None
    return result


def losses(out: Path) -> list[float | None]:
    """Of each step; None where it was left out."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def assembled(notes: Notes, wanted: TrainingRequest) -> Run:
    """The run itself, before its first step."""
    from intarsia.workflows.assemble import assemble, checked, make_runtime
    from intarsia.workflows.run_options import RunOptions

    wanted.out.mkdir(parents=True)
    config = training_config(wanted, wanted.out / "data.yaml")
    options = RunOptions(wanted.out, device=notes.device.type)
    runtime = make_runtime(checked(config), options)
    runtime.launch()
    return assemble(config, checked(config), options, runtime)
