"""Optimizer steps: what happens to the weights between two evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, FollowsTraining, LoadTimes, LossTerm
from intarsia.engine.optim.optimizers import set_schedule
from intarsia.engine.optim.schedules import Schedule
from intarsia.engine.training.device_batches import DeviceBatches
from intarsia.engine.training.nonfinite import NonFiniteGuard
from intarsia.engine.training.run import Run
from intarsia.engine.training.setup import prepare


@dataclass(frozen=True)
class StepResult:
    """What a step has given.

    terms: of the losses, as means over the micro-batches. lr: of the first parameter group. gradient_norm: a scalar,
    before gradients were clipped. waited: seconds until the data were there. loading: what loading them took.
    """

    terms: Sequence[LossTerm]
    lr: float
    gradient_norm: Tensor
    waited: float
    loading: LoadTimes = field(default_factory=LoadTimes)


class Trainer:
    """A task that takes optimizer steps, on the data and with the settings of a run. Every process has one.

    module: the task of the run, or a copy of it that may be spoilt. schedule: another than the run's.
    batches: others than the run's, on any device.

    steps_done: so many optimizer steps lie behind it; a resumed run sets the number before its first step.
    """

    def __init__(
        self,
        run: Run,
        module: nn.Module | None = None,
        *,
        schedule: Schedule | None = None,
        batches: Iterator[Batch] | None = None,
    ) -> None:
        ready = prepare(run, run.module if module is None else module)
        self.run, self.runtime = run, run.runtime
        self.task, self.model, self.optimizer = ready.task, ready.model, ready.optimizer
        self.frozen, self.adapters, self.without_gradient = ready.frozen, ready.adapters, ready.without_gradient
        self.followers = [part for part in ready.network.modules() if isinstance(part, FollowsTraining)]
        self.guard = NonFiniteGuard(ready.network, ready.optimizer, run.runtime)
        self.steps_done = 0
        self.schedule = run.schedule if schedule is None else schedule
        self._source = batches
        self._batches: DeviceBatches | None = None

    def step(self) -> StepResult:
        """One optimizer step: the gradients of one or several micro-batches, averaged, limited, and applied.

        A step whose losses or gradients are not finite is left out by the guard.
        """
        lr = set_schedule(self.optimizer, self.schedule, self.steps_done)
        for part in self.followers:
            part.set_training_progress(min(self.steps_done / self.run.steps, 1.0))
        finite = torch.ones((), dtype=torch.bool, device=self.runtime.device)
        micro_batches = []
        self.guard.begin()
        for number in range(self.run.accumulation_steps):
            terms, loss = self._forward_and_backward(number)
            finite = finite & loss.isfinite()
            micro_batches.append(terms)
        norm = self.runtime.clip_gradients(self.optimizer, **self.run.optim.clip or {})
        self.guard.step(finite & norm.isfinite())
        self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        waited, loading = self.batches.take_waited(), self.batches.take_loading()
        return StepResult(mean_terms(micro_batches), lr, norm, waited, loading)

    def _forward_and_backward(self, number: int) -> tuple[list[LossTerm], Tensor]:
        """Add the gradients of the next micro-batch, the `number`-th of this step; its loss terms, and their sum."""
        accumulation = self.run.accumulation_steps
        batch = next(self.batches)
        seed_torch(self.runtime.device, self.run.seed, self.steps_done * accumulation + number, self.runtime.rank)
        with self.model.no_sync(number < accumulation - 1):
            terms = self.model(batch)
            loss = torch.stack([term.weight * term.value for term in terms if term.weight]).sum()
            self.runtime.backward(loss / accumulation)
        self.batches.prefetch()
        return [LossTerm(term.name, term.value.detach(), term.weight) for term in terms], loss.detach()

    @property
    def batches(self) -> DeviceBatches:
        """The micro-batches of the steps to come; the first is loaded when it is asked for."""
        if self._batches is None:
            source = self.run.batches(self.steps_done) if self._source is None else self._source
            self._batches = DeviceBatches(source, self.runtime.device)
        return self._batches

    def close(self) -> None:
        """End the data workers."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None


def seed_torch(device: torch.device, seed: int, micro_batch: int, rank: int) -> None:
    """Make dropout and the like a function of the run's seed, the micro-batch and the process, and nothing else.

    Comes after the batch was loaded: a data loader draws from the same generator when it starts.
    """
    number = int(np.random.SeedSequence((seed, micro_batch, rank)).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(number)  # torch.manual_seed asks every kind of device, for milliseconds
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)


def mean_terms(micro_batches: Sequence[Sequence[LossTerm]]) -> list[LossTerm]:
    """The same terms with their values averaged over the micro-batches."""
    if len(micro_batches) == 1:
        return list(micro_batches[0])
    return [
        LossTerm(same[0].name, torch.stack([term.value for term in same]).mean(), same[0].weight)
        for same in zip(*micro_batches, strict=True)
    ]
