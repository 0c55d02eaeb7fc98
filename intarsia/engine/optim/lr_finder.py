"""Which learning rate a run could have, tried out on a copy of its task."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intarsia.engine.optim.schedules import Schedule
from intarsia.engine.training.run import Run
from intarsia.engine.training.trainer import Trainer

SMOOTHING = 0.95
"""Share of the old in the running mean of the losses."""
DIVERGED = 4.0
"""The sweep ends when the mean loss is so many times its minimum."""


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
    run.runtime.launch()
    rising = _Rising(low, high, steps)
    trainer = Trainer(run, copy.deepcopy(run.module), schedule=Schedule(rising))
    rising.largest = max(group["initial_lr"] for group in trainer.optimizer.param_groups)
    rates, losses, mean = [], [], 0.0
    for i in range(steps):
        terms = trainer.step().terms
        loss = float(sum(term.weight * term.value for term in terms if term.weight))
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        rates.append(rising.rate(i))
        losses.append(mean / (1 - SMOOTHING ** (i + 1)))
        if progress is not None:
            progress(i + 1)
        if losses[-1] > DIVERGED * min(losses):
            break
    trainer.close()
    if len(losses) < 5:
        raise ValueError(f"the loss is not finite at a learning rate of {low:g} already; look at the data and losses")
    return RateSweep(tuple(rates), tuple(losses), _steepest(rates, losses))


@dataclass
class _Rising:
    """The learning rate of a group at a step. largest: own value of the group that has the highest."""

    low: float
    high: float
    steps: int
    largest: float = 1.0

    def rate(self, step: int) -> float:
        """That of the group with the highest."""
        return float(self.low * (self.high / self.low) ** (step / (self.steps - 1)))

    def __call__(self, base: float, step: int) -> float:
        return base * self.rate(step) / self.largest


def _steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Where the losses fall fastest before their minimum; slopes are taken over several steps, against noise."""
    lowest = max(losses.index(min(losses)), 3)
    width = max(1, len(losses) // 20)
    slopes = {
        i: losses[min(i + width, lowest)] - losses[max(i - width, 0)] for i in range(width, max(width + 1, lowest))
    }
    return rates[min(slopes, key=slopes.__getitem__)]
