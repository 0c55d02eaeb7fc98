"""kill -9 at any moment costs no more than the steps since the last checkpoint, and never a checkpoint."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from standins import tiny_run
from test_train import lines, same

from intarsia.data import order
from intarsia.data.order import Order
from intarsia.engine.checkpoint import Checkpoints, load_checkpoint
from intarsia.engine.train import train
from intarsia.spec import EmaSpec
from intarsia.weights import atomic

STEPS = 60
fork = multiprocessing.get_context("fork")


def job(out: Path, slow_disk: bool = False) -> None:
    """Begin a run, or go on with what is there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if slow_disk:
        real = os.fsync
        atomic.os.fsync = lambda number: (time.sleep(0.03), real(number))[1]  # type: ignore[attr-defined]
    resume = Checkpoints(out / "checkpoints").steps() != []
    train(tiny_run(out, steps=STEPS, save_every=3, evaluate_every=15, resume=resume, ema=EmaSpec(0.1)))


def killed_after(out: Path, seconds: float, **options: Any) -> bool:
    """Whether the run was still going on when it was killed."""
    process = fork.Process(target=job, args=(out,), kwargs=options)
    process.start()
    process.join(seconds)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        process.join()
    else:
        assert process.exitcode == 0
    return alive


def finished(out: Path) -> bool:
    return (out / "run.json").exists() and json.loads((out / "run.json").read_text())["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("slow_disk", [False, True])
def test_twenty_kills_end_in_the_same_weights_as_none(tmp_path: Path, slow_disk: bool) -> None:
    """With a slow disk nearly every kill falls into the writing of a checkpoint."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    began = time.monotonic()
    assert not killed_after(whole, 600.0, slow_disk=slow_disk)
    length = time.monotonic() - began
    moments = random.Random(7 + slow_disk)
    kills = 0
    while not finished(cut):
        limit = moments.uniform(0.05, 0.25) * length if kills < 20 else 600.0
        kills += killed_after(cut, limit, slow_disk=slow_disk)
        for step in Checkpoints(cut / "checkpoints").steps():
            load_checkpoint(cut / f"checkpoints/step_{step:08d}.pt")  # none is ever half written
        assert kills <= 20
        if finished(cut) and kills < 20:
            pytest.skip(f"the run was over after {kills} kills: this machine is too uneven to aim at it")
    assert lines(cut) == lines(whole)
    last = f"checkpoints/step_{STEPS:08d}.pt"
    assert same(load_checkpoint(whole / last), load_checkpoint(cut / last))
    assert (whole / "weights.safetensors").read_bytes() == (cut / "weights.safetensors").read_bytes()
    assert not list(cut.rglob("*.part"))


def test_the_hundred_thousandth_step_is_found_without_the_ones_before_it() -> None:
    """The order of samples is computed, not replayed: one permutation for each epoch touched."""
    permutations = order._permutation
    permutations.cache_clear()
    samples = Order(1000, seed=3, shuffle=True)
    assert len({samples.index(position) for position in range(400_000, 400_016)}) == 16
    assert permutations.cache_info().misses == 1
