"""When a training ends early, and what it says of its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import SGD, tiny_run

from intarsia.contracts import Report
from intarsia.engine.training.checkpoint import report_from, report_values
from intarsia.engine.training.early_stopping import EarlyStopping
from intarsia.engine.training.loop import train
from intarsia.evaluation.files import report_as_dict
from intarsia.spec import EarlyStopSpec
from intarsia.weights.file import read_meta

NAN = float("nan")


def stops_at(values: list[float], *, mode: Any = "max", **spec: Any) -> int | None:
    """The evaluation, from 1, at which the training ends."""
    rule = EarlyStopping(EarlyStopSpec(**spec), metric="score", mode=mode)
    for number, value in enumerate(values, start=1):
        if rule.update({"score": value}):
            return number
    return None


def test_small_gains_add_up_to_one_that_counts() -> None:
    """0.6 points a time, where one point counts: every second evaluation has gained 1.2 over the reference."""
    assert stops_at([0.500 + 0.006 * i for i in range(20)], patience=2, min_delta=0.01) is None
    assert stops_at([1.000 - 0.006 * i for i in range(20)], mode="min", patience=2, min_delta=0.01) is None


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        ([0.5, 0.5, 0.5], {"patience": 2}, 3),
        ([0.5, 0.501, 0.502, 0.503], {"patience": 3, "min_delta": 0.01}, 4),
        ([0.5, 0.4, 0.6, 0.5, 0.5], {"patience": 2}, 5),
        ([NAN, NAN, 0.1, NAN, NAN], {"patience": 2}, 2),
        ([0.1, NAN, 0.2, NAN, 0.3], {"patience": 2}, None),
        ([0.5, 0.6], {"patience": 1}, None),
    ],
)
def test_patience(values: list[float], spec: dict[str, Any], expected: int | None) -> None:
    assert stops_at(values, **spec) == expected


@pytest.mark.parametrize(
    ("values", "mode", "expected", "said"),
    [
        ([0.5, 0.6, 0.61, 0.7], "max", 3, "score is 0.61, above 0.6"),
        ([0.5, NAN, 0.6], "max", None, ""),
        ([0.9, 0.6, 0.5], "min", 3, "score is 0.5, below 0.6"),
    ],
)
def test_a_score_that_is_good_enough_ends_the_training(
    values: list[float], mode: Any, expected: int | None, said: str
) -> None:
    assert stops_at(values, mode=mode, patience=9, threshold=0.6) == expected
    rule = EarlyStopping(EarlyStopSpec(patience=9, threshold=0.6), metric="score", mode=mode)
    assert any(rule.update({"score": value}) for value in values) == bool(said)
    assert not said or str(rule) == said


class Scores:
    """Reports with given scores, one after the other."""

    def __init__(self, run: Any, scores: list[float]) -> None:
        self.left = list(scores)
        real = run.validation.metric.report
        run.validation.metric.report = lambda: self._changed(real())

    def _changed(self, report: Report) -> Report:
        return replace(report, summary={**report.summary, "mIoU": self.left.pop(0)})


@pytest.mark.parametrize("best_metric", ["mIoU", None])
def test_a_run_stops_whether_or_not_the_best_weights_are_kept(out: Path, best_metric: str | None) -> None:
    run = tiny_run(out, evaluate_every=2, early_stop=EarlyStopSpec(patience=2), best_metric=best_metric)
    Scores(run, [0.5, 0.4, 0.3])
    result = train(run)
    assert (result.finished, result.step) == (True, 6)
    assert read_meta(out / "weights.safetensors").step == (2 if best_metric else 6)
    assert result.report is not None
    assert result.report.summary["mIoU"] == (0.5 if best_metric else 0.3)


def test_another_metric_than_that_of_the_weights_is_watched(out: Path) -> None:
    """The loss does not fall with a rate of 0; the weights are kept by the mIoU all the time."""
    still = replace(SGD, optimizer=replace(SGD.optimizer, args={"lr": 1e-12}))
    rule = EarlyStopSpec(patience=1, min_delta=10.0, metric="loss", mode="min")
    assert train(tiny_run(out, evaluate_every=2, early_stop=rule, optim=still)).step == 4


def test_a_metric_that_is_not_there_is_said(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = EarlyStopSpec(patience=1, metric="mDice")
    assert train(tiny_run(out, early_stop=rule)).step == 20
    assert "early stopping watches 'mDice', which the evaluation does not give" in capsys.readouterr().out


def test_a_resumed_run_goes_on_counting_from_its_reference(tmp_path: Path) -> None:
    """Cut between the gains that do not count by themselves."""
    scores, rule = [0.500, 0.506, 0.512, 0.513, 0.514], EarlyStopSpec(patience=2, min_delta=0.01)
    for name, ends in (("whole", [20]), ("parts", [6, 20])):
        left = list(scores)
        for number, steps in enumerate(ends):
            run = tiny_run(
                tmp_path / name, evaluate_every=4, early_stop=rule, steps=20, save_every=2, resume=number > 0
            )
            Scores(run, left)
            if steps < 20:
                stop_at(run, steps)
                with pytest.raises(KeyboardInterrupt):
                    train(run)
                left = left[1:]
            else:
                result = train(run)
        assert result.step == 20, name  # 0.512 is the gain that counts, and after it one point is never reached
        assert result.best is not None
        assert result.best.value == 0.514


def stop_at(run: Any, step: int) -> None:
    """As if the process was interrupted when this step is done."""
    before, task = run.task.training_terms, run.task

    def training_terms(batch: Any) -> Any:
        if task.calls == step:
            raise KeyboardInterrupt
        return before(batch)

    task.training_terms = training_terms


def test_the_report_is_that_of_the_weights_also_after_going_on(tmp_path: Path) -> None:
    """The best evaluation was before the run was cut; what comes later is worse."""
    whole = tiny_run(tmp_path / "whole", evaluate_every=4)
    Scores(whole, [0.5, 0.9, 0.3, 0.2, 0.1])
    expected = train(whole)
    assert expected.report is not None
    assert expected.best is not None
    assert expected.report.summary["mIoU"] == expected.best.value == 0.9

    cut = tiny_run(tmp_path / "cut", evaluate_every=4, save_every=2)
    Scores(cut, [0.5, 0.9])
    stop_at(cut, 10)
    with pytest.raises(KeyboardInterrupt):
        train(cut)
    rest = tiny_run(tmp_path / "cut", evaluate_every=4, save_every=2, resume=True)
    Scores(rest, [0.3, 0.2, 0.1])
    result = train(rest)
    assert result.best == expected.best
    assert result.report is not None
    assert report_as_dict(result.report) == report_as_dict(expected.report)


def test_reports_in_checkpoints_are_plain(out: Path, tmp_path: Path) -> None:
    result = train(tiny_run(out))
    values = report_values(result.report)
    torch.save(values, tmp_path / "report.pt")
    again = report_from(torch.load(tmp_path / "report.pt", weights_only=True))
    assert again is not None
    assert result.report is not None
    assert report_as_dict(again) == report_as_dict(result.report)
    assert report_from(None) is report_values(None) is None
