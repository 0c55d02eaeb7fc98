"""Trying out what a run could have: its learning rate, and the largest batch that fits. No run is changed by it."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from intarsia.contracts import Batch
from intarsia.engine.training.loop import one_step
from intarsia.engine.training.nonfinite import Guard
from intarsia.engine.training.run import Run
from intarsia.engine.training.setup import prepare

SMOOTHING = 0.95
"""Share of the old in the running mean of the losses."""
DIVERGED = 4.0
"""The sweep ends when the mean loss is so many times its minimum."""
SPARE = 0.9
"""Share of a device's memory that a batch may fill."""


@dataclass(frozen=True)
class RateSweep:
    """Losses under a rising learning rate. suggestion: where the loss falls fastest, on a logarithmic axis."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def sweep_learning_rate(
    run: Run,
    *,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    progress: Callable[[int], None] | None = None,
) -> RateSweep:
    """The range test of Smith (Cyclical Learning Rates, arXiv:1506.01186, section 3.3), on a copy of the task.

    The rate of the optimizer rises from `low` to `high` geometrically, groups keeping their ratios; losses are a
    running mean. Raises ValueError if the loss is not finite from the beginning.
    """
    step = _Stepper(run)
    rates, losses, mean = [], [], 0.0
    batches = run.batches(0)
    for i in range(steps):
        rate = low * (high / low) ** (i / (steps - 1))
        loss = step(i, batches, rate)
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        rates.append(rate)
        losses.append(mean / (1 - SMOOTHING ** (i + 1)))
        if progress is not None:
            progress(i + 1)
        if losses[-1] > DIVERGED * min(losses):
            break
    if len(losses) < 5:
        raise ValueError(f"the loss is not finite at a learning rate of {low:g} already; look at the data and losses")
    return RateSweep(tuple(rates), tuple(losses), _steepest(rates, losses))


def _steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Where the losses fall fastest before their minimum; slopes are taken over several steps, against noise."""
    lowest = max(losses.index(min(losses)), 3)
    width = max(1, len(losses) // 20)
    slopes = {
        i: losses[min(i + width, lowest)] - losses[max(i - width, 0)] for i in range(width, max(width + 1, lowest))
    }
    return rates[min(slopes, key=slopes.__getitem__)]


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
    device = run.runtime.device
    changed = replace(run, batch=size * run.runtime.world_size, optim=replace(run.optim, accumulate=1), workers=0)
    before = _reset_memory(device)
    try:
        step = _Stepper(changed)
        batch = next(changed.batches(0))
        step(0, iter([batch]), None)
        began = time.perf_counter()
        step(1, iter([batch]), None)
        seconds = time.perf_counter() - began
    except torch.OutOfMemoryError:
        return BatchTrial(size, None, None)
    return BatchTrial(size, seconds, max(0, _peak_memory(device) - before))


def _would_swap(run: Run, trials: Sequence[BatchTrial], size: int) -> bool:
    known = [trial for trial in trials if trial.memory]
    if run.runtime.device.type != "cpu" or not known:
        return False
    needed = (known[-1].memory or 0) * size / known[-1].images
    return needed > SPARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _reset_memory(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return _resident("VmRSS") if _clear_peak() else 0


def _peak_memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _clear_peak() -> bool:
    """Forget the largest resident set so far; Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident(entry: str) -> int:
    """Bytes of a line of /proc/self/status; where there is none, the peak of the process."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:"))


class _Stepper:
    """Optimizer steps on a copy of a run's task."""

    def __init__(self, run: Run) -> None:
        run.runtime.launch()
        ready = prepare(run, copy.deepcopy(run.module))
        self._run, self._model, self._optimizer = run, ready.model, ready.optimizer
        self._guard = Guard(ready.network, ready.optimizer, run.runtime)
        self._largest = max(group["initial_lr"] for group in self._optimizer.param_groups)

    def __call__(self, step: int, batches: Iterator[Batch], rate: float | None) -> float:
        """One step at a rate (of the group with the highest), or at the config's; the loss."""
        if rate is not None:
            for group in self._optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate / self._largest
        terms, _ = one_step(self._run, step, self._model, self._optimizer, batches, self._guard)
        return float(sum(term.weight * term.value for term in terms if term.weight))
