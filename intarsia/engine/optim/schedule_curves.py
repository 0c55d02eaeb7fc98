"""Curves of learning rate and momentum, as maps from one moment to a later one.

Every curve here changes its value by an affine map: going from time t0 to t turns a value v into ``a * v + b``, with a
and b in closed form. `schedules.py` puts them one behind the other on the axis of steps.

Types, arguments and defaults are those of OpenMMLab's schedulers; WarmupPolyLR is ours. "LR" and "Momentum" in a name
say what is moved; the curve is the same, except for one-cycle, where they move against each other.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Affine = tuple[float, float]


@dataclass(frozen=True)
class Stretch:
    """What a curve may depend on. length: of its range in its own unit. base: the value of the parameter group.

    Time t counts from 0 where the range begins; -1 stands for "not begun".
    """

    length: int
    base: float
    args: Mapping[str, Any]

    @property
    def floor(self) -> float:
        """The value that the curve goes down to."""
        ratio = self.args.get("eta_min_ratio")
        return float(self.args.get("eta_min") or 0.0) if ratio is None else float(self.base * ratio)


Curve = Callable[[Stretch, int, int], Affine]
"""(stretch, time t0, later time t) -> (a, b)."""


def _between(factor: Callable[[int], float], floor: float, t0: int, t: int) -> Affine:
    """The map of a curve that shrinks the distance to `floor` by factor(t), where factor is 1 before it begins."""
    if t == t0:
        return 1.0, 0.0
    before = 1.0 if t0 < 0 else factor(t0)
    ratio = factor(t) / before if before else 0.0
    return ratio, floor * (1.0 - ratio)


def _poly(s: Stretch, t0: int, t: int) -> Affine:
    power, total = s.args.get("power", 1.0), s.length - 1
    return _between(lambda t: (1.0 - t / total) ** power if t else 1.0, s.floor, t0, t)


def _warm_up_and_poly(s: Stretch, t0: int, t: int) -> Affine:
    """Nothing for `delay`, up along a line for `warm_up`, then down by a power, to its end with the range. Absolute.

    Kerssies et al., EoMT, arXiv:2503.19108: first the heads, then the transformer.
    """
    if t == t0:
        return 1.0, 0.0
    delay, warm_up = s.args.get("delay", 0), s.args.get("warm_up", 0)
    if t < delay + warm_up:
        return 0.0, s.base * max(t - delay, 0) / warm_up if warm_up else 0.0
    share = (t - delay - warm_up) / max(s.length - delay - warm_up, 1)
    return 0.0, s.floor + (s.base - s.floor) * max(1.0 - share, 0.0) ** s.args.get("power", 1.0)


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
    """Loshchilov and Hutter, "SGDR", arXiv 1608.03983, a single period."""
    period = s.args.get("T_max") or s.length
    return _between(lambda t: _half_wave(t / period), s.floor, t0, t)


def _cosine_restart(s: Stretch, t0: int, t: int) -> Affine:
    """The same paper's warm restarts: each period begins anew at its weight times the group's own value."""
    ends = list(itertools.accumulate(s.args["periods"]))
    t0, t = (min(moment, ends[-1] - 1) for moment in (t0, t))
    if t == t0:
        return 1.0, 0.0
    number = bisect.bisect_right(ends, t)
    begin = ends[number - 1] if number else 0

    def share(moment: int) -> float:
        return _half_wave((moment - begin) / s.args["periods"][number])

    if t0 >= begin:
        return _between(share, s.floor, t0, t)
    top = s.base * s.args.get("restart_weights", (1.0,))[number]
    return 0.0, s.floor + (top - s.floor) * share(t)


def _one_cycle(s: Stretch, t0: int, t: int) -> Affine:
    """Smith and Topin, "Super-Convergence", arXiv 1708.07120: up to eta_max, down far below the start. Absolute."""
    if t == t0:
        return 1.0, 0.0
    peak = s.args["eta_max"]
    first = peak / s.args.get("div_factor", 25.0)
    last = first / s.args.get("final_div_factor", 1e4)
    return 0.0, _cycle(s, t, first, peak, last)


def _one_cycle_momentum(s: Stretch, t0: int, t: int) -> Affine:
    """The same paper's momentum: down to base_momentum while the learning rate rises, and up again. Absolute."""
    if t == t0:
        return 1.0, 0.0
    high, low = s.args.get("max_momentum", 0.95), s.args.get("base_momentum", 0.85)
    return 0.0, _cycle(s, t, high, low, high)


def _cycle(s: Stretch, t: int, first: float, turn: float, last: float) -> float:
    """From `first` to `turn` and on to `last`; with three phases there is a second `first` in between."""
    total = s.args.get("total_steps") or s.length
    rise = s.args.get("pct_start", 0.3) * total - 1
    points = [(0.0, first), (rise, turn), (total - 1.0, last)]
    if s.args.get("three_phase", False):
        points.insert(2, (2 * rise, first))
    for (left, low), (right, high) in itertools.pairwise(points):
        if t <= right or right == points[-1][0]:
            share = (t - left) / (right - left) if right > left else 1.0
            if s.args.get("anneal_strategy", "cos") == "cos":
                share = 1.0 - _half_wave(share)
            return low + (high - low) * share
    raise AssertionError("the last phase takes every later step")


def _half_wave(share: float) -> float:
    """From 1 at share 0 to 0 at share 1, along a cosine."""
    return (1.0 + math.cos(math.pi * share)) / 2.0


CURVES: dict[str, Curve] = {
    "ConstantLR": _constant,
    "CosineAnnealingLR": _cosine,
    "CosineRestartLR": _cosine_restart,
    "ExponentialLR": _exponential,
    "LinearLR": _linear,
    "MultiStepLR": _multi_step,
    "OneCycleLR": _one_cycle,
    "OneCycleMomentum": _one_cycle_momentum,
    "PolyLR": _poly,
    "PolyLRRatio": _poly,
    "StepLR": _step,
    "WarmupPolyLR": _warm_up_and_poly,
}
"""Every type of schedule. A new one is a function here."""

NEEDED = {
    "CosineRestartLR": "periods",
    "ExponentialLR": "gamma",
    "MultiStepLR": "milestones",
    "OneCycleLR": "eta_max",
    "StepLR": "step_size",
}
"""Type -> the argument that it cannot do without."""

_COUNTS = ("T_max", "delay", "milestones", "periods", "step_size", "total_steps", "warm_up")


def in_steps(args: Mapping[str, Any], epoch_length: int) -> dict[str, Any]:
    """The arguments of a curve that counts epochs, for the same curve counting steps."""

    def longer(value: int | Sequence[int]) -> int | tuple[int, ...]:
        return value * epoch_length if isinstance(value, int) else tuple(count * epoch_length for count in value)

    return {name: longer(value) if name in _COUNTS and value is not None else value for name, value in args.items()}
