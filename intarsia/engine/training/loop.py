"""THE training loop. There is one, and this is all of it; what surrounds it is in session.py."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from intarsia.contracts import Batch, LossTerm
from intarsia.distributed.runtime import TrainingStep
from intarsia.engine.optim.optimizers import set_schedule
from intarsia.engine.training.nonfinite import Guard
from intarsia.engine.training.run import Run, TrainingResult
from intarsia.engine.training.session import Session
from intarsia.engine.training.setup import prepare


def train(run: Run) -> TrainingResult:
    """Train, evaluate and save as `run` says; leave everything in its folder.

    Data order, augmentation, dropout and learning rate are functions of the step, so that a run that was stopped and
    resumed ends in the same weights as one that was not. Ctrl-C finishes the step, saves, and says how to go on.

    Raises NonFiniteLossError when the loss stays nan or infinite, DiskFullError when a checkpoint has no room,
    CheckpointError when there are some to resume from but none is whole.
    """
    run.runtime.launch()
    schedule = run.schedule

    with Session(run) as session:
        session.restore()
        session.evaluate_if_due()
        batches = run.batches(session.step)
        for step in range(session.step, run.steps):
            lr = set_schedule(session.optimizer, schedule, step)
            terms, norm = one_step(run, step, session.model, session.optimizer, batches, session.guard, session.waiting)
            session.took(step, terms, lr, norm)

            session.evaluate_if_due()
            session.save_if_due()
            if session.stopping:
                break
        return session.finish()


def one_step(
    run: Run,
    step: int,
    model: TrainingStep,
    optimizer: Optimizer,
    batches: Iterator[Batch],
    guard: Guard,
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[list[LossTerm], Tensor]:
    """One optimizer step on the next batch, which may come in several parts whose gradients are averaged.

    A step whose losses or gradients are not finite is left out by the guard.
    Gives the loss terms, as means over the parts, and the norm that the gradient had before it was clipped.
    """
    parts: list[list[LossTerm]] = []
    finite = torch.ones((), dtype=torch.bool, device=run.runtime.device)
    guard.begin()
    for part in range(run.parts):
        with waiting():
            batch = next(batches).to(run.runtime.device)
        seed_torch(run.runtime.device, run.seed, step * run.parts + part, run.runtime.rank)
        with model.gradients_later(part < run.parts - 1):
            terms = model(batch)
            loss = torch.stack([term.weight * term.value for term in terms if term.weight]).sum()
            finite = finite & loss.detach().isfinite()
            run.runtime.backward(loss / run.parts)
        parts.append([LossTerm(term.name, term.value.detach(), term.weight) for term in terms])

    norm = run.runtime.clip_gradients(optimizer, **run.optim.clip or {})
    guard.step(finite & norm.isfinite())
    optimizer.zero_grad(set_to_none=True)
    return mean_terms(parts), norm


def seed_torch(device: torch.device, seed: int, part: int, rank: int) -> None:
    """Make dropout and the like a function of the run's seed, the number of the part and the process, and nothing else.

    Comes after the batch was loaded: a data loader draws from the same generator when it starts.
    """
    number = int(np.random.SeedSequence((seed, part, rank)).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(number)  # torch.manual_seed asks every kind of device, for milliseconds
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)


def mean_terms(parts: list[list[LossTerm]]) -> list[LossTerm]:
    """The same terms with their values averaged over the parts."""
    if len(parts) == 1:
        return parts[0]
    return [
        LossTerm(same[0].name, torch.stack([term.value for term in same]).mean(), same[0].weight)
        for same in zip(*parts, strict=True)
    ]


def measure_step_time(run: Run, *, warm_up: int = 3, steps: int = 20, seconds: float = 5.0) -> float:
    """Seconds per optimizer step, waiting for data included, measured on a copy of the task: `run` is left as it is.

    Takes the mean of up to `steps` steps, or of as many as fit into `seconds`, after `warm_up` ones. With it, a
    duration in time becomes a number of steps before the training starts; schedules stay functions of the step.
    """
    run.runtime.launch()
    ready = prepare(run, copy.deepcopy(run.module))
    guard = Guard(ready.network, ready.optimizer, run.runtime)
    batches = run.batches(0)
    done, began = 0, time.perf_counter()
    for step in range(warm_up + steps):
        if step == warm_up:
            done, began = 0, time.perf_counter()
        terms, _ = one_step(run, step, ready.model, ready.optimizer, batches, guard)
        float(terms[0].value)  # waits for the device
        done += 1
        if step >= warm_up and time.perf_counter() - began > seconds and run.runtime.world_size == 1:
            break
    measured = torch.tensor((time.perf_counter() - began) / done)
    return float(run.runtime.all_reduce_sum(measured)) / run.runtime.world_size
