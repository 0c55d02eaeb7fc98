"""Trainings in two processes from the command line: through torchrun, by --devices, sharded, told to stop, resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.weights.file import load_state

pytestmark = pytest.mark.slow

TAME = [
    "--set", "sync_bn=torch", "model.decode_head.dropout_ratio=0", "optim_wrapper.optimizer=dict(type='SGD', lr=0.01)",
]  # fmt: skip
"""No random numbers that depend on the process, no optimizer that makes steps of rounding errors."""
INTARSIA = [sys.executable, "-m", "intarsia"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29617"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers of images that two processes cannot share evenly."""
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=7, val=5), folder / "data.yaml")
    return folder / "data.yaml"


def words(data: Path, out: Path, *more: str) -> list[str]:
    given = ["--data", str(data), "--out", str(out), "--batch", "4", "--crop", "64", "64", "--workers", "0"]
    return ["train", "small_r18", *given, "--device", "cpu", *more]


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment | {"OMP_NUM_THREADS": "1"}
        )


def done(command: Sequence[str], log: Path, code: int = 0) -> str:
    found = start(command, log).wait(300)
    text = log.read_text()
    assert found == code, text
    return text


def four_steps(data: Path, out: Path, launcher: Sequence[str], *more: str) -> Path:
    command = [*launcher, *words(data, out, "--for", "4 steps", "--eval-every", "4 steps", *more, *TAME)]
    done(command, out.with_suffix(".log"))
    return out


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_steps(data, tmp_path_factory.mktemp("alone") / "run", INTARSIA)


@pytest.mark.parametrize(
    ("launcher", "more"),
    [
        ([*TORCHRUN, "-m", "intarsia"], []),
        (INTARSIA, ["--devices", "2"]),
        (INTARSIA, ["--devices", "2", "--strategy", "fsdp"]),
    ],
    ids=["torchrun", "devices", "fsdp"],
)
def test_two_processes_are_as_one(
    launcher: list[str], more: list[str], data: Path, alone: Path, tmp_path: Path
) -> None:
    """Weights and statistics to 1e-6; the table of the evaluation to the last digit."""
    out = four_steps(data, tmp_path / "run", launcher, *more)
    described = json.loads((out / "run.json").read_text())
    assert (described["status"], described["processes"], described["batch_per_process"]) == ("finished", 2, 2)
    one, two = (load_checkpoint(folder / "checkpoints/step_00000004.pt")["task"] for folder in (alone, out))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-6)
    assert (out / "eval.csv").read_text() == (alone / "eval.csv").read_text()
    assert json.loads((out / "eval.json").read_text())["images"] == 5
    first, second = (load_state(folder / "weights.safetensors") for folder in (alone, out))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-6, atol=1e-6)
    assert len(list((out / "pictures").iterdir())) == 5


def logged(run: Path) -> int:
    """The last step in a run's log, 0 before the first."""
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes of torchrun as Linux shows them")
def test_a_signal_to_one_process_stops_all_and_one_process_goes_on(data: Path, tmp_path: Path) -> None:
    """SIGUSR1, as SLURM sends it before the time is over; the second process gets it, the first one saves."""
    out, log = tmp_path / "run", tmp_path / "log"
    settings = ["--for", "5000 steps", "--set", "default_hooks.logger.interval=2"]
    torchrun = start([*TORCHRUN, "-m", "intarsia", *words(data, out, *settings)], log)
    try:
        wait_until(lambda: logged(out) > 0, torchrun, log)
        children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
        assert len(children) == 2, log.read_text()
        os.kill(int(children[1]), signal.SIGUSR1)
        assert torchrun.wait(60) != 0  # nobody shall take this for a finished training
    finally:
        torchrun.kill()
    described = json.loads((out / "run.json").read_text())
    (checkpoint,) = (out / "checkpoints").iterdir()
    stopped = load_checkpoint(checkpoint)["step"]
    assert (described["status"], described["step"]) == ("interrupted", stopped)
    assert f"stopped at step {stopped} of 5000; go on with: intarsia train --resume {out}" in log.read_text()

    log = tmp_path / "again"
    alone = start([*INTARSIA, "train", "--resume", str(out), "--devices", "1", "--device", "cpu"], log)
    try:
        wait_until(lambda: logged(out) > stopped, alone, log)
        alone.send_signal(signal.SIGTERM)
        assert alone.wait(60) == 130
    finally:
        alone.kill()
    described = json.loads((out / "run.json").read_text())
    assert f"resumed at step {stopped} of 5000" in log.read_text()
    assert (described["processes"], described["batch_per_process"], described["accumulate"]) == (1, 2, 2)
    assert described["step"] > stopped
