"""`intarsia.train(resume=...)`, its observers, and the finders: runs that go on, and trials before they begin."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import intarsia
from intarsia.engine.callbacks.base import Observer
from intarsia.engine.optim.batch_finder import try_batches
from intarsia.weights.file import load_state

pytest.importorskip("timm", reason="timm is not installed")

RECIPE, TRUNK = "segformer_timm:test_convnext.r160_in1k", "test_convnext.r160_in1k"
MACHINE: dict[str, Any] = {"workers": 0, "device": "cpu"}
QUICK: dict[str, Any] = {"batch": 2, "crop": 64, "seed": 3, **MACHINE}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of two colours, six to train on and two to look at."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for index in range(8):
        split = "train" if index < 6 else "val"
        label = np.kron(rng.integers(0, 2, (4, 4)), np.ones((16, 16), int)).astype(np.uint8)
        for kind, array in (("images", label * 200), ("masks", label)):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / split / f"{index}.png")
    (folder / "data.yaml").write_text(
        "root: .\nclasses: [dark, light]\nlabels: {0: dark, 1: light}\n"
        "splits:\n  train: {images: images/train, labels: masks/train}\n"
        "  val: {images: images/val, labels: masks/val}\n"
    )
    return folder / "data.yaml"


def made() -> intarsia.SegmentationModel:
    torch.manual_seed(0)
    return intarsia.create_model("segformer", trunk=TRUNK, num_classes=2, pretrained=False)


class Watching(Observer):
    """Notes what it is told, and interrupts the run at its first checkpoint if it is asked to."""

    def __init__(self, *, interrupt: bool = False) -> None:
        self.told: list[str] = []
        self.losses: list[float] = []
        self.interrupt = interrupt

    def begin(self, run: Any, step: int) -> None:
        self.told.append(f"begins at {step}")

    def values(self, step: int, values: Mapping[str, float]) -> None:
        self.losses += [value for name, value in values.items() if name == "loss"]

    def saved(self, step: int, path: Path) -> None:
        self.told.append(f"saved {step}")
        if self.interrupt:
            raise KeyboardInterrupt

    def end(self, step: int, status: str) -> None:
        self.told.append(status)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> intarsia.TrainedRun:
    """A run of a given model that nobody interrupted."""
    return intarsia.train(made(), data=data, out=tmp_path_factory.mktemp("whole") / "run", steps=4, **QUICK)


def same(one: Path, other: Path) -> bool:
    left, right = load_state(one), load_state(other)
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def test_an_interrupted_run_goes_on_to_the_bit(data: Path, whole: intarsia.TrainedRun, tmp_path: Path) -> None:
    """By its folder, or with the very call that began it; a given model then has the weights of the end."""
    arguments: dict[str, Any] = {"data": data, "steps": 4, "save_every": "2 steps", **QUICK}
    interrupted = Watching(interrupt=True)
    for name in ("by_folder", "by_call"):
        with pytest.raises(KeyboardInterrupt):
            intarsia.train(made(), out=tmp_path / name, observers=[interrupted], **arguments)
    assert interrupted.told == ["begins at 0", "saved 2", "interrupted"] * 2

    going_on = Watching()
    done = intarsia.train(resume=tmp_path / "by_folder", observers=[going_on], **MACHINE)
    assert going_on.told == ["begins at 2", "saved 4", "finished"]
    assert (done.folder, done.step) == (tmp_path / "by_folder", 4)
    assert same(done.weights, whole.weights)
    assert done.scores == whole.scores

    model = made()
    again = intarsia.train(model, out=tmp_path / "by_call", resume="auto", **arguments)
    assert same(again.weights, whole.weights)
    assert all(value.equal(model.state_dict()[name]) for name, value in load_state(whole.weights).items())


def test_a_finished_run_is_given_as_it_is(data: Path, whole: intarsia.TrainedRun) -> None:
    before = whole.weights.stat().st_mtime_ns
    model = made()
    by_call = intarsia.train(model, data=data, out=whole.folder, steps=4, resume="auto", **QUICK)
    for found in (intarsia.train(resume=whole.folder), by_call):
        assert (found.step, found.best, found.scores) == (whole.step, whole.best, whole.scores)
        assert found.report is not None
        assert found.report.classes == whole.report.classes  # type: ignore[union-attr]
    assert whole.weights.stat().st_mtime_ns == before
    assert all(value.equal(model.state_dict()[name]) for name, value in load_state(whole.weights).items())


def test_auto_begins_where_there_is_no_run(data: Path, tmp_path: Path) -> None:
    watching = Watching()
    done = intarsia.train(RECIPE, data=data, out=tmp_path / "run", steps=1, resume="auto", observers=[watching],
                          pretrained=False, **QUICK)  # fmt: skip
    assert done.step == 1
    assert watching.told == ["begins at 0", "saved 1", "finished"]
    assert len(watching.losses) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 1e-3}, r"goes on with the run as it was begun: leave out lr; it takes device, devices"),
        ({"model": "fast_scnn", "steps": 5}, r"leave out model, steps; .*train\('run/config.py', weights='run/weights"),
        ({}, r"there is no such folder"),
    ],
    ids=str,
)
def test_a_run_goes_on_as_it_was_begun(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        intarsia.train(resume="run", **arguments)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match=r"a model, a recipe or a config file is missing.*train\(resume=RUN\)"):
        intarsia.train(out="run")
    with pytest.raises(ValueError, match=r"out=RUN, the folder for the run, is missing"):
        intarsia.train("fast_scnn", resume="auto")


def test_the_finders_leave_the_model_as_it_is(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.workflows.find.STEPS", 8)
    monkeypatch.setattr("intarsia.workflows.find.try_batches", partial(try_batches, limit=2))
    model = made()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = intarsia.find_learning_rate(model, data=data, out=tmp_path / "run", **QUICK)
    assert 1e-7 < found.suggestion < 1.0
    assert len(found.rates) == len(found.losses) == 8
    assert list(found.rates) == sorted(found.rates)
    assert (tmp_path / "run" / "learning_rate.png").is_file()
    trials = intarsia.find_batch(model, data=data, out=tmp_path / "run", **QUICK)
    assert [trial.images for trial in trials] == [2]
    assert all(trial.seconds is not None and trial.memory is not None for trial in trials)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    done = intarsia.train(model, data=data, out=tmp_path / "run", steps=1, lr=found.suggestion, **QUICK)
    assert done.step == 1, "into the same folder"


def test_find_is_no_option_of_train() -> None:
    with pytest.raises(TypeError, match="no option 'find'; find_learning_rate and find_batch"):
        intarsia.train("fast_scnn", out="run", find="lr")  # type: ignore[call-arg]
