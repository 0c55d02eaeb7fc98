"""Trainings: resumed bit for bit, in half precision, compiled, with batches that do not fit, without waits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import load_file

from gpu_parts import runs
from gpu_parts.notes import Notes
from intarsia.contracts import Batch
from intarsia.data.loader import eval_loader
from intarsia.engine.optim.batch_finder import try_batches
from intarsia.engine.training.trainer import Trainer
from intarsia.inference.logits.postprocess import RequestedFields
from intarsia.inference.predictor import Soundness

FRACTION = 0.04
"""Share of the device's memory that the batch finder is given, so that it meets the end soon."""


def deterministic(notes: Notes, _: str) -> None:
    """Twice the same training, once with a stop in the middle: the same bits."""
    steps = 4 if notes.small else 24
    whole, parts = (runs.request(notes, name, steps=steps, deterministic=True) for name in ("whole", "parts"))
    result = runs.train(whole)
    runs.train_with_a_stop(notes, parts, at=steps // 2 + 1)
    _same_bits(notes, whole.out, parts.out)
    found = runs.losses(whole.out)
    notes.is_true("a line for each step", len(found) == steps)
    notes.is_true("every loss is a number", all(map(math.isfinite, found)))
    notes.is_true("the loss falls", sum(found[-3:]) < sum(found[:3]) or notes.small)
    notes.is_true("there are scores", result.report is not None and 0 <= result.report.summary["mIoU"] <= 1)


def half(notes: Notes, _: str) -> None:
    """Without --deterministic, in bfloat16, and in float16 with its loss scale: stopped, gone on with, finished."""
    steps = 4 if notes.small else 24
    plain = runs.request(notes, "32", steps=steps)
    runs.train(plain)
    first = runs.losses(plain.out)[0]
    for precision, tolerance in (("bf16", 2e-2), ("16", 1e-2)):
        with notes.attempt(precision):
            wanted = runs.request(notes, precision, steps=steps, precision=precision)
            result = runs.train_with_a_stop(notes, wanted, at=steps // 2 + 1)
            found = runs.losses(wanted.out)
            notes.is_true(f"{precision}: finished", result.finished and len(found) == steps)
            counted = [loss for loss in found if loss is not None]  # float16 leaves steps out until its scale fits
            notes.is_true(f"{precision}: steps count", len(counted) >= steps // 2 or notes.small)
            notes.is_true(f"{precision}: every loss is a number", all(map(math.isfinite, counted)))
            if found[0] is not None:
                notes.holds(f"{precision}: first loss beside float32's", abs(found[0] - first) / first, tolerance)


def compiled(notes: Notes, _: str) -> None:
    """The losses of a few steps, with and without."""
    plain, fast = (runs.request(notes, name, steps=4, compiled=name == "fast") for name in ("plain", "fast"))
    runs.train(plain)
    backend = "eager" if notes.small else "inductor"  # which takes minutes to compile on a small processor
    with mock.patch.object(torch, "compile", partial(torch.compile, backend=backend)):
        runs.train(fast)
    for step, (a, b) in enumerate(zip(runs.losses(plain.out), runs.losses(fast.out), strict=True)):
        notes.holds(f"loss of step {step + 1}", abs(a - b) / a, 1e-3 * 3**step)


def batch(notes: Notes, _: str) -> None:
    """On a GPU that may use a small share of its memory."""
    run = runs.assembled(notes, runs.request(notes, "batch", steps=4))
    if notes.on_gpu:
        torch.cuda.set_per_process_memory_fraction(FRACTION)
    try:
        trials = try_batches(run, limit=4 if notes.small else 4096)
        fits = [trial for trial in trials if trial.memory is not None]
        notes.is_true("some batch fits", bool(fits))
        # A batch is of different images, so that a small data set ends the search before the memory does.
        enough = notes.small or len(run.pipeline) <= 2 * max(trial.images for trial in fits)
        notes.is_true("the search meets its end", enough or any(trial.memory is None for trial in trials))
        if notes.on_gpu:
            _out_of_memory(notes)
        notes.is_true("a step after that", math.isfinite(float(Trainer(run).step().terms[0].value)))
    finally:
        if notes.on_gpu:
            torch.cuda.set_per_process_memory_fraction(1.0)
    for trial in fits:
        notes.figure(images=trial.images, seconds=trial.seconds, gigabytes=(trial.memory or 0) / 1e9)


def _out_of_memory(notes: Notes) -> None:
    """A batch that cannot fit is found out, and leaves the device as it was."""
    run = runs.assembled(notes, runs.request(notes, "too_large", steps=4, crop=(2048, 2048)))
    trials = try_batches(run, limit=64)
    notes.is_true("a batch that does not fit is found out", any(trial.memory is None for trial in trials))


# --- Waits --------------------------------------------------------------------------------------------------------


def waits(notes: Notes, _: str) -> None:
    """torch says where the processor waits for the device: in steps and in images, but the first ones, nowhere."""
    run = runs.assembled(notes, runs.request(notes, "waits", steps=16))
    assert run.validation is not None
    source = run.batches(0)
    first = next(source)
    notes.is_true("batches are in pinned memory", first.images.is_pinned() or not notes.on_gpu)
    trainer = Trainer(run, batches=_repeated(first))
    for _ in range(3):  # makes the optimizer's state
        trainer.step()
    with _waiting(notes) as found:
        for _ in range(4):
            trainer.step()
    _report(notes, "steps", found)

    predictor = run.validation.predictor
    pictures = [b.pin_memory() if notes.on_gpu else b for b in _pictures(run)]
    wanted = RequestedFields(confidence=True)
    soundness = Soundness()
    predictor.postprocess_batch(pictures[0], wanted, soundness=soundness)
    with _waiting(notes) as found:
        for picture in pictures:
            predictor.postprocess_batch(picture, wanted, soundness=soundness)
    _report(notes, "images", found)


def _pictures(run: object) -> list[Batch]:
    pipeline = run.validation.pipeline  # type: ignore[attr-defined]
    return list(eval_loader(pipeline, batch_size=1, workers=0))


def _repeated(batch: Batch) -> Iterator[Batch]:
    while True:
        yield batch


@contextmanager
def _waiting(notes: Notes) -> Iterator[list[str]]:
    """Files and lines that have waited."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if notes.on_gpu:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            if notes.on_gpu:
                torch.cuda.set_sync_debug_mode("default")
    found += [f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchronizing" in str(w.message)]


def _report(notes: Notes, what: str, found: list[str]) -> None:
    places = ", ".join(sorted(set(found)))
    notes.holds(f"waits in {what}{f' ({places})' if places else ''}", float(len(found)), 0.0)


def _same_bits(notes: Notes, a: Path, b: Path) -> None:
    one, other = (load_file(out / "weights.safetensors") for out in (a, b))
    different = [name for name in one if not torch.equal(one[name], other[name])]
    notes.is_true(f"the same bits after a stop{': not ' if different else ''}{', '.join(different[:3])}", not different)
    notes.is_true("the same losses after a stop", runs.losses(a) == runs.losses(b))
