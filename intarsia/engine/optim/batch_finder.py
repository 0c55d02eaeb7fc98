"""How many images a training step can hold, tried out on a copy of a run's task."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psutil
import torch

from intarsia.engine.memory import memory_used
from intarsia.engine.training.run import Run
from intarsia.engine.training.trainer import Trainer

SPARE = 0.9
"""Share of the free memory that a batch may fill."""


@dataclass(frozen=True)
class BatchTrial:
    """One size of batch. memory: bytes of a training step beyond the bare process; None where it did not fit."""

    images: int
    seconds: float | None
    memory: int | None


def try_batches(
    run: Run, *, limit: int = 1024, on_trial: Callable[[BatchTrial], None] | None = None
) -> list[BatchTrial]:
    """Training steps with 1, 2, 4 ... images in this process, then between the last two, until one does not fit.

    On an accelerator "fits" is found out by trying; on a processor, whose memory would be swapped, a size is not tried
    if it would fill the machine, judging from the sizes before it.
    """
    trials: list[BatchTrial] = []
    size = 2  # of one image there may be no batch statistics
    while size <= min(limit, max(2, len(run.pipeline))):
        trial = BatchTrial(size, None, None) if _would_swap(run, trials, size) else _try(run, size)
        trials.append(trial)
        if on_trial is not None:
            on_trial(trial)
        if trial.memory is None:
            break
        size *= 2
    fits = [trial.images for trial in trials if trial.memory is not None]
    if fits and trials[-1].memory is None and (between := (fits[-1] + trials[-1].images) // 2) > fits[-1]:
        trial = BatchTrial(between, None, None) if _would_swap(run, trials, between) else _try(run, between)
        trials.append(trial)
        if on_trial is not None:
            on_trial(trial)
    return trials


def _try(run: Run, size: int) -> BatchTrial:
    one_step = replace(run.optim, accumulate=1)
    changed = replace(run, batch=size * run.runtime.world_size, optim=one_step, workers=0)
    changed.runtime.launch()
    try:
        with memory_used(run.runtime.device) as used:
            batch = next(changed.batches(0))
            trainer = Trainer(changed, copy.deepcopy(run.module), batches=iter([batch, batch]))
            float(trainer.step().terms[0].value)
            began = time.perf_counter()
            float(trainer.step().terms[0].value)  # waits for the device
            seconds = time.perf_counter() - began
    except torch.OutOfMemoryError:
        return BatchTrial(size, None, None)
    return BatchTrial(size, seconds, used())


def _would_swap(run: Run, trials: Sequence[BatchTrial], size: int) -> bool:
    known = [trial for trial in trials if trial.memory]
    if run.runtime.device.type != "cpu" or not known:
        return False
    needed = (known[-1].memory or 0) * size / known[-1].images
    return bool(needed > SPARE * psutil.virtual_memory().available)
