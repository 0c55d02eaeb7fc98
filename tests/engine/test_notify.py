"""A command that is told how a run goes: what it is told, and that the training never suffers from it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shlex
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import TinyTask, tiny_run

from intarsia.contracts import LossTerm
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.callbacks.notify import Notify
from intarsia.engine.training.log import NonFiniteLossError, TrainingLog, remaining_text
from intarsia.engine.training.loop import train
from intarsia.spec import SafeguardSpec


def command(tmp_path: Path, code: str) -> str:
    """A command that runs some Python, with `told` as the file to write to."""
    script = tmp_path / "tell.py"
    script.write_text(f"import sys, time\ntold = {str(tmp_path / 'told')!r}\n{code}\n")
    return f"{shlex.quote(sys.executable)} -S {shlex.quote(str(script))}"


KEEP = "open(told, 'a').write(sys.stdin.read())"


def told(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]


def test_start_best_and_end(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = train(tiny_run(out, steps=8, evaluate_every=4, observers=[Notify(command(tmp_path, KEEP))]))
    lines = told(tmp_path)
    assert lines[0]["event"] == "start"
    assert lines[0]["run"] == str(out)
    assert (lines[0]["step"], lines[0]["steps"]) == (0, 8)
    assert lines[-1]["event"] == "end"
    assert lines[-1]["status"] == "finished"
    assert result.best is not None
    assert lines[-1]["best"] == {"metric": "mIoU", "value": result.best.value, "step": result.best.step}
    values = [line["value"] for line in lines if line["event"] == "best"]
    assert values == sorted(values)  # those that still waited at the end are left out


def test_every_best_evaluation_and_no_other_is_told_of(tmp_path: Path) -> None:
    class Listening(Notify):
        def improved(self, run: Any, step: int, metric: str, value: float) -> None:
            seen.append((step, metric, value))

    seen: list[tuple[int, str, float]] = []
    run = tiny_run(
        tmp_path / "run", steps=8, evaluate_every=2, best_metric="loss", best_mode="max", observers=[Listening("true")]
    )  # the loss falls, so that few are the best if the highest is
    train(run)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best, expected = -1.0, []
    for line in lines:
        if line.get("val/loss", -1.0) > best:
            best = line["val/loss"]
            expected.append((line["step"], "loss", best))
    assert [(step, metric, pytest.approx(value, rel=1e-6)) for step, metric, value in expected] == seen
    assert 1 <= len(seen) < 4


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    class Poisoned(TinyTask):
        def training_terms(self, batch: Any) -> list[LossTerm]:
            return [LossTerm("loss", self.model.decode_head.weight.sum() * torch.nan)]

    torch.manual_seed(0)
    notify = Notify(command(tmp_path, KEEP))
    run = tiny_run(
        tmp_path / "run", task=Poisoned(), validate=False, observers=[notify],
        safeguards=SafeguardSpec(nonfinite_steps=2),
    )  # fmt: skip
    with pytest.raises(NonFiniteLossError):
        train(run)
    last = told(tmp_path)[-1]
    assert last["event"] == "failure"
    assert last["status"] == "failed"
    assert "the loss is not finite at step 1" in last["error"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("sys.exit('no route to host')", r"failed with exit code 1 \(no route to host\)"),
        ("time.sleep(60)", r"has not ended after 0\.5 seconds, and was ended"),
    ],
)
def test_a_command_that_fails_or_hangs_is_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, text: str
) -> None:
    began = time.monotonic()
    result = train(
        tiny_run(tmp_path / "run", steps=2, evaluate_every=1, observers=[Notify(command(tmp_path, code), timeout=0.5)])
    )
    assert result.finished
    assert time.monotonic() - began < 120  # the machine may be busy
    said = " ".join(capsys.readouterr().err.split())
    assert len(re.findall(text, said)) == 1
    assert said.count("training goes on") == 1


def test_one_that_is_not_there_and_one_that_reads_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("no-such-command-anywhere", "true"):
        notify = Notify(words)
        notify.begin(tiny_run(tmp_path / words), 0)
        notify.end(1, "finished")
    assert capsys.readouterr().err.count("training goes on") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_commands_run_beside_forked_workers(tmp_path: Path) -> None:
    # A worker forked while a second thread starts a command inherited its pipes, and both waited for each other.
    threads = threading.active_count()
    run = tiny_run(tmp_path / "run")
    notify = Notify(command(tmp_path, f"time.sleep(0.3)\n{KEEP}"), timeout=20)
    notify.begin(run, 0)
    assert threading.active_count() == threads
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()  # has every file that is open now
    try:
        began = time.monotonic()
        for step in range(1, 200):
            if (tmp_path / "told").exists():
                break
            time.sleep(0.05)
            notify.values(step, {"loss": 1.0})
        notify.end(200, "finished")
        assert time.monotonic() - began < 40  # the worker sleeps for 60
    finally:
        worker.kill()
        worker.join()
    assert [line["event"] for line in told(tmp_path)] == ["start", "end"]


def test_those_that_wait_are_run_as_the_run_goes_on(tmp_path: Path) -> None:
    notify = Notify(command(tmp_path, KEEP))
    run = tiny_run(tmp_path / "run")
    notify.begin(run, 0)
    notify.improved(run, 1, "mIoU", 0.5)  # while the first still runs
    began = time.monotonic()
    while (not (tmp_path / "told").exists() or len(told(tmp_path)) < 2) and time.monotonic() - began < 20:
        time.sleep(0.02)
        notify.saved(1, tmp_path / "checkpoint")
    notify.end(2, "finished")
    assert [line["event"] for line in told(tmp_path)] == ["start", "best", "end"]


def test_an_empty_command_is_refused() -> None:
    with pytest.raises(ValueError, match="--notify needs a command"):
        Notify(" ")


# --- The line of progress -----------------------------------------------------------------------------------------


def test_a_line_has_the_estimated_end_and_the_best_so_far(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_run(tmp_path / "run", steps=12, evaluate_every=4))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ") and "img/s" in line]
    assert all(re.search(r"remaining \d+:\d\d:\d\d \(until \d\d:\d\d\)", line) for line in lines)
    assert "best" not in lines[0]
    assert re.search(r"best mIoU 0\.\d{4} at step 4$", lines[1])


def test_time_for_evaluations_is_part_of_what_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    monkeypatch.setattr("intarsia.engine.training.log.time.perf_counter", lambda: seconds)
    log = TrainingLog(
        tmp_path / "m", runtime=FabricRuntime(accelerator="cpu"), steps=10, start=0, images_per_step=4, every=5
    )
    with log:
        for step in range(1, 6):
            seconds += 2
            if step == 3:
                with log.paused():
                    seconds += 30
            log.step(step, [LossTerm("a", torch.tensor(1.0))], 0.1, torch.tensor(1.0))
        assert log._seconds_left(5, rate=2.0) == 5 * (4 / 2.0 + 30 / 5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (723, "0:12:03 (until 14:12)"),
        (12 * 3600, "12:00:00 (until Sat 02:00)"),
        (30 * 24 * 3600, "720:00:00 (until 2026-02-15)"),
    ],
)
def test_an_end_is_told_as_people_do(seconds: float, text: str) -> None:
    assert remaining_text(seconds, datetime(2026, 1, 16, 14, 0)) == text
