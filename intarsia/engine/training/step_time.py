"""How long an optimizer step takes, found out on the real thing."""

from __future__ import annotations

import copy
import time

import torch

from intarsia.engine.training.run import Run
from intarsia.engine.training.trainer import Trainer


def measure_step_time(run: Run, *, warm_up: int = 3, steps: int = 20, seconds: float = 5.0) -> float:
    """Seconds per optimizer step, waiting for data included, measured on a copy of the task: `run` is left as it is.

    Takes the mean of up to `steps` steps, or of as many as fit into `seconds`, after `warm_up` ones. With it, a
    duration in time becomes a number of steps before the training starts; schedules stay functions of the step.
    """
    run.runtime.launch()
    trainer = Trainer(run, copy.deepcopy(run.module))
    done, began = 0, time.perf_counter()
    for step in range(warm_up + steps):
        if step == warm_up:
            done, began = 0, time.perf_counter()
        result = trainer.step()
        float(result.terms[0].value)  # waits for the device
        done += 1
        if step >= warm_up and time.perf_counter() - began > seconds and run.runtime.world_size == 1:
            break
    measured = torch.tensor((time.perf_counter() - began) / done)
    trainer.close()
    return float(run.runtime.all_reduce_sum(measured)) / run.runtime.world_size
