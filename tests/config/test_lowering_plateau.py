"""Schedules that wait for a score: what becomes of their keys, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from test_lowering import problems, training, validation

from intarsia.config.checking.check import check
from intarsia.config.lowering.lower import lower
from intarsia.spec import ScheduleSpec

GIVEN: dict[str, Any] = {"type": "ReduceOnPlateauLR", "monitor": "mDice", "rule": "greater"}
ARGS = {"monitor": "mDice", "rule": "greater"}


def schedule(**changes: Any) -> ScheduleSpec:
    spec = lower(training(**validation(), param_scheduler=[{**GIVEN, **changes}]))
    assert spec.optim is not None
    (found,) = spec.optim.schedules
    return found


def test_all_names_and_what_they_move() -> None:
    expected = ScheduleSpec("ReduceOnPlateauLR", by_epoch=True, args=ARGS)
    assert schedule() == expected
    assert schedule(type="ReduceOnPlateauParamScheduler", param_name="lr") == expected
    momentum = ScheduleSpec("ReduceOnPlateauLR", by_epoch=True, parameter="momentum", args=ARGS)
    assert schedule(type="ReduceOnPlateauMomentum") == momentum
    assert schedule(type="ReduceOnPlateauParamScheduler", param_name="momentum") == momentum


def test_an_absolute_threshold_is_per_cent_of_what_the_original_gives_in_per_cent() -> None:
    assert schedule(threshold=0.5).args["threshold"] == 0.5
    assert schedule(threshold=0.5, threshold_rule="abs").args["threshold"] == 0.005
    assert schedule(threshold_rule="abs").args["threshold"] == pytest.approx(1e-6)
    assert schedule(threshold=0.5, threshold_rule="abs", monitor="loss").args["threshold"] == 0.5
    assert schedule(min_value=[0.01]).args["min_value"] == 0.01


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"monitor": "mIoU"}, ".monitor", "'mIoU' is watched, but the evaluation does not give it"),
        ({"factor": 1.5}, ".factor", "expected a factor between 0 and 1, found 1.5"),
        ({"patience": -1}, ".patience", "expected 0 or more evaluations"),
        ({"cooldown": 1.5}, ".cooldown", "expected int"),
        ({"rule": "max"}, ".rule", "expected Literal['less', 'greater']"),
        ({"min_value": [0.1, 0.2]}, ".min_value", "expected one number for all groups of parameters, found 2"),
        ({"type": "ReduceOnPlateauParamScheduler"}, "", "'param_name' is missing"),
        ({"type": "ReduceOnPlateauParamScheduler", "param_name": "eps"}, ".param_name", "expected Literal"),
        ({"type": "ReduceOnPlateau"}, ".type", "unknown schedule 'ReduceOnPlateau'"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, Any], key: str, said: str) -> None:
    found = problems(training(**validation(), param_scheduler=[{**GIVEN, **changes}]))
    path, message = found[0]
    assert path == f"param_scheduler.0{key}"
    assert said in message


def test_the_check_names_what_an_evaluation_gives() -> None:
    given = training(**validation(), param_scheduler={**GIVEN, "monitor": "mIuO"})
    problem = check(given)[0]
    assert problem.path == "param_scheduler.monitor"
    assert problem.hint == "Known here: aAcc, loss, mAcc, mDice"


def test_without_an_evaluation_nothing_can_fall() -> None:
    ((path, message),) = problems(training(param_scheduler=[GIVEN]))
    assert path == "param_scheduler.0"
    assert "nothing is evaluated" in message
