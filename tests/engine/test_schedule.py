from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from intarsia.engine.schedule import LearningRate, learning_rates, rescale
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
        rate = LearningRate([spec(entry) for entry in configs[name]["param_scheduler"]])
        for step, rates in fact["lr"].items():
            found = [rate(fact["base_lr"] * multiple, int(step)) for multiple in (1, 10)]
            assert found == pytest.approx(rates, rel=1e-11, abs=0), f"{name} at step {step}"


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
    rate = LearningRate(schedules)
    expected = recursive(schedules, 0.01, 80)
    # In any order of asking: the rate is a function of the step.
    found = {step: rate(0.01, step) for step in reversed(range(80))}
    assert [found[step] for step in range(80)] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_epochs_hold_their_rate_until_they_end() -> None:
    rate = LearningRate([ScheduleSpec("MultiStepLR", by_epoch=True, args={"milestones": (2,)})], epoch_length=10)
    assert [rate(1.0, step) for step in (0, 19, 20, 35)] == pytest.approx([1, 1, 0.1, 0.1])
    with pytest.raises(ValueError, match="length of an epoch"):
        LearningRate([ScheduleSpec("PolyLR", 0, 10, by_epoch=True)])


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (
            ScheduleSpec("StepLR", args={"step_size": 7, "gamma": 0.3}),
            lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.3),
        ),
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
        assert learning_rates([spec], 0.5, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        scheduler.step()


def test_constant_and_open_ended() -> None:
    constant = ScheduleSpec("ConstantLR", 0, 5, args={"factor": 0.1})
    assert [learning_rates([constant], 1.0, s) for s in range(6)] == pytest.approx([0.1, 0.1, 0.1, 0.1, 1, 1])
    assert learning_rates([], 0.3, 10**6) == 0.3
    assert math.isclose(learning_rates([ScheduleSpec("PolyLR", 0, None)], 1.0, 1000), 1.0, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (ScheduleSpec("WarmupLR"), "unknown schedule 'WarmupLR'; known: ConstantLR"),
        (ScheduleSpec("PolyLR", 10, 10), "is empty"),
        (ScheduleSpec("LinearLR", 0, 1), "2 steps or more"),
        (ScheduleSpec("MultiStepLR"), "needs milestones"),
        (ScheduleSpec("PolyLR", 0, 9, parameter="momentum"), "schedules the momentum"),
    ],
)
def test_schedules_that_make_no_sense(schedule: ScheduleSpec, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LearningRate([schedule])


def test_rescaling_keeps_the_shape() -> None:
    schedules = (
        ScheduleSpec("LinearLR", 0, 1500, args={"start_factor": 1e-6}),
        ScheduleSpec("PolyLR", 1500, 160_000, args={"power": 1.0}),
    )
    shorter = rescale(schedules, 160_000, 16_000)
    assert [(s.begin, s.end) for s in shorter] == [(0, 150), (150, 16_000)]
    long, short = LearningRate(schedules), LearningRate(shorter)
    assert short(1.0, 8000) == pytest.approx(long(1.0, 80_000), abs=1e-3)
    assert short(1.0, 15_999) == pytest.approx(0, abs=1e-9)
    # A warm-up of less than two steps is none.
    tiny = rescale(schedules, 160_000, 100)
    assert [s.type for s in tiny] == ["PolyLR"]
    assert LearningRate(tiny)(1.0, 0) == 1.0
    assert rescale(schedules, 160_000, 160_000) == schedules
    stepped = rescale([ScheduleSpec("MultiStepLR", 1000, 80_000, args={"milestones": [60_000, 72_000]})], 80_000, 8000)
    assert stepped[0].args["milestones"] == (6000, 7200)
