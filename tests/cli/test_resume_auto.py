"""``intarsia train --resume auto``: one command for a job that may be killed and started again at any time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.engine.training.checkpoint import load_checkpoint

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29631"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=3, val=1), folder / "data.yaml")
    return folder / "data.yaml"


def words(data: Path, out: Path, *more: str) -> list[str]:
    given = ["--data", str(data), "--out", str(out), "--batch", "4", "--crop", "64", "64", "--workers", "0"]
    return ["train", "fast_scnn", *given, "--device", "cpu", *more]


def test_begun_gone_on_with_and_finished(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    command = words(data, out, "--for", "4 steps", "--save-every", "2 steps", "--resume", "auto")
    out.mkdir()
    (out / "run.json").write_text(json.dumps({"status": "running"}))  # killed before its first checkpoint
    assert main(command) == 0
    assert "resumed" not in capsys.readouterr().out
    first = load_checkpoint(out / "checkpoints/step_00000004.pt")["task"]

    (out / "checkpoints/step_00000004.pt").unlink()
    state = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**state, "status": "running"}))  # as a kill leaves it
    assert main(command) == 0
    assert "resumed at step 2 of 4" in capsys.readouterr().out
    again = load_checkpoint(out / "checkpoints/step_00000004.pt")["task"]
    assert all(torch.equal(again[name], value) for name, value in first.items())

    shutil.rmtree(out / "checkpoints")
    assert main(command) == 0
    assert f"{out} is finished: 4 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--out", "run", "--resume", "auto", "--overwrite"], "leave out one of them"),
        (["--resume", "auto"], "--out RUN, the folder for the run"),
    ],
)
def test_what_makes_no_sense(more: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fast_scnn", *more]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment | {"OMP_NUM_THREADS": "1"}
        )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes of torchrun as Linux shows them")
def test_torchrun_starts_killed_processes_again(data: Path, tmp_path: Path) -> None:
    """A process is killed after a checkpoint; elastic torchrun starts both again, and the weights are the same."""
    length = ["--for", "24 steps", "--save-every", "3 steps", "--eval-every", "24 steps"]
    undisturbed, log = tmp_path / "undisturbed", tmp_path / "log"
    assert start([*TORCHRUN, "-m", "intarsia", *words(data, undisturbed, *length)], log).wait(300) == 0, log.read_text()

    out = tmp_path / "run"
    command = [*TORCHRUN, "--max-restarts", "1", "-m", "intarsia", *words(data, out, *length, "--resume", "auto")]
    torchrun = start(command, log)
    try:
        until = time.monotonic() + 300
        while not (out / "checkpoints/step_00000003.pt").exists():
            assert torchrun.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGKILL)
        assert torchrun.wait(300) == 0, log.read_text()
    finally:
        torchrun.kill()
    assert "resumed at step" in log.read_text()
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    one, two = (load_checkpoint(run / "checkpoints/step_00000024.pt")["task"] for run in (undisturbed, out))
    assert all(torch.equal(two[name], value) for name, value in one.items())
