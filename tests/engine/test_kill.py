"""kill -9 at any moment costs no more than the steps since the last checkpoint, and never a checkpoint."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standins import tiny_run
from test_train import lines, same

from intarsia.data import sampling
from intarsia.data.sampling import Order
from intarsia.engine.training.checkpoint import Checkpoints, load_checkpoint
from intarsia.engine.training.loop import train
from intarsia.spec import EmaSpec
from intarsia.weights.file import load_state, read_meta

STEPS = 300
KILLS = 20
servers = multiprocessing.get_context("forkserver")
"""Processes of one that has computed nothing: where tests before these have differentiated, a fork of theirs cannot."""
servers.set_forkserver_preload(
    ["intarsia.engine.training.loop", "intarsia.engine.training.run", "intarsia.workflows.assemble"]
)


def die(seconds: float) -> None:
    """kill -9, a moment from now."""
    threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()


def job(out: Path, moment: random.Random | None) -> None:
    """Begin a run, or go on with what is there; die some milliseconds after a step or a write of random number."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resume = Checkpoints(out / "checkpoints").steps() != []
    run = tiny_run(out, steps=STEPS, save_every=3, evaluate_every=50, resume=resume, ema=EmaSpec(0.1))
    if moment is not None:
        events = itertools.count(1)
        last = moment.randint(1, 24)

        def after(function: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any) -> Any:
                if next(events) == last:
                    die(moment.choice([0.0, 0.0, moment.uniform(0, 0.003)]))
                return function(*args)

            return counted

        run.task.training_terms = after(run.task.training_terms)  # type: ignore[method-assign]
        for name in ("fsync", "replace"):
            setattr(os, name, after(getattr(os, name)))
    train(run)


def exit_code(out: Path, moment: random.Random | None) -> int | None:
    process = servers.Process(target=job, args=(out, moment))
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.slow
def test_twenty_kills_end_in_the_same_weights_as_none(tmp_path: Path) -> None:
    """Within steps, within the writing of checkpoints, between writing and renaming."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert exit_code(whole, None) == 0
    for kill in range(KILLS):
        assert exit_code(cut, random.Random(kill)) == -signal.SIGKILL, "the run ended before its twentieth kill"
        for step in Checkpoints(cut / "checkpoints").steps():
            load_checkpoint(cut / f"checkpoints/step_{step:08d}.pt")  # none is ever half written
    assert exit_code(cut, None) == 0
    assert lines(cut) == lines(whole)
    last = f"checkpoints/step_{STEPS:08d}.pt"
    assert same(load_checkpoint(whole / last), load_checkpoint(cut / last))
    kept, expected = (load_state(folder / "weights.safetensors") for folder in (cut, whole))
    assert same(kept, expected)
    assert read_meta(cut / "weights.safetensors") == read_meta(whole / "weights.safetensors")
    assert not list(cut.rglob("*.part"))


def test_the_hundred_thousandth_step_is_found_without_the_ones_before_it() -> None:
    """The order of samples is computed, not replayed: one permutation for each epoch touched."""
    permutations = sampling._permutation
    permutations.cache_clear()
    samples = Order(1000, seed=3, shuffle=True)
    assert len({samples.index(position) for position in range(400_000, 400_016)}) == 16
    assert permutations.cache_info().misses == 1
