"""Runs that learn from a teacher: resumed as if never stopped, in any precision, in several processes."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import SGD, Network, Pictures, tiny_run
from torch import Tensor

from intarsia.data.transforms.blur import GaussianBlur
from intarsia.data.transforms.geometry import RandomFlip
from intarsia.data.unlabelled import Unlabelled, weak_views
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.engine.training.log import TIMING
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import Run
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.spec import EmaSpec, PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation
from intarsia.tasks.taught import Distillation, PseudoLabels, Taught

STEPS = 8


class Decoder(Network):
    output_names = ("decode",)

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        return {"decode": self(images)}


def plain_task(seed: int = 0) -> SemanticSegmentation:
    torch.manual_seed(seed)
    losses = [HeadLoss("decode", [HeadTerm("loss_ce", CrossEntropyLoss())], 255, False)]
    preprocess = Preprocess(PreprocessSpec((127.5,) * 3, (64.0,) * 3))
    return SemanticSegmentation(Decoder(), preprocess=preprocess, losses=losses, num_classes=3, ignore_index=255)


def images(**changes: Any) -> Unlabelled:
    pipeline = weak_views(Pictures(9), (RandomFlip(prob=0.5),))
    return replace(Unlabelled(pipeline, (GaussianBlur(prob=0.5),), seed=0, ramp_up=5), **changes)


def taught_run(out: Path, **changes: Any) -> Run:
    task = changes.pop("task", None) or Taught(plain_task(), pseudo_labels=PseudoLabels(0.5))
    settings = {
        "unlabelled": images(),
        "ema": EmaSpec(momentum=0.2),
        "steps": STEPS,
        "save_every": 4,
        "validate": False,
    }
    return tiny_run(out, task=task, **(settings | changes))


def stopped_at(run: Run, step: int) -> Run:
    """The same, told to stop in the middle of a step."""
    before, count = run.task.training_terms, 0

    def training_terms(batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGUSR1)
        return before(batch)

    run.task.training_terms = training_terms  # type: ignore[method-assign]
    return run


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the machine."""
    content = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in content]


def assert_same(a: Any, b: Any) -> None:
    """Bit for bit the same tensors and numbers."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def checkpoint(folder: Path, step: int = STEPS) -> dict[str, Any]:
    return load_checkpoint(folder / f"checkpoints/step_{step:08d}.pt")


@pytest.mark.parametrize("confidence", [0.5, "adaptive"])
def test_a_resumed_run_is_the_one_that_was_never_stopped(tmp_path: Path, confidence: Any) -> None:
    def run(name: str, **changes: Any) -> Run:
        task = Taught(plain_task(), pseudo_labels=PseudoLabels(confidence))
        return taught_run(tmp_path / name, task=task, validate=True, evaluate_every=4, **changes)

    whole = train(run("whole"))
    stopped = train(stopped_at(run("parts"), 5))
    assert (whole.step, stopped.step) == (8, 5)
    train(run("parts", resume=True))
    assert_same(checkpoint(tmp_path / "parts"), checkpoint(tmp_path / "whole"))
    found = lines(tmp_path / "whole")
    assert lines(tmp_path / "parts") == found
    assert {"unlabelled.loss", "unlabelled.confident"} <= found[0].keys()
    assert 0 < found[-2]["unlabelled.confident"] < 1


def test_the_teacher_is_the_average_and_is_in_the_checkpoint_once(tmp_path: Path) -> None:
    run = taught_run(tmp_path / "run")
    train(run)
    state = checkpoint(tmp_path / "run")
    teacher = run.averaged_teacher.teacher.get_submodule("model")
    assert_same(dict(teacher.state_dict()), state["ema"])
    assert set(state["task"]) == set(plain_task().state_dict())
    assert not torch.equal(state["ema"]["decode_head.weight"], state["task"]["model.decode_head.weight"])


def test_the_pseudo_labels_change_what_is_learned(tmp_path: Path) -> None:
    train(taught_run(tmp_path / "taught"))
    train(taught_run(tmp_path / "plain", task=plain_task(), unlabelled=None))
    taught, plain = (checkpoint(tmp_path / name)["task"] for name in ("taught", "plain"))
    assert not torch.allclose(taught["model.decode_head.weight"], plain["model.decode_head.weight"])


def test_a_teacher_that_counts_nothing_changes_nothing(tmp_path: Path) -> None:
    """Its passes draw no random number and touch no statistics: dropout and norms of the student are as without."""
    task = Taught(plain_task(), teacher=plain_task(1), distillation=Distillation(weight=0))
    run = taught_run(tmp_path / "taught", task=task, unlabelled=None, ema=None)
    train(run)
    train(taught_run(tmp_path / "plain", task=plain_task(), unlabelled=None, ema=None))
    taught, plain = checkpoint(tmp_path / "taught"), checkpoint(tmp_path / "plain")
    for part in ("task", "optimizer"):
        assert_same(taught[part], plain[part])
    assert "teacher.loss" in lines(tmp_path / "taught")[0]
    assert_same(dict(run.module.teacher.state_dict()), dict(plain_task(1).state_dict()))


def test_accumulated_micro_batches_see_the_same_images(tmp_path: Path) -> None:
    whole, parts = taught_run(tmp_path / "a"), taught_run(tmp_path / "b", optim=replace(SGD, accumulate=2))
    seen, halves = whole.batches(3), parts.batches(3)
    batch, pair = next(seen).unlabelled, [next(halves).unlabelled for _ in range(2)]
    assert torch.equal(batch.weak, torch.cat([half.weak for half in pair]))
    assert [half.amount for half in pair] == [batch.amount] * 2 == [images().amount(3)] * 2
    train(stopped_at(parts, 11))  # in the sixth step
    train(taught_run(tmp_path / "b", optim=replace(SGD, accumulate=2), resume=True))
    train(taught_run(tmp_path / "c", optim=replace(SGD, accumulate=2)))
    assert_same(checkpoint(tmp_path / "b"), checkpoint(tmp_path / "c"))


def adaptive(out: Path, **changes: Any) -> Run:
    return taught_run(out, task=Taught(plain_task(), pseudo_labels=PseudoLabels("adaptive")), **changes)


def test_thresholds_of_a_step_are_those_of_all_its_micro_batches(tmp_path: Path) -> None:
    """The first step's teacher knows nothing of how the step is divided."""
    train(adaptive(tmp_path / "whole", steps=1))
    train(adaptive(tmp_path / "parts", steps=1, optim=replace(SGD, accumulate=2)))

    def job(runtime: FabricRuntime) -> None:
        train(adaptive(tmp_path / "processes", steps=1, runtime=runtime))

    in_two_processes(job)
    whole, *others = (checkpoint(tmp_path / name, 1)["confidence"] for name in ("whole", "parts", "processes"))
    assert (whole["means"] > 0.3).any()
    for other in others:
        torch.testing.assert_close(other, whole)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "64-true"])
def test_precisions(tmp_path: Path, precision: Any) -> None:
    def run(name: str, teacher: Any) -> dict[str, Any]:
        how = None if teacher is None else Distillation()
        task = Taught(plain_task(), teacher=teacher, distillation=how, pseudo_labels=PseudoLabels("adaptive"))
        runtime = FabricRuntime(accelerator="cpu", precision=precision)
        train(taught_run(tmp_path / name, task=task, runtime=runtime, steps=4))
        return lines(tmp_path / name)[0]

    for found in (run("average", None), run("given", plain_task(1))):
        assert found["unlabelled.loss"] >= 0
        assert "skipped_steps" not in found
    train(adaptive(tmp_path / "single", steps=4))
    expected = lines(tmp_path / "single")[0]["loss"]
    assert lines(tmp_path / "average")[0]["loss"] == pytest.approx(expected, rel=0.05)


def in_two_processes(job: Callable[[FabricRuntime], Any]) -> None:
    FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(job)


def test_two_processes_have_one_teacher_and_can_be_resumed(tmp_path: Path) -> None:
    def job(runtime: FabricRuntime) -> None:
        def run(name: str, **changes: Any) -> Run:
            return adaptive(tmp_path / name, runtime=runtime, **changes)

        whole = run("whole")
        train(whole)
        teacher = whole.averaged_teacher.teacher.get_submodule("model").state_dict()
        for other in runtime.all_gather(dict(teacher)):
            assert_same(other, dict(teacher))
        train(stopped_at(run("parts"), 5))
        train(run("parts", resume=True))

    in_two_processes(job)
    assert_same(checkpoint(tmp_path / "parts"), checkpoint(tmp_path / "whole"))


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="averages none"):
        taught_run(tmp_path, ema=None)
    with pytest.raises(ValueError, match="--strategy ddp"):
        taught_run(tmp_path, runtime=FabricRuntime(accelerator="cpu", devices=2, strategy="fsdp"))


def test_a_copy_can_be_measured_before_the_run(tmp_path: Path) -> None:
    from intarsia.engine.training.step_time import measure_step_time

    run = taught_run(tmp_path / "run")
    before = copy.deepcopy(run.module.state_dict())
    assert measure_step_time(run, warm_up=1, steps=2) > 0
    assert_same(dict(run.module.state_dict()), dict(before))
