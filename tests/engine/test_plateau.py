"""Learning rates that fall when a score no longer improves: against torch, against MMEngine, and in whole runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from standins import SGD, tiny_run, tiny_task
from test_early_stopping import Scores, stop_at
from test_processes import in_two_processes
from test_train import lines, same
from torch.optim.lr_scheduler import ReduceLROnPlateau

from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.optim.plateau import PLATEAU, Plateaus
from intarsia.engine.optim.schedules import Schedule
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.engine.training.loop import train
from intarsia.spec import ScheduleSpec


def rates(
    schedules: list[ScheduleSpec], scores: list[float], *, base: float, steps: int, every: int, iterations: int = 1
) -> list[tuple[float, float | None]]:
    """Learning rate and momentum of each step, with an evaluation after each epoch of `every` steps."""
    rules = Plateaus(schedules, every, iterations_per_step=iterations)
    found = []
    for step in range(steps):
        schedule = Schedule.of(schedules, every, iterations_per_step=iterations, cuts=rules.cuts)
        found.append((schedule.lr(base, step), schedule.momentum and schedule.momentum(0.9, step)))
        if (step + 1) % every == 0:
            rules.update({"mIoU": scores[step // every]}, step + 1)
    return found


@given(
    scores=st.lists(st.one_of(st.floats(-2, 2), st.just(float("nan"))), min_size=1, max_size=40),
    rule=st.sampled_from(["less", "greater"]),
    threshold_rule=st.sampled_from(["rel", "abs"]),
    threshold=st.floats(0, 0.5),
    factor=st.floats(0.05, 0.95),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    min_value=st.sampled_from([0.0, 0.01, 0.2]),
    eps=st.sampled_from([1e-8, 1e-2]),
)
def test_the_rule_is_that_of_torch(scores: list[float], rule: str, **args: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = ReduceLROnPlateau(
        optimizer, "min" if rule == "less" else "max", args["factor"], args["patience"], args["threshold"],
        args["threshold_rule"], args["cooldown"], args["min_value"], args["eps"],
    )  # fmt: skip
    expected = []
    for score in scores:
        expected.append(optimizer.param_groups[0]["lr"])
        theirs.step(score)
    spec = ScheduleSpec(PLATEAU, args={"monitor": "mIoU", "rule": rule, **args})
    assert [rate for rate, _ in rates([spec], scores, base=0.3, steps=len(scores), every=1)] == expected


WARM_UP = ScheduleSpec("LinearLR", 0, 6, args={"start_factor": 0.1})
HALVED = {"monitor": "mIoU", "rule": "greater", "factor": 0.5, "patience": 1, "cooldown": 1}
SCORES = [10, 20, 20.001, 19, 18, 21, 21, 21, 21, 21]
"""Of evaluations after each 4 of 40 iterations; the numbers below are what MMEngine 0.10.7 gives with them."""


def test_warm_up_and_polynomial_go_on_from_what_a_cut_leaves() -> None:
    poly = ScheduleSpec("PolyLR", 6, 40, args={"eta_min": 1e-3, "power": 0.9})
    schedules = [WARM_UP, poly, ScheduleSpec(PLATEAU, by_epoch=True, args=HALVED)]
    for base, expected in (
        (0.1, [0.01, 0.064, 0.1, 0.09186189244991982, 0.08364185110774863, 0.07532976611289921, 0.03349572544828657,
               0.029286168629602292, 0.02500551373831375, 0.02063776203068093, 0.016158182447017163,
               0.005826578983592082, 0.003586499634724694, 0.001]),
        (0.01, [0.001, 0.0064, 0.01, 0.0092601720409018, 0.008512895555249873, 0.007757251464809017,
                0.0035353443620765187, 0.0032069111297095003, 0.002872930764756733, 0.002532155031513921,
                0.002182654391499317, 0.00097530170738744, 0.0009867645127039511, 0.001]),
    ):  # fmt: skip
        found = [rate for rate, _ in rates(schedules, SCORES, base=base, steps=40, every=4)][::3]
        assert found == pytest.approx(expected, rel=1e-12, abs=0)


def test_a_least_value_while_warm_up_goes_on_and_a_momentum_of_its_own() -> None:
    args = {"monitor": "mIoU", "rule": "greater", "factor": 0.2, "patience": 0, "threshold": 0.5}
    args |= {"threshold_rule": "abs", "min_value": 0.002, "eps": 1e-3}
    momentum = {"monitor": "mIoU", "rule": "less", "factor": 0.7, "patience": 2}
    schedules = [
        ScheduleSpec("LinearLR", 0, 20, args={"start_factor": 0.1}),
        ScheduleSpec("MultiStepLR", by_epoch=True, args={"milestones": (5,), "gamma": 0.3}),
        ScheduleSpec(PLATEAU, 2, 9, by_epoch=True, args=args),
        ScheduleSpec(PLATEAU, 1, by_epoch=True, parameter="momentum", args=momentum),
    ]
    for base, expected in (
        (0.1, [0.01, 0.024210526315789474, 0.038421052631578946, 0.05263157894736843, 0.013368421052631583,
               0.016210526315789477, 0.0038105263157894756, 0.0012000000000000005, 0.0012000000000000005]),
        (0.01, [0.001, 0.0024210526315789475, 0.003842105263157895, 0.005263157894736844, 0.002,
                0.002425196850393701, 0.002850393700787402, 0.0008976377952755907, 0.0008976377952755907]),
    ):  # fmt: skip
        found = rates(schedules, SCORES, base=base, steps=40, every=4)
        assert [rate for rate, _ in found][:27:3] == pytest.approx(expected, rel=1e-12, abs=0)
        assert {rate for rate, _ in found[27:]} == {found[26][0]}
        assert [value for _, value in found] == pytest.approx([0.9] * 16 + [0.63] * 12 + [0.441] * 12)


def test_an_accumulated_step_takes_the_value_of_its_last_iteration() -> None:
    """20 steps of two iterations are 40 iterations, evaluated after the same ones."""
    schedules = [WARM_UP, ScheduleSpec(PLATEAU, begin=10, end=33, args=HALVED)]
    single = rates(schedules, SCORES, base=0.1, steps=40, every=4)
    assert len({rate for rate, _ in single[6:]}) > 1
    assert rates(schedules, SCORES, base=0.1, steps=20, every=2, iterations=2) == single[1::2]


def test_groups_of_a_part_follow_their_own_rule() -> None:
    of_part = ScheduleSpec(PLATEAU, part="backbone", args={**HALVED, "patience": 0, "cooldown": 0})
    schedules = [ScheduleSpec(PLATEAU, args=HALVED), of_part]
    rules = Plateaus(schedules, 1)
    for step, score in enumerate([1.0, 1.0, 1.0, 1.0], 1):
        rules.update({"mIoU": score}, step)
    schedule = Schedule.of(schedules, cuts=rules.cuts)
    assert [schedule.lr(1.0, step) for step in range(5)] == [1.0, 1.0, 1.0, 0.5, 0.5]
    assert [schedule.parts["backbone"].lr(1.0, step) for step in range(5)] == [1.0, 1.0, 0.5, 0.25, 0.125]


# --- In a run -----------------------------------------------------------------------------------------------------

FALLING = [0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
RULE = ScheduleSpec(PLATEAU, args={"monitor": "mIoU", "rule": "greater", "factor": 0.5, "patience": 1, "cooldown": 1})
OPTIM = replace(
    SGD,
    schedules=(ScheduleSpec("LinearLR", 0, 4, args={"start_factor": 0.25}), RULE),
    paramwise={"custom_keys": {"backbone": {"lr_mult": 0.1}}},
    accumulate=2,
)


def test_a_run_is_resumed_in_the_same_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Interrupted while a first bad evaluation was counted, and after a cut; with groups and accumulation."""
    settings: dict[str, Any] = {"evaluate_every": 2, "optim": OPTIM, "save_every": 2, "log_every": 1}
    for name, ends in (("whole", [20]), ("parts", [4, 11, 20])):
        left, done = list(FALLING), 0
        for end in ends:
            run = tiny_run(tmp_path / name, resume=done > 0, task=tiny_task(), **settings)
            Scores(run, left)
            if end < 20:
                stop_at(run, 2 * (end - done))
                with pytest.raises(KeyboardInterrupt):
                    train(run)
                done = end // 2 * 2
                left = FALLING[done // 2 :]
            else:
                train(run)
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoints/step_00000020.pt") for name in ("whole", "parts"))
    assert same(whole, parts)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert whole["plateaus"] == [{"best": 0.6, "stale": 0, "cooldown": 0, "cuts": [6, 12, 18]}]
    logged = [line["lr"] for line in lines(tmp_path / "whole") if "lr" in line]  # of the backbone
    assert logged == pytest.approx(
        [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01, *[0.005] * 6, *[0.0025] * 6, *[0.00125] * 2]
    )
    told = capsys.readouterr().out
    assert "the learning rate is multiplied by 0.5: mIoU has not improved on 0.5 in 2 evaluations" in told


def test_processes_agree_and_go_on_together(tmp_path: Path) -> None:
    def job(runtime: FabricRuntime) -> None:
        run = tiny_run(tmp_path / "run", runtime=runtime, evaluate_every=2, optim=OPTIM, save_every=20, log_every=1)
        Scores(run, FALLING)
        train(run)

    in_two_processes(job)
    state = load_checkpoint(tmp_path / "run/checkpoints/step_00000020.pt")
    assert state["plateaus"][0]["cuts"] == [6, 12, 18]
    logged = [line["lr"] for line in lines(tmp_path / "run") if "lr" in line]
    assert logged[-1] == pytest.approx(0.00125)


def test_a_score_that_is_not_there_is_said(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = ScheduleSpec(PLATEAU, args={"monitor": "mDice", "patience": 0})
    train(tiny_run(out, optim=replace(SGD, schedules=(rule,))))
    assert "the learning rate waits for 'mDice', which the evaluation does not give (there are: aAcc, mIoU" in (
        capsys.readouterr().out
    )


def test_a_checkpoint_of_other_rules_is_refused(out: Path) -> None:
    train(tiny_run(out, steps=4))
    with pytest.raises(ValueError, match="state of 0 ReduceOnPlateau schedules, the config has 1"):
        train(tiny_run(out, resume=True, optim=replace(SGD, schedules=(RULE,))))
