"""Starting and resuming: seconds to the first step, what a checkpoint costs, and how long steps wait for data.

    python benchmarks/resume.py [--steps 1 1000 100000]

Three parts. The command `intarsia train` from its start to its first step, on painted scenes, and the same for
`--resume` after SIGTERM; with the share of time that its steps wait for data. One checkpoint given different step
numbers: a resumed run must then find its place in the data; "replayed" is what a loader that draws every batch again
would do at least: the indices of all samples before, without their images. And the writing of a large checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engine"))

IMAGES = 20_000


def lines(run: Path) -> list[dict[str, Any]]:
    """The log of a run so far, without its evaluations."""
    from intarsia.engine.training.log import MetricsFile

    return [line for line in MetricsFile(run / "metrics.jsonl").read() if "loss" in line]


def seconds_until(run: Path, step: int, words: Sequence[str]) -> float:
    """Start the command; the time until its log says that a step after `step` is done. Then let it save and end."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "intarsia", "train", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while (lines(run) or [{"step": 0}])[-1]["step"] <= step:
        if process.poll() is not None:
            raise RuntimeError(f"the training ended with exit code {process.returncode} before its first step")
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    while len(lines(run)) < 12 + step:
        time.sleep(0.1)
    process.terminate()
    process.wait()
    return seconds


def from_the_command_line(folder: Path) -> None:
    from intarsia.data.description.write import write_description
    from intarsia.demo import write_scenes

    (folder / "scenes").mkdir()
    write_description(write_scenes(folder / "scenes", train=64, val=4), folder / "scenes" / "data.yaml")
    run, size = folder / "run", ("256", "320")
    words = ["fast_scnn", "--data", str(folder / "scenes" / "data.yaml"), "--out", str(run), "--for", "2000 steps",
             "--batch", "4", "--crop", *size, "--workers", "1", "--set", "default_hooks.logger.interval=1"]  # fmt: skip
    fresh = seconds_until(run, 0, words)
    before = lines(run)[-1]["step"]
    resumed = seconds_until(run, before, ["--resume", str(run)])
    print(
        f"intarsia train to its first step, Fast-SCNN, 4 x {' x '.join(size)}: {fresh:.1f} s; --resume {resumed:.1f} s"
    )
    waits = [line["data_wait"] for line in lines(run)[1:]]
    print(
        f"waiting for data, one worker: {statistics.median(waits):.2%} of a step (median of {len(waits)})", flush=True
    )


def at_steps(steps: Sequence[int], folder: Path) -> None:
    import torch
    from standins import Pictures, tiny_run

    from intarsia.engine.training.checkpoint import load_checkpoint
    from intarsia.engine.training.loop import train

    start = folder / "start"
    data = Pictures(IMAGES, size=(8, 8))
    with contextlib.redirect_stdout(io.StringIO()):
        train(tiny_run(start, steps=1, save_every=1, validate=False, pictures=data))
    state = load_checkpoint(start / "checkpoints/step_00000001.pt")
    for step in steps:
        out = folder / str(step)
        (out / "checkpoints").mkdir(parents=True)
        torch.save({**state, "step": step}, out / f"checkpoints/step_{step:08d}.pt")
        run = tiny_run(out, steps=step + 1, validate=False, pictures=data, resume=True, save_every=10**9)
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train(replace(run, log_every=1))
        seconds = time.perf_counter() - began
        print(f"step {step:>9,}: one step and everything around it {seconds:6.2f} s; "
              f"replayed, indices alone {seconds_to_replay(step):6.2f} s", flush=True)  # fmt: skip


def seconds_to_replay(steps: int) -> float:
    from torch.utils.data import BatchSampler, RandomSampler

    batches = BatchSampler(RandomSampler(range(IMAGES)), 4, False)
    began, drawn = time.perf_counter(), 0
    while drawn < steps:
        for _ in batches:
            drawn += 1
            if drawn == steps:
                break
    return time.perf_counter() - began


def large_checkpoint(folder: Path) -> None:
    import torch

    from intarsia.backbones.resnet import ResNetV1c
    from intarsia.engine.training.checkpoint import Checkpoints

    network = ResNetV1c(50)
    state = {
        "task": network.state_dict(),
        "optimizer": {name: torch.zeros_like(p) for name, p in network.named_parameters()},
    }
    times = []
    for step in range(5):
        began = time.perf_counter()
        path = Checkpoints(folder).save(step, state)
        times.append(time.perf_counter() - began)
    megabytes = path.stat().st_size / 1e6
    print(f"checkpoint of ResNet-50 with momentum: {megabytes:.0f} MB, {statistics.median(times):.2f} s with fsync")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 1000, 100_000, 1_000_000])
    options = parser.parse_args(arguments)
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from_the_command_line(folder)
        at_steps(options.steps, folder)
        large_checkpoint(folder / "large")


if __name__ == "__main__":
    main()
