from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from intarsia.contracts import ClassScore, LossTerm, Report
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.log import MetricsFile, TrainingLog
from intarsia.evaluation.score_table import report_table


def new_log(path: Path, **changes: int) -> TrainingLog:
    settings = {"steps": 10, "start": 0, "images_per_step": 4, "every": 5, **changes}
    return TrainingLog(path, runtime=FabricRuntime(accelerator="cpu"), **settings)


def test_lines_are_means_of_weighted_terms(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with new_log(path) as log:
        for step in range(1, 11):
            terms = [
                LossTerm("a", torch.tensor(float(step)), 0.5),
                LossTerm("acc", torch.tensor(50.0 + step), 0.0),
            ]
            log.step(step, terms, lr=0.1 / step, gradient_norm=torch.tensor(2.0))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    assert lines[0]["a"] == lines[0]["loss"] == 0.5 * 3
    assert lines[1]["acc"] == 58
    assert lines[1]["gradient_norm"] == 2
    assert lines[1]["lr"] == 0.01
    assert lines[0]["images_per_second"] > 0
    assert 0 <= lines[0]["data_wait"] <= 1


def test_terms_that_change_are_an_error(tmp_path: Path) -> None:
    with new_log(tmp_path / "m") as log:
        log.step(1, [LossTerm("a", torch.tensor(1.0))], 0.1, torch.tensor(1.0))
        with pytest.raises(ValueError, match="loss terms changed at step 2"):
            log.step(2, [LossTerm("b", torch.tensor(1.0))], 0.1, torch.tensor(1.0))


def test_rewinding(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (5, 10, 15):
        file.append(step, {"loss": 1.0 / step, "odd": float("nan")})
        file.append(step, {"val/mIoU": 0.5})
    with open(file.path, "a") as torn:
        torn.write('{"step": 3')
    file.rewind(10, evaluated_at=5)
    found = file.read()
    assert [(line["step"], "loss" in line) for line in found] == [(5, True), (5, False), (10, True)]
    assert found[0]["odd"] is None
    assert file.path.read_text().count("\n") == 3


def test_absent_classes_are_marked() -> None:
    nan = float("nan")
    report = Report(
        summary={"mIoU": 0.5},
        classes=(
            ClassScore("road", {"IoU": 0.61234, "Acc": 0.5}, 1234567),
            ClassScore("[sky]", {"IoU": nan, "Acc": nan}, 0),
            ClassScore("sea", {"IoU": 0.0, "Acc": nan}, 0),
        ),
        absent=("[sky]", "sea"),
        images=3,
    )
    console = Console(width=80, record=True)
    console.print(report_table(report, "title"))
    text = console.export_text()
    assert "nan" not in text
    assert "61.23" in text
    assert "1,234,567" in text
    assert text.count("not in the labels") == 2
    assert "[sky]" in text


def test_a_terminal_gets_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with new_log(tmp_path / "m") as log:
        for step in range(1, 11):
            log.step(step, [LossTerm("decode.loss_ce", torch.tensor(0.75))], 0.1, torch.tensor(1.0))
        with log.evaluating(4) as advance:
            advance(2)
        log.say("done [here]")
    said = capsys.readouterr().out
    assert "10/10" in said
    assert "decode.loss_ce 0.75" in said
    assert "done [here]" in said
    assert "step 5/10" not in said
