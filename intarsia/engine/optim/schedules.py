"""Learning rate and momentum as pure functions of the step.

A schedule is a chain of stretches, each active in its own range [begin, end) of steps or epochs, each along one of the
curves of `schedule_curves.py`. They follow one another, each starting from the value that the one before left, and no
state is kept: a resumed run asks for step 100,000 directly.

The meaning of `begin` and `end` is that of OpenMMLab's schedulers, in particular: the last step of a range has reached
the end of the curve, milestones and periods count from `begin`, and after `end` the value stays where it is. Numbers
agree with ``facts/schedules.json`` to the rounding of its step-by-step recursion.

What rules of `plateau.py` have decided from evaluations is told as a list of cuts; given these, the value is a function
of the step as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from intarsia.engine.optim.plateau import PLATEAU, Cut
from intarsia.engine.optim.schedule_curves import CURVES, NEEDED, Curve, Stretch, in_steps
from intarsia.spec import ScheduleSpec

FOREVER = 10**9
"""The end of a stretch that has none; OpenMMLab's number, because open-ended curves are stretched over it."""


@dataclass(frozen=True)
class Schedule:
    """What the optimizer is told before each step: (a group's own value, step) -> its value then.

    momentum: None where it stays as the optimizer was given it. parts: what groups of these parts are told instead.
    """

    lr: Callable[[float, int], float]
    momentum: Callable[[float, int], float] | None = None
    parts: Mapping[str, Schedule] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        schedules: Sequence[ScheduleSpec],
        epoch_length: int | None = None,
        *,
        iterations_per_step: int = 1,
        cuts: Sequence[Cut] = (),
    ) -> Schedule:
        """The schedule of a run; arguments as of `ValueSchedule`. Raises ValueError for what makes no sense."""

        def values(parameter: Literal["lr", "momentum"], part: str | None) -> ValueSchedule:
            of_all = [spec for spec in schedules if spec.parameter == parameter and spec.part is None]
            own = [spec for spec in schedules if spec.parameter == parameter and spec.part == part]
            chosen = own or of_all
            made = [cut for cut in cuts if cut.rule in chosen]
            return ValueSchedule(chosen, epoch_length, iterations_per_step=iterations_per_step, cuts=made)

        def of(part: str | None) -> Schedule:
            moved = any(spec.parameter == "momentum" and spec.part in (None, part) for spec in schedules)
            return cls(values("lr", part), values("momentum", part) if moved else None)

        return replace(of(None), parts={part: of(part) for part in parts_of(schedules)})


def parts_of(schedules: Sequence[ScheduleSpec]) -> list[str]:
    """The parts of a network that have stretches of their own, in the order in which they are named."""
    return list(dict.fromkeys(spec.part for spec in schedules if spec.part is not None))


class ValueSchedule:
    """The learning rate, or the momentum, of a parameter group at a step: ``schedule(base, step)``.

    Where stretches overlap, each acts on what the other left, iteration by iteration; such a range is walked once and
    remembered.

    epoch_length: steps of one epoch, needed by stretches that count epochs. iterations_per_step: how many of the
    iterations that the other stretches count make up an optimizer step; the step takes the value of its last one.
    cuts: what has been decided so far; one comes when the stretches have moved on to the iteration that follows.
    """

    def __init__(
        self,
        schedules: Sequence[ScheduleSpec],
        epoch_length: int | None = None,
        *,
        iterations_per_step: int = 1,
        cuts: Sequence[Cut] = (),
    ) -> None:
        epoch = None if epoch_length is None else epoch_length * iterations_per_step
        stretches = [_Placed(spec, epoch) for spec in schedules if spec.type != PLATEAU]
        edges = sorted({0, *(e for s in stretches for e in (s.begin, s.end))})
        self._ranges = [
            (start, stop, [s for s in stretches if s.begin <= start < s.end])
            for start, stop in zip(edges, [*edges[1:], FOREVER], strict=True)
        ]
        self._walked: dict[tuple[float, int], list[float]] = {}
        self._iterations = iterations_per_step
        self._cuts = sorted(cuts, key=lambda cut: cut.step)

    def __call__(self, base: float, step: int) -> float:
        """The value that step `step` (the first is 0) uses for a group whose own value is `base`."""
        value, at, last = base, -1, (step + 1) * self._iterations - 1
        for cut in self._cuts:
            iteration = cut.step * self._iterations
            if iteration > last:
                break
            value, at = cut(self._moved(value, base, at, iteration)), iteration
        return self._moved(value, base, at, last)

    def _moved(self, value: float, base: float, since: int, last: int) -> float:
        """The value at iteration `last`, if it was `value` at the iteration `since`."""
        for start, stop, active in self._ranges:
            if last < start:
                break
            before, until = max(start - 1, since), min(last, stop - 1)
            if until <= before:
                continue
            if len(active) == 1:
                value = active[0].move(value, base, before, until)
            elif active:
                value = self._walk(value, base, before, until, active)
        return value

    def _walk(self, value: float, base: float, before: int, last: int, active: Sequence[_Placed]) -> float:
        values = self._walked.setdefault((base, before), [value])
        for iteration in range(before + len(values), last + 1):
            value = values[-1]
            for stretch in active:
                value = stretch.move(value, base, iteration - 1, iteration)
            values.append(value)
        return values[last - before]


class _Placed:
    """A stretch on the axis of iterations."""

    def __init__(self, spec: ScheduleSpec, epoch: int | None) -> None:
        self.curve = _checked(spec)
        self.unit = 1
        if spec.by_epoch:
            if epoch is None:
                raise ValueError(f"{spec.type} counts epochs (by_epoch=True), but the length of an epoch is not known")
            if spec.every_step:
                end = None if spec.end is None else spec.end * epoch
                spec = replace(spec, begin=spec.begin * epoch, end=end, args=in_steps(spec.args, epoch))
            else:
                self.unit = epoch
        self.args = spec.args
        self.first = spec.begin
        self.length = (FOREVER if spec.end is None else spec.end) - spec.begin
        self.begin = spec.begin * self.unit
        self.end = FOREVER if spec.end is None else min(FOREVER, spec.end * self.unit)

    def move(self, value: float, base: float, since: int, iteration: int) -> float:
        """The value at an iteration, if it was `value` at the iteration `since`."""
        t0, t = (max(-1, at // self.unit - self.first) for at in (since, iteration))
        a, b = self.curve(Stretch(self.length, base, self.args), t0, t)
        return a * value + b


def _checked(spec: ScheduleSpec) -> Curve:
    curve = CURVES.get(spec.type)
    if curve is None:
        raise ValueError(f"unknown schedule {spec.type!r}; known: {', '.join(sorted((*CURVES, PLATEAU)))}")
    where = f"{spec.type}(begin={spec.begin}, end={spec.end})"
    if spec.end is not None and spec.end <= spec.begin:
        raise ValueError(f"{where} is empty: its end must lie after its begin")
    short = spec.end is not None and spec.end - spec.begin < 2
    if spec.type == "LinearLR" and short and not (spec.by_epoch and spec.every_step):
        raise ValueError(
            f"{where} is too short to get from its start_factor to its end_factor; it needs 2 steps or more"
        )
    needed = NEEDED.get(spec.type)
    if needed is not None and needed not in spec.args:
        raise ValueError(f"{where} needs {needed}")
    weights = len(spec.args.get("restart_weights", (1.0,)))
    if spec.type == "CosineRestartLR" and len(spec.args["periods"]) != weights:
        raise ValueError(f"{where} has {len(spec.args['periods'])} periods, but {weights} restart_weights")
    return curve
