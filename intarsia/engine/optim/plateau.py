"""Learning rate and momentum that fall when a score of the evaluations no longer improves.

What such a rule has decided so far is a list of cuts, each after so many steps. A schedule that is told the cuts is a
function of the step again, as every schedule (`schedules.py`); what else a rule remembers goes into the checkpoint.

Arguments and their meaning are those of OpenMMLab's `ReduceOnPlateau` schedulers, which are torch's
`ReduceLROnPlateau` but for the range in which they act.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intarsia.spec import ScheduleSpec

PLATEAU = "ReduceOnPlateauLR"
"""The type of such a schedule."""


@dataclass(frozen=True)
class Cut:
    """What a rule does to the value that it finds after `step` optimizer steps."""

    step: int
    rule: ScheduleSpec

    def __call__(self, value: float) -> float:
        """The value times the factor, and at least `min_value`; unchanged where that moves it by `eps` or less."""
        args = self.rule.args
        lower = max(value * args.get("factor", 0.1), args.get("min_value", 0.0))
        return lower if value - lower > args.get("eps", 1e-8) else value


class Plateau:
    """One rule: it counts evaluations in a row without an improvement, and cuts when they are more than `patience`.

    epoch_length, iterations_per_step: as of `ValueSchedule`, for the range in which the rule acts.
    """

    def __init__(self, spec: ScheduleSpec, epoch_length: int, *, iterations_per_step: int = 1) -> None:
        self.spec = spec
        self.monitor: str = spec.args.get("monitor", "loss")
        self._falls = spec.args.get("rule", "less") == "less"
        self._epoch, self._iterations = epoch_length, iterations_per_step
        self.best: float | None = None
        self.stale = self.cooldown = 0
        self.cuts: tuple[int, ...] = ()

    def acts_at(self, step: int) -> bool:
        """Whether an evaluation after so many steps lies in its range."""
        done = step // self._epoch if self.spec.by_epoch else step * self._iterations
        return self.spec.begin <= done and (self.spec.end is None or done < self.spec.end)

    def update(self, value: float, step: int) -> bool:
        """Count an evaluation after `step` steps; whether it cuts. A value that is not a number is no improvement."""
        if self._improves(value):
            self.best, self.stale = value, 0
        else:
            self.stale += 1
        if self.cooldown:
            self.cooldown -= 1
            self.stale = 0
        if self.stale <= self.spec.args.get("patience", 10):
            return False
        self.cooldown, self.stale = self.spec.args.get("cooldown", 0), 0
        self.cuts = (*self.cuts, step)
        return True

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return math.isfinite(value)
        least = self.spec.args.get("threshold", 1e-4) * (-1 if self._falls else 1)
        relative = self.spec.args.get("threshold_rule", "rel") == "rel"
        bound: float = self.best * (1 + least) if relative else self.best + least
        return value < bound if self._falls else value > bound

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best, "stale": self.stale, "cooldown": self.cooldown, "cuts": list(self.cuts)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.best, self.stale, self.cooldown = state["best"], state["stale"], state["cooldown"]
        self.cuts = tuple(state["cuts"])


class Plateaus:
    """All such rules of a run, and what they have decided."""

    def __init__(self, schedules: Sequence[ScheduleSpec], epoch_length: int, *, iterations_per_step: int = 1) -> None:
        self.rules = [
            Plateau(spec, epoch_length, iterations_per_step=iterations_per_step)
            for spec in schedules
            if spec.type == PLATEAU
        ]

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Those so far, of all rules."""
        return tuple(Cut(step, rule.spec) for rule in self.rules for step in rule.cuts)

    def update(self, scores: Mapping[str, float], step: int) -> list[str]:
        """Have every rule count an evaluation after `step` steps; what the user should know of it."""
        said = []
        for rule in self.rules:
            args, name = rule.spec.args, rule.monitor
            if not rule.acts_at(step):
                continue
            if name not in scores:
                said.append(
                    f"warning: {_moved(rule.spec)} waits for {name!r}, which the evaluation does not give (there are: "
                    f"{', '.join(scores)}); it is not reduced"
                )
            elif rule.update(scores[name], step):
                said.append(
                    f"{_moved(rule.spec)} is multiplied by {args.get('factor', 0.1):g}: {name} has not improved on "
                    f"{'nothing' if rule.best is None else format(rule.best, '.4g')} in "
                    f"{args.get('patience', 10) + 1} evaluations"
                )
        return said

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint keeps."""
        return [rule.state() for rule in self.rules]

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what `state` gave. Raises ValueError where that was of other rules."""
        if len(states) != len(self.rules):
            raise ValueError(
                f"the checkpoint has the state of {len(states)} ReduceOnPlateau schedules, the config has "
                f"{len(self.rules)}; a resumed run keeps its param_scheduler"
            )
        for rule, state in zip(self.rules, states, strict=True):
            rule.load_state(state)


def _moved(spec: ScheduleSpec) -> str:
    what = "the learning rate" if spec.parameter == "lr" else "the momentum"
    return what if spec.part is None else f"{what} of {spec.part}"
