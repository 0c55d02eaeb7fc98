"""Finding a learning rate and a batch: sensible answers, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from standins import tiny_run

from intarsia.engine.optim.batch_finder import try_batches
from intarsia.engine.optim.lr_finder import sweep_learning_rate


def test_a_sweep_ends_when_the_loss_explodes_and_changes_nothing(out: Path) -> None:
    run = tiny_run(out, validate=False)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    sweep = sweep_learning_rate(run, low=1e-4, high=1e4, steps=60)
    assert len(sweep.rates) == len(sweep.losses) <= 60
    assert sweep.rates[0] == pytest.approx(1e-4)
    assert sweep.rates[0] < sweep.suggestion < sweep.rates[-1]
    lowest = sweep.losses.index(min(sweep.losses))
    assert sweep.rates.index(sweep.suggestion) <= lowest
    assert sweep.losses[lowest] < sweep.losses[0]
    assert all(value.equal(before[name]) for name, value in run.network.state_dict().items())
    assert not out.exists()


def test_a_sweep_over_a_loss_that_is_never_finite_is_refused(out: Path) -> None:
    run = tiny_run(out, validate=False)
    with torch.no_grad():
        run.network.decode_head.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite at a learning rate of"):
        sweep_learning_rate(run, steps=20)


def test_batches_double_up_to_the_limit(out: Path) -> None:
    seen = []
    trials = try_batches(tiny_run(out, validate=False), limit=8, on_trial=seen.append)
    assert [trial.images for trial in trials] == [2, 4, 8]
    assert seen == trials
    assert all(trial.seconds is not None and trial.seconds > 0 for trial in trials)


def test_the_first_batch_that_does_not_fit_ends_the_search(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run(out, validate=False)
    real = type(run.task).training_terms

    def limited(task: torch.nn.Module, batch: object) -> object:
        if len(batch.images) > 5:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError
        return real(task, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(type(run.task), "training_terms", limited)
    trials = try_batches(run, limit=64)
    assert [(trial.images, trial.memory is not None) for trial in trials] == [
        (2, True),
        (4, True),
        (8, False),
        (6, False),
    ]
