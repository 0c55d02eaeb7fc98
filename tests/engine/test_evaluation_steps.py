"""After which steps a training is evaluated, where the interval changes on the way."""

from __future__ import annotations

import json
from bisect import bisect
from dataclasses import replace
from pathlib import Path

import pytest
from standins import CLASSES, tiny_run

from intarsia.config.language.reader import Config
from intarsia.config.lowering.fields import Context
from intarsia.config.lowering.training import lower_train_cfg
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import Run
from intarsia.metrics.iou import IoUMetric
from intarsia.metrics.several import Evaluator
from intarsia.spec import EarlyStopSpec

CHANGES = [(8, 3), (14, 2)]


def evaluating(out: Path, *, steps: int = 20, begin: int = 1, resume: bool = False) -> Run:
    """A run that is evaluated as `val_interval=5` and CHANGES say."""
    run = tiny_run(out, steps=steps, evaluate_every=5, resume=resume)
    assert run.validation is not None
    changes = tuple((milestone - 1, every) for milestone, every in CHANGES)
    return replace(run, validation=replace(run.validation, begin=begin, changes=changes))


def evaluated(out: Path) -> list[int]:
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in logged if "val/mIoU" in line]


def by_hand(steps: int, every: int, begin: int) -> list[int]:
    """MMEngine's loop: after each iteration it looks up the interval by the number of the next one."""
    milestones, intervals = [0, *(at for at, _ in CHANGES)], [every, *(interval for _, interval in CHANGES)]
    found = []
    for done in range(1, steps + 1):
        every = intervals[bisect(milestones, done + 1) - 1]
        if done >= begin and (done % every == 0 or done == steps):
            found.append(done)
    return found


@pytest.mark.parametrize("begin", [1, 9])
def test_steps_are_those_of_mmengine(out: Path, begin: int) -> None:
    train(evaluating(out, begin=begin))
    assert evaluated(out) == by_hand(20, 5, begin)
    assert by_hand(20, 5, 1) == [5, 9, 12, 14, 16, 18, 20]


def test_around_every_milestone(tmp_path: Path) -> None:
    """What lowering makes of a milestone and an interval gives the steps of MMEngine's rule."""
    run = tiny_run(tmp_path / "run")
    assert run.validation is not None
    for milestone in range(1, 30):
        for every, later in ((4, 6), (7, 1), (3, 3), (10, 4)):
            values = {"max_iters": 40, "val_interval": every, "dynamic_intervals": [(milestone, later)]}
            length = lower_train_cfg(Context(Config.from_values({"train_cfg": values}, file="test.py")), values)
            changes = tuple((int(done.value), int(new.value)) for done, new in length.evaluate_changes)
            validation = replace(run.validation, every=every, changes=changes)
            found = [step for step in range(1, 41) if validation.is_due(step)]
            assert found == [
                done for done in range(1, 41) if done % (later if milestone <= done + 1 else every) == 0
            ], values


def test_a_resumed_run_is_evaluated_after_the_same_steps(out: Path, tmp_path: Path) -> None:
    train(evaluating(out))
    parts = tmp_path / "parts"
    train(evaluating(parts, steps=10))
    train(evaluating(parts, steps=20, resume=True))
    assert [step for step in evaluated(parts) if step != 10] == evaluated(out)


def test_a_run_finds_the_scores_of_several_metrics_by_their_names(out: Path) -> None:
    """Best weights and the end of the run by a score with a prefix; every line has the scores of both."""
    run = tiny_run(out, evaluate_every=2, best_metric="strict/mIoU", early_stop=EarlyStopSpec(1, min_delta=1.0))
    assert run.validation is not None
    pair = Evaluator([run.validation.metric, IoUMetric(num_classes=3, classes=CLASSES)], prefixes=[None, "strict"])
    result = train(replace(run, validation=replace(run.validation, metric=pair)))
    assert result.step == 4
    assert result.best is not None
    assert result.best.metric == "strict/mIoU"
    [line, _] = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines() if "val/mIoU" in line]
    assert line["val/strict/mIoU"] == line["val/mIoU"]
    assert (out / "eval.csv").read_text().splitlines()[0] == "class,IoU,Acc,strict/IoU,strict/Acc,pixels"
