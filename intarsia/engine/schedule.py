"""Learning rates as pure functions of the step.

A schedule is a chain of stretches, each active in its own range [begin, end) of steps or epochs. Every type here
changes the rate by an affine map: going from the stretch's time t0 to t turns a rate r into ``a * r + b``, with a and b
in closed form. So stretches follow one another, each starting from the rate that the one before left, and no state is
kept: a resumed run asks for step 100,000 directly.

Types, arguments, defaults and the meaning of `begin` and `end` are those of OpenMMLab's schedulers, in particular: the
last step of a range has reached the end of the curve, milestones and periods count from `begin`, and after `end` the
rate stays where it is. Numbers agree with ``facts/schedules.json`` to the rounding of its step-by-step recursion.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from intarsia.spec import ScheduleSpec

Affine = tuple[float, float]
FOREVER = 10**9
"""The end of a stretch that has none; OpenMMLab's number, because open-ended curves are stretched over it."""


@dataclass(frozen=True)
class Stretch:
    """What a curve may depend on. length: of the range in its own unit. base_lr: of the parameter group.

    Time t counts from 0 at `begin`; -1 stands for "not begun".
    """

    length: int
    base_lr: float
    args: Mapping[str, Any]


Curve = Callable[[Stretch, int, int], Affine]


def _between(factor: Callable[[int], float], floor: float, t0: int, t: int) -> Affine:
    """The map of a curve that shrinks the distance to `floor` by factor(t), where factor is 1 before it begins."""
    if t == t0:
        return 1.0, 0.0
    before = 1.0 if t0 < 0 else factor(t0)
    ratio = factor(t) / before if before else 0.0
    return ratio, floor * (1.0 - ratio)


def _poly(s: Stretch, t0: int, t: int) -> Affine:
    power, total = s.args.get("power", 1.0), s.length - 1
    return _between(lambda t: (1.0 - t / total) ** power if t else 1.0, s.args.get("eta_min", 0.0), t0, t)


def _poly_ratio(s: Stretch, t0: int, t: int) -> Affine:
    ratio = s.args.get("eta_min_ratio")
    floor = s.args.get("eta_min", 0.0) if ratio is None else s.base_lr * ratio
    return _poly(replace(s, args={**s.args, "eta_min": floor}), t0, t)


def _linear(s: Stretch, t0: int, t: int) -> Affine:
    start, end, total = s.args.get("start_factor", 1 / 3), s.args.get("end_factor", 1.0), s.length - 1
    return _between(lambda t: start + (end - start) * t / total, 0.0, t0, t)


def _constant(s: Stretch, t0: int, t: int) -> Affine:
    factor, last = s.args.get("factor", 1 / 3), s.length - 1
    return _between(lambda t: factor if t < last else 1.0, 0.0, t0, t)


def _multi_step(s: Stretch, t0: int, t: int) -> Affine:
    milestones, gamma = s.args["milestones"], s.args.get("gamma", 0.1)
    return _between(lambda t: gamma ** sum(m <= t for m in milestones if m > 0), 0.0, t0, t)


def _step(s: Stretch, t0: int, t: int) -> Affine:
    size, gamma = s.args["step_size"], s.args.get("gamma", 0.1)
    return _between(lambda t: gamma ** (t // size), 0.0, t0, t)


def _exponential(s: Stretch, t0: int, t: int) -> Affine:
    gamma = s.args["gamma"]
    return _between(lambda t: gamma**t, 0.0, t0, t)


def _cosine(s: Stretch, t0: int, t: int) -> Affine:
    period = s.args.get("T_max") or s.length
    ratio = s.args.get("eta_min_ratio")
    floor = (s.args.get("eta_min") or 0.0) if ratio is None else s.base_lr * ratio
    return _between(lambda t: (1.0 + math.cos(math.pi * t / period)) / 2.0, floor, t0, t)


def _one_cycle(s: Stretch, t0: int, t: int) -> Affine:
    """Smith and Topin, "Super-Convergence", arXiv 1708.07120: up to eta_max, down far below the start. Absolute."""
    if t == t0:
        return 1.0, 0.0
    total = s.args.get("total_steps") or s.length
    peak = s.args["eta_max"]
    first = peak / s.args.get("div_factor", 25.0)
    last = first / s.args.get("final_div_factor", 1e4)
    rise = s.args.get("pct_start", 0.3) * total - 1
    if s.args.get("three_phase", False):
        turns = [(0.0, first), (rise, peak), (2 * rise, first), (total - 1.0, last)]
    else:
        turns = [(0.0, first), (rise, peak), (total - 1.0, last)]
    for (left, low), (right, high) in itertools.pairwise(turns):
        if t <= right or right == turns[-1][0]:
            share = (t - left) / (right - left) if right > left else 1.0
            if s.args.get("anneal_strategy", "cos") == "cos":
                share = (1.0 - math.cos(math.pi * share)) / 2.0
            return 0.0, low + (high - low) * share
    raise AssertionError("the last turn takes every later step")


CURVES: dict[str, Curve] = {
    "ConstantLR": _constant,
    "CosineAnnealingLR": _cosine,
    "ExponentialLR": _exponential,
    "LinearLR": _linear,
    "MultiStepLR": _multi_step,
    "OneCycleLR": _one_cycle,
    "PolyLR": _poly,
    "PolyLRRatio": _poly_ratio,
    "StepLR": _step,
}
"""Every type of schedule. A new one is a function here."""

_IN_TIME = ("step_size", "T_max", "total_steps")
_NEEDED = {
    "MultiStepLR": "milestones", "StepLR": "step_size", "ExponentialLR": "gamma", "OneCycleLR": "eta_max",
}  # fmt: skip


class LearningRate:
    """The rate of a parameter group at a step: ``rate(base_lr, step)``.

    Where stretches overlap, each acts on what the other left, step by step; such a range is walked once and remembered.

    epoch_length: steps of one epoch, needed by stretches that count epochs.
    """

    def __init__(self, schedules: Sequence[ScheduleSpec], epoch_length: int | None = None) -> None:
        self._stretches = [_Placed(spec, epoch_length) for spec in schedules]
        edges = sorted({0, *(e for s in self._stretches for e in (s.begin, s.end))})
        self._ranges = [
            (start, stop, [s for s in self._stretches if s.begin <= start < s.end])
            for start, stop in zip(edges, [*edges[1:], FOREVER], strict=True)
        ]
        self._walked: dict[tuple[float, int], list[float]] = {}

    def __call__(self, base_lr: float, step: int) -> float:
        """The learning rate that step `step` (the first is 0) uses for a group whose own rate is `base_lr`."""
        rate = base_lr
        for start, stop, active in self._ranges:
            if step < start:
                break
            if len(active) == 1:
                rate = active[0].move(rate, base_lr, start - 1, min(step, stop - 1))
            elif active:
                rate = self._walk(rate, base_lr, start, min(step, stop - 1), active)
        return rate

    def _walk(self, rate: float, base_lr: float, start: int, last: int, active: Sequence[_Placed]) -> float:
        rates = self._walked.setdefault((base_lr, start), [rate])
        for step in range(start + len(rates) - 1, last + 1):
            rate = rates[-1]
            for stretch in active:
                rate = stretch.move(rate, base_lr, step - 1, step)
            rates.append(rate)
        return rates[last - start + 1]


class _Placed:
    """A stretch on the axis of steps."""

    def __init__(self, spec: ScheduleSpec, epoch_length: int | None) -> None:
        self.curve = _checked(spec)
        self.args = spec.args
        self.unit = 1
        if spec.by_epoch:
            if epoch_length is None:
                raise ValueError(f"{spec.type} counts epochs (by_epoch=True), but the length of an epoch is not known")
            self.unit = epoch_length
        self.first = spec.begin
        self.length = (FOREVER if spec.end is None else spec.end) - spec.begin
        self.begin = spec.begin * self.unit
        self.end = FOREVER if spec.end is None else min(FOREVER, spec.end * self.unit)

    def move(self, rate: float, base_lr: float, since: int, step: int) -> float:
        """The rate at `step`, if it was `rate` at the step `since`."""
        t0, t = (max(-1, at // self.unit - self.first) for at in (since, step))
        a, b = self.curve(Stretch(self.length, base_lr, self.args), t0, t)
        return a * rate + b


def _checked(spec: ScheduleSpec) -> Curve:
    curve = CURVES.get(spec.type)
    if curve is None:
        raise ValueError(f"unknown schedule {spec.type!r}; known: {', '.join(sorted(CURVES))}")
    where = f"{spec.type}(begin={spec.begin}, end={spec.end})"
    if spec.parameter != "lr":
        raise ValueError(f"{where} schedules the {spec.parameter}; only learning rates are scheduled here")
    if spec.end is not None and spec.end <= spec.begin:
        raise ValueError(f"{where} is empty: its end must lie after its begin")
    if spec.type == "LinearLR" and spec.end is not None and spec.end - spec.begin < 2:
        raise ValueError(
            f"{where} is too short to get from its start_factor to its end_factor; it needs 2 steps or more"
        )
    needed = _NEEDED.get(spec.type)
    if needed is not None and needed not in spec.args:
        raise ValueError(f"{where} needs {needed}")
    return curve


def learning_rates(
    schedules: Sequence[ScheduleSpec], base_lr: float, step: int, epoch_length: int | None = None
) -> float:
    """One value of `LearningRate`, for those who want no more than that."""
    return LearningRate(schedules, epoch_length)(base_lr, step)


def rescale(schedules: Sequence[ScheduleSpec], old_total: int, new_total: int) -> tuple[ScheduleSpec, ...]:
    """The same curves for a run of another length: every begin, end, milestone and period in proportion.

    A stretch that would become shorter than two steps (a warm-up of 1,500 of 160,000 steps in 100) is left out.
    """
    if old_total == new_total:
        return tuple(schedules)

    def scaled(time: int) -> int:
        return round(time * new_total / old_total)

    result = []
    for spec in schedules:
        begin, end = scaled(spec.begin), None if spec.end is None else scaled(spec.end)
        if end is not None and end - begin < 2:
            continue
        args = dict(spec.args)
        for name in _IN_TIME:
            if args.get(name) is not None:
                args[name] = max(1, scaled(args[name]))
        if "milestones" in args:
            args["milestones"] = tuple(scaled(m) for m in args["milestones"])
        result.append(replace(spec, begin=begin, end=end, args=args))
    return tuple(result)
