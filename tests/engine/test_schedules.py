from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from intarsia.engine.optim.schedule_curves import CURVES
from intarsia.engine.optim.schedules import Schedule, ValueSchedule
from intarsia.spec import ScheduleSpec


def spec(entry: dict[str, object]) -> ScheduleSpec:
    own = ("type", "begin", "end", "by_epoch")
    args = {k: v for k, v in entry.items() if k not in own}
    return ScheduleSpec(entry["type"], entry.get("begin", 0), entry.get("end"), entry.get("by_epoch", True), args=args)  # type: ignore[arg-type]


def test_all_schedules_of_the_original(shared: Path) -> None:
    facts = json.loads((shared / "facts/schedules.json").read_text())
    configs = json.loads(gzip.decompress((shared / "facts/mmseg_configs.json.gz").read_bytes()))
    assert len(facts) == 38
    for name, fact in facts.items():
        rate = ValueSchedule([spec(entry) for entry in configs[name]["param_scheduler"]])
        for step, rates in fact["lr"].items():
            found = [rate(fact["base_lr"] * multiple, int(step)) for multiple in (1, 10)]
            assert found == pytest.approx(rates, rel=1e-11, abs=0), f"{name} at step {step}"


def value(schedules: list[ScheduleSpec], base: float, step: int) -> float:
    return ValueSchedule(schedules)(base, step)


def recursive(schedules: list[ScheduleSpec], base_lr: float, steps: int) -> list[float]:
    """Step by step, as a stateful trainer does it: each schedule changes what it finds."""
    rate, rates = base_lr, []
    for step in range(steps):
        for s in schedules:
            t = step - s.begin
            if t < 0 or (s.end is not None and step >= s.end):
                continue
            total = (s.end or 10**9) - s.begin - 1
            if s.type == "LinearLR":
                start, end = s.args["start_factor"], s.args["end_factor"]
                here = start + (end - start) * t / total
                rate *= here if t == 0 else here / (start + (end - start) * (t - 1) / total)
            elif s.type == "PolyLR" and t > 0:
                eta = s.args["eta_min"]
                rate = (rate - eta) * (1 - 1 / (total - t + 1)) ** s.args["power"] + eta
            elif s.type == "MultiStepLR":
                rate *= s.args["gamma"] ** s.args["milestones"].count(t)
        rates.append(rate)
    return rates


@given(
    warm_up=st.integers(2, 30),
    start=st.floats(1e-6, 1.0),
    begin=st.integers(0, 40),
    length=st.integers(2, 60),
    eta=st.floats(0, 1e-3),
    power=st.floats(0.5, 2.0),
    milestones=st.lists(st.integers(1, 50), max_size=3, unique=True),
)
def test_closed_forms_equal_the_recursion_even_where_stretches_overlap(
    warm_up: int, start: float, begin: int, length: int, eta: float, power: float, milestones: list[int]
) -> None:
    schedules = [
        ScheduleSpec("LinearLR", 0, warm_up, args={"start_factor": start, "end_factor": 1.0}),
        ScheduleSpec("PolyLR", begin, begin + length, args={"eta_min": eta, "power": power}),
        ScheduleSpec("MultiStepLR", 5, None, args={"milestones": milestones, "gamma": 0.5}),
    ]
    rate = ValueSchedule(schedules)
    expected = recursive(schedules, 0.01, 80)
    # In any order of asking: the rate is a function of the step.
    found = {step: rate(0.01, step) for step in reversed(range(80))}
    assert [found[step] for step in range(80)] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_epochs_hold_their_rate_until_they_end() -> None:
    rate = ValueSchedule([ScheduleSpec("MultiStepLR", by_epoch=True, args={"milestones": (2,)})], epoch_length=10)
    assert [rate(1.0, step) for step in (0, 19, 20, 35)] == pytest.approx([1, 1, 0.1, 0.1])
    with pytest.raises(ValueError, match="length of an epoch"):
        ValueSchedule([ScheduleSpec("PolyLR", 0, 10, by_epoch=True)])


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (
            ScheduleSpec("StepLR", args={"step_size": 7, "gamma": 0.3}),
            lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.3),
        ),
        (ScheduleSpec("StepLR", args={"step_size": 9}), lambda o: torch.optim.lr_scheduler.StepLR(o, 9)),
        (
            ScheduleSpec("ExponentialLR", args={"gamma": 0.97}),
            lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.97),
        ),
        (
            ScheduleSpec("CosineAnnealingLR", args={"T_max": 40, "eta_min": 0.01}),
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 40, 0.01),
        ),
        (
            ScheduleSpec("OneCycleLR", 0, 50, args={"eta_max": 0.7}),
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.7, total_steps=50, cycle_momentum=False),
        ),
        (
            ScheduleSpec("OneCycleLR", 0, 50, args={"eta_max": 0.7, "three_phase": True, "anneal_strategy": "linear"}),
            lambda o: torch.optim.lr_scheduler.OneCycleLR(
                o, 0.7, total_steps=50, cycle_momentum=False, three_phase=True, anneal_strategy="linear"
            ),
        ),
        (
            ScheduleSpec("MultiStepLR", args={"milestones": [10, 30], "gamma": 0.2}),
            lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [10, 30], 0.2),
        ),
    ],
    ids=lambda v: v.type if isinstance(v, ScheduleSpec) else "",
)
def test_other_curves_agree_with_torch(spec: ScheduleSpec, reference: object) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = reference(optimizer)  # type: ignore[operator]
    for step in range(40):
        assert value([spec], 0.5, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        scheduler.step()


def test_a_curve_of_one_step_leaves_the_rate_as_it_is() -> None:
    assert [value([ScheduleSpec("PolyLR", 2, 3, args={"power": 0.9})], 0.5, step) for step in range(5)] == [0.5] * 5


@pytest.mark.parametrize(
    ("curve", "args"),
    [("OneCycleLR", {"eta_max": 0.8}), ("OneCycleMomentum", {"base_momentum": 0.8, "max_momentum": 0.9})],
)
def test_a_cycle_by_epochs_sets_nothing_within_an_epoch(curve: str, args: dict[str, float]) -> None:
    """What another schedule makes of it in the middle of an epoch stays until the next one."""
    cycle = ScheduleSpec(curve, 0, 5, by_epoch=True, args=args)
    halved = ScheduleSpec("MultiStepLR", 0, 12, args={"milestones": [5], "gamma": 0.5})

    def rates(*schedules: ScheduleSpec) -> list[float]:
        return [ValueSchedule(schedules, 4)(0.5, step) for step in range(12)]

    alone, both = rates(cycle), rates(cycle, halved)
    assert [len(set(alone[epoch : epoch + 4])) for epoch in (0, 4, 8)] == [1, 1, 1]
    assert len(set(alone)) == 3
    assert both == pytest.approx([*alone[:5], *(rate / 2 for rate in alone[5:8]), *alone[8:]], rel=1e-12)


def test_constant_and_open_ended() -> None:
    constant = ScheduleSpec("ConstantLR", 0, 5, args={"factor": 0.1})
    assert [value([constant], 1.0, s) for s in range(6)] == pytest.approx([0.1, 0.1, 0.1, 0.1, 1, 1])
    assert value([], 0.3, 10**6) == 0.3
    assert math.isclose(value([ScheduleSpec("PolyLR", 0, None)], 1.0, 1000), 1.0, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (ScheduleSpec("WarmupLR"), "unknown schedule 'WarmupLR'; known: ConstantLR"),
        (ScheduleSpec("PolyLR", 10, 10), "is empty"),
        (ScheduleSpec("LinearLR", 0, 1), "2 steps or more"),
        (ScheduleSpec("MultiStepLR"), "needs milestones"),
        (ScheduleSpec("CosineRestartLR"), "needs periods"),
        (ScheduleSpec("CosineRestartLR", args={"periods": (3, 4)}), "has 2 periods, but 1 restart_weights"),
    ],
)
def test_schedules_that_make_no_sense(schedule: ScheduleSpec, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ValueSchedule([schedule])


@pytest.mark.parametrize("delay", [0, 5])
@pytest.mark.parametrize("warm_up", [0, 8])
def test_warm_up_and_power_of_one_stretch(delay: int, warm_up: int) -> None:
    """As published, the last step does not reach the end of the curve; after it the value stays there."""
    args = {"delay": delay, "warm_up": warm_up, "power": 0.9, "eta_min": 0.01}
    schedule = ScheduleSpec("WarmupPolyLR", 0, 50, args=args)
    expected = []
    for step in range(50):
        if step < delay + warm_up:
            expected.append(0.3 * max(step - delay, 0) / warm_up if warm_up else 0.0)
        else:
            share = (step - delay - warm_up) / (50 - delay - warm_up)
            expected.append(0.01 + 0.29 * (1 - share) ** 0.9)
    assert [value([schedule], 0.3, step) for step in range(50)] == pytest.approx(expected, rel=1e-12)
    assert value([schedule], 0.3, 49) == value([schedule], 0.3, 80)
    in_epochs = ScheduleSpec(
        "WarmupPolyLR", 0, 5, True, True, args={**args, "delay": delay // 5, "warm_up": warm_up // 8}
    )
    in_steps = replace(schedule, args={**args, "delay": delay // 5 * 10, "warm_up": warm_up // 8 * 10})
    for step in range(60):
        assert ValueSchedule([in_epochs], 10)(0.3, step) == pytest.approx(value([in_steps], 0.3, step))


# --- Momentum -----------------------------------------------------------------------------------------------------

ARGS = {
    "CosineRestartLR": {"periods": (4, 9), "restart_weights": (1.0, 0.5), "eta_min": 0.1},
    "ExponentialLR": {"gamma": 0.9},
    "MultiStepLR": {"milestones": (3, 5)},
    "OneCycleLR": {"eta_max": 0.7},
    "PolyLR": {"eta_min": 0.2, "power": 0.9},
    "StepLR": {"step_size": 3},
    "WarmupPolyLR": {"delay": 2, "warm_up": 3, "power": 0.9, "eta_min": 0.1},
}


@pytest.mark.parametrize("curve", sorted(set(CURVES) - {"OneCycleMomentum"}))
def test_every_curve_moves_momenta_as_it_moves_rates(curve: str) -> None:
    rates = ScheduleSpec(curve, 1, 12, args=ARGS.get(curve, {}))
    momenta = replace(rates, parameter="momentum")
    both = Schedule.of([momenta, rates])
    assert both.momentum is not None
    for step in range(14):
        assert both.lr(0.9, step) == both.momentum(0.9, step) == value([rates], 0.9, step)
    assert len({both.lr(0.9, step) for step in range(14)}) > 1
    only_momentum = Schedule.of([momenta])
    assert only_momentum.lr(0.1, 7) == 0.1
    assert Schedule.of([rates]).momentum is None


def test_chained_momenta() -> None:
    """Up from a third, held, down a cosine to a floor, held."""
    chain = [
        ScheduleSpec("LinearLR", 0, 5, args={"start_factor": 0.5, "end_factor": 1.0}, parameter="momentum"),
        ScheduleSpec("CosineAnnealingLR", 8, 13, args={"T_max": 4, "eta_min": 0.5}, parameter="momentum"),
    ]
    cosine = [0.5 + 0.4 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
    expected = [0.45, 0.5625, 0.675, 0.7875, 0.9, 0.9, 0.9, 0.9, *cosine, 0.5, 0.5]
    course = ValueSchedule(chain)
    assert [course(0.9, step) for step in range(15)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
def test_one_cycle_moves_rate_and_momentum_against_each_other(three_phase: bool, anneal_strategy: str) -> None:
    shape = {"three_phase": three_phase, "anneal_strategy": anneal_strategy, "pct_start": 0.4}
    schedule = Schedule.of(
        [
            ScheduleSpec("OneCycleLR", 0, 50, args={"eta_max": 0.7, **shape}),
            ScheduleSpec(
                "OneCycleMomentum", 0, 50, args={"max_momentum": 0.9, "base_momentum": 0.8, **shape},
                parameter="momentum",
            ),
        ]
    )  # fmt: skip
    assert schedule.momentum is not None
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5, momentum=0.3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.7, total_steps=50, base_momentum=0.8, max_momentum=0.9, **shape
    )
    for step in range(50):
        group = optimizer.param_groups[0]
        assert schedule.lr(0.5, step) == pytest.approx(group["lr"], rel=1e-9), step
        assert schedule.momentum(0.3, step) == pytest.approx(group["momentum"], rel=1e-9), step
        optimizer.step()
        if step < 49:
            scheduler.step()


# --- Restarts, epochs, iterations ---------------------------------------------------------------------------------


def test_restarts_begin_at_their_weights() -> None:
    restart = ScheduleSpec("CosineRestartLR", args={"periods": (4, 2, 3), "restart_weights": (1, 0.5, 2.0)})
    found = [value([restart], 0.8, step) for step in range(12)]
    falling = [math.cos(math.pi * t / (2 * 4)) ** 2 for t in range(4)]
    expected = [0.8 * f for f in falling] + [0.4, 0.2] + [1.6, 1.6 * 0.75, 1.6 * 0.25]
    assert found == pytest.approx([*expected, *expected[-1:] * 3], rel=1e-12)


def test_equal_restarts_agree_with_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 7, eta_min=0.01)
    restart = ScheduleSpec("CosineRestartLR", args={"periods": (7,) * 4, "restart_weights": (1,) * 4, "eta_min": 0.01})
    for step in range(28):
        assert value([restart], 0.5, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        scheduler.step()


LENGTH = 6
EPOCHS = [
    ScheduleSpec("LinearLR", 0, 2, by_epoch=True, every_step=True, args={"start_factor": 0.1}),
    ScheduleSpec("MultiStepLR", 2, 9, by_epoch=True, every_step=True, args={"milestones": (1, 2), "gamma": 0.5}),
    ScheduleSpec("CosineAnnealingLR", 5, 9, by_epoch=True, every_step=True, args={"T_max": 4, "eta_min": 1e-3}),
]
STEPS = [
    ScheduleSpec("LinearLR", 0, 12, args={"start_factor": 0.1}),
    ScheduleSpec("MultiStepLR", 12, 54, args={"milestones": (6, 12), "gamma": 0.5}),
    ScheduleSpec("CosineAnnealingLR", 30, 54, args={"T_max": 24, "eta_min": 1e-3}),
]


def test_epochs_can_be_followed_step_by_step() -> None:
    epochs, steps = ValueSchedule(EPOCHS, LENGTH), ValueSchedule(STEPS)
    for step in range(60):
        assert epochs(0.3, step) == steps(0.3, step)
    assert len({epochs(0.3, step) for step in range(12)}) == 12
    with pytest.raises(ValueError, match="length of an epoch"):
        ValueSchedule(EPOCHS)


@given(parts=st.integers(1, 5), step=st.integers(0, 40))
def test_an_optimizer_step_takes_the_rate_of_its_last_iteration(parts: int, step: int) -> None:
    """As where gradients are added up over `parts` iterations, and the schedule moves with every one of them."""
    assert ValueSchedule(STEPS, iterations_per_step=parts)(0.3, step) == ValueSchedule(STEPS)(
        0.3, (step + 1) * parts - 1
    )


def test_epochs_do_not_depend_on_iterations_per_step() -> None:
    held = [ScheduleSpec("PolyLR", 0, 4, by_epoch=True, args={"power": 1.0})]
    for step in range(30):
        assert ValueSchedule(held, LENGTH, iterations_per_step=3)(1.0, step) == ValueSchedule(held, LENGTH)(1.0, step)
