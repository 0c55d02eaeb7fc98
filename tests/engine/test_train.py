from __future__ import annotations

import errno
import json
import os
import signal
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import SGD, Pictures, TinyTask, tiny_run, tiny_task
from torch import nn

from intarsia.contracts import Batch, LossTerm, Sample
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.engine.training.checkpoint import Checkpoints, load_checkpoint
from intarsia.engine.training.log import TIMING, NonFiniteLossError
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import Run, RunFolder
from intarsia.engine.training.step_time import measure_step_time
from intarsia.engine.training.trainer import Trainer, seed_torch
from intarsia.io.whole_files import DiskFullError
from intarsia.spec import EmaSpec, RareSpec, SafeguardSpec, ScheduleSpec
from intarsia.weights.file import WeightsMeta, load_state, read_meta


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the machine."""
    content = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in content]


def same(a: Any, b: Any) -> bool:
    """Bit for bit the same tensors and numbers."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def interrupt_at(run: Run, step: int, number: signal.Signals = signal.SIGINT) -> None:
    """Send the process a signal in the middle of the given step."""
    task: TinyTask = run.task
    before = task.training_terms
    count = 0

    def training_terms(batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), number)
        return before(batch)

    task.training_terms = training_terms  # type: ignore[method-assign]


def test_a_run_leaves_everything_in_its_folder(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = WeightsMeta(classes=("dark", "bright", "unseen"), config={"model": {"type": "Tiny"}})
    result = train(tiny_run(out, meta=meta, config_text="model = dict()\n", data={"images": 12}))

    assert result.finished
    assert result.step == 20
    assert {path.name for path in out.iterdir()} == {
        "run.json", "config.py", "metrics.jsonl", "curve.png", "weights.safetensors", "checkpoints", "eval.json",
        "eval.csv",
    }  # fmt: skip
    assert [path.name for path in sorted((out / "checkpoints").iterdir())] == ["step_00000015.pt", "step_00000020.pt"]

    run = json.loads((out / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["steps"] == 20
    assert run["epochs"] == pytest.approx(20 * 4 / 12, abs=1e-3)
    assert run["best"]["metric"] == "mIoU"
    assert run["weights"] == f"best mIoU, step {run['best']['step']}"
    assert {"versions", "git", "hardware", "command", "data", "seed", "config"} <= run.keys()

    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "loss" in line] == [4, 8, 12, 16, 20]
    assert [line["step"] for line in logged if "val/mIoU" in line] == [8, 16, 20]
    first = logged[0]
    assert first["loss"] == pytest.approx(first["decode.loss_ce"] + first["aux.loss_ce"], rel=1e-6)
    assert {"decode.acc_seg", "lr", "images_per_second", "data_wait"} <= first.keys()
    assert first["lr"] == pytest.approx(0.0999 * (1 - 3 / 19) ** 0.9 + 1e-4)
    validation = next(line for line in logged if "val/mIoU" in line)
    assert {"val/mIoU", "val/aAcc", "val/loss"} <= validation.keys()

    scores = json.loads((out / "eval.json").read_text())
    assert scores["classes"]["unseen"]["Acc"] is None
    assert scores["absent"] == ["unseen"]
    assert scores["images"] == 5
    assert (out / "eval.csv").read_text().splitlines()[0] == "class,IoU,Acc,pixels"

    inside = read_meta(out / "weights.safetensors")
    assert inside.classes == meta.classes
    assert inside.step == run["best"]["step"]
    assert inside.scores["mIoU"] == pytest.approx(scores["mIoU"])
    assert set(load_state(out / "weights.safetensors")) == set(tiny_task().model.state_dict())

    said = capsys.readouterr().out
    assert "step 4/20" in said
    assert "not in the labels" in said
    assert "nan" not in said
    assert str(out / "weights.safetensors") in said.splitlines()[-1]


def test_another_order_of_the_images_by_a_seed_of_its_own(out: Path) -> None:
    def names(**changes: Any) -> list[str]:
        batches = tiny_run(out, validate=False, **changes).batches(0)
        return [meta.name for _ in range(3) for meta in next(batches).metas]

    usual, other = names(), names(order_seed=6)
    assert sorted(usual) == sorted(other)
    assert usual != other
    assert other == names(seed=6)
    assert usual == names(order_seed=0)


def test_it_learns(out: Path) -> None:
    result = train(tiny_run(out, steps=60, pictures=Pictures(24)))
    logged = [line for line in lines(out) if "loss" in line]
    assert logged[-1]["loss"] < 0.8 * logged[0]["loss"]
    assert result.best is not None
    assert result.report is not None
    assert result.report.summary["aAcc"] > 0.8


def test_the_loop_is_the_one_that_one_would_write_by_hand(out: Path) -> None:
    """Forward, backward, clip, step, with the rate and the seed of the step."""
    run = tiny_run(
        out, optim=replace(SGD, clip={"max_norm": 0.5, "norm_type": 2}), validate=False, pictures=Pictures(8)
    )
    train(run)

    task = tiny_task()
    task.train()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    batches = run.batches(0)
    for step in range(20):
        batch = next(batches)
        seed_torch(torch.device("cpu"), run.seed, step, 0)
        optimizer.param_groups[0]["lr"] = (0.1 - 1e-4) * (1 - step / 19) ** 0.9 + 1e-4
        loss, auxiliary, _ = task.training_terms(batch)
        (loss.value + 0.4 * auxiliary.value).backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    found = load_checkpoint(out / "checkpoints/step_00000020.pt")["task"]
    for name, value in task.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("stop", "evaluate_every"), [(10, 8), (11, 11)])
def test_resuming_ends_in_the_same_bits(tmp_path: Path, workers: int, stop: int, evaluate_every: int) -> None:
    """Weights, optimizer, averages and logs; with flips, dropout and batch norm, and another number of workers."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = {"evaluate_every": evaluate_every, "ema": EmaSpec(momentum=0.1)}
    train(tiny_run(whole, workers=workers, **settings))

    first = tiny_run(parts, workers=workers, **settings)
    interrupt_at(first, stop)
    halted = train(first)
    assert (halted.finished, halted.step) == (False, stop)
    assert json.loads((parts / "run.json").read_text())["status"] == "interrupted"
    resumed = tiny_run(parts, workers=2 - workers, resume=True, task=tiny_task(), **settings)
    assert train(resumed).finished

    name = "checkpoints/step_00000020.pt"
    a, b = load_checkpoint(whole / name), load_checkpoint(parts / name)
    for part in ("task", "optimizer", "ema"):
        assert a[part]
        assert same(a[part], b[part])
    assert same(a, b)
    assert lines(whole) == lines(parts)
    assert same(load_state(whole / "weights.safetensors"), load_state(parts / "weights.safetensors"))


@dataclass(frozen=True)
class Marked(Pictures):
    """Picture 2 shows the third class in a corner."""

    def load(self, index: int) -> Sample:
        sample = super().load(index)
        if index == 2:
            assert sample.label is not None
            sample.label[-1, -1] = 2
        return sample


def test_a_run_that_draws_rare_classes_goes_on_with_the_same_samples(tmp_path: Path) -> None:
    def made(name: str, **changes: Any) -> Run:
        crop = RandomCrop((8, 8))
        rare = Pipeline(Marked(), (crop, RandomFlip(prob=0.5)), rare=RareSpec((2,), every=3))
        run = tiny_run(tmp_path / name, validate=False, save_every=20, **changes)
        return replace(run, pipeline=rare)

    seen: Counter[int] = Counter()
    whole = made("whole")
    before = whole.task.training_terms

    def counting(batch: Batch) -> list[LossTerm]:
        assert isinstance(batch.labels, torch.Tensor)
        seen.update((batch.labels == 2).flatten(1).any(dim=1).tolist())
        return before(batch)

    whole.task.training_terms = counting  # type: ignore[method-assign]
    train(whole)
    assert seen[True] / (seen[True] + seen[False]) > 0.25  # of 80 samples, 1 in 12 without

    first = made("parts")
    interrupt_at(first, 7)
    assert not train(first).finished
    assert train(made("parts", resume=True, workers=2, task=tiny_task())).finished
    name = "checkpoints/step_00000020.pt"
    a, b = load_checkpoint(tmp_path / "whole" / name), load_checkpoint(tmp_path / "parts" / name)
    assert same(a["task"], b["task"])
    assert same(a["optimizer"], b["optimizer"])


def test_a_backbone_that_begins_later_stands_still_and_is_resumed_in_the_same_bits(tmp_path: Path) -> None:
    two_stages = replace(
        SGD,
        schedules=(
            ScheduleSpec("WarmupPolyLR", 0, 20, args={"warm_up": 4, "power": 0.9}),
            ScheduleSpec("WarmupPolyLR", 0, 20, args={"delay": 6, "warm_up": 4, "power": 0.9}, part="backbone"),
        ),
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = {"optim": two_stages, "validate": False}
    train(tiny_run(whole, **settings))
    first = tiny_run(parts, task=tiny_task(), **settings)
    interrupt_at(first, 6)
    assert train(first).step == 6
    start, state = tiny_task().model, first.task.model
    assert same(state.backbone.state_dict(), start.backbone.state_dict())
    assert not same(state.decode_head.state_dict(), start.decode_head.state_dict())
    assert train(tiny_run(parts, resume=True, task=tiny_task(), **settings)).finished
    name = "checkpoints/step_00000020.pt"
    assert same(load_checkpoint(whole / name), load_checkpoint(parts / name))
    assert lines(whole) == lines(parts)


def test_a_run_cut_short_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """As after kill -9: nothing written at the end, metrics.jsonl ahead of the checkpoint, its last line torn."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(tiny_run(whole))
    run = tiny_run(cut, safeguards=SafeguardSpec(nonfinite_steps=1))
    run.task.poison_at = 14  # stops at the log line of step 16, with checkpoints of 5 and 10
    with pytest.raises(NonFiniteLossError):
        train(run)
    with open(cut / "metrics.jsonl", "a") as file:
        file.write('{"step": 12, "los')
    train(tiny_run(cut, resume=True))
    assert lines(cut) == lines(whole)
    assert same(
        load_checkpoint(whole / "checkpoints/step_00000020.pt"), load_checkpoint(cut / "checkpoints/step_00000020.pt")
    )


def test_resuming_before_the_first_checkpoint_begins_again(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tiny_run(out, resume=True, validate=False)).finished
    assert "beginning at step 0" in capsys.readouterr().out


def test_resuming_a_finished_run_changes_nothing(out: Path) -> None:
    train(tiny_run(out))
    before = lines(out)
    assert train(tiny_run(out, resume=True)).finished
    assert lines(out) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_says_how_to_go_on(
    out: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    run = tiny_run(out)
    interrupt_at(run, 7, number)
    result = train(run)
    assert (result.finished, result.step) == (False, 7)
    assert (out / "checkpoints/step_00000007.pt").exists()
    assert f"intarsia train --resume {out}" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_a_signal_during_an_evaluation_leaves_it_for_later(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(tiny_run(whole))
    run = tiny_run(parts)
    assert run.validation is not None
    metric = run.validation.metric
    update = metric.update

    def signalled(*images: Any) -> None:
        metric.update = update  # type: ignore[method-assign]
        os.kill(os.getpid(), signal.SIGTERM)
        update(*images)

    metric.update = signalled  # type: ignore[method-assign]
    assert train(run).step == 8
    assert not [line for line in lines(parts) if "val/mIoU" in line]
    train(tiny_run(parts, resume=True))
    assert lines(whole) == lines(parts)


def test_a_loss_that_is_not_finite_stops_the_run(out: Path) -> None:
    run = tiny_run(out, log_every=8, safeguards=SafeguardSpec(nonfinite_steps=1))
    run.task.poison_at = 7
    with pytest.raises(NonFiniteLossError, match=r"not finite at step 7: decode.loss_ce = nan") as caught:
        train(run)
    assert "step_00000005.pt, is intact" in str(caught.value)
    assert caught.value.step == 7
    assert caught.value.terms == ("decode.loss_ce", "aux.loss_ce")
    assert Checkpoints(out / "checkpoints").steps() == [5]
    assert all(torch.isfinite(v).all() for v in load_checkpoint(out / "checkpoints/step_00000005.pt")["task"].values())
    assert json.loads((out / "run.json").read_text())["status"] == "failed"


def test_a_quantity_that_is_only_logged_may_be_anything(out: Path) -> None:
    run = tiny_run(out, validate=False)
    before = run.task.training_terms
    run.task.training_terms = lambda batch: [  # type: ignore[method-assign]
        replace(term, value=term.value * torch.nan) if term.weight == 0 else term for term in before(batch)
    ]
    assert train(run).finished
    assert lines(out)[0]["decode.acc_seg"] is None


def test_a_full_disk_leaves_the_earlier_checkpoint(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def full(handle: int) -> None:
        if len(Checkpoints(out / "checkpoints").steps()) == 1 and any((out / "checkpoints").glob(".intarsia-*")):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"no room on the disk for .*step_00000010.pt.* are intact"):
        train(tiny_run(out))
    assert Checkpoints(out / "checkpoints").steps() == [5]
    monkeypatch.undo()
    assert train(tiny_run(out, resume=True)).finished


def test_another_run_is_not_overwritten(out: Path) -> None:
    train(tiny_run(out, validate=False))
    with pytest.raises(ValueError, match=r"already holds a run.*--resume"):
        train(tiny_run(out, validate=False))


def test_a_resumed_run_keeps_its_seed(out: Path) -> None:
    train(tiny_run(out, validate=False))
    with pytest.raises(ValueError, match="written with seed 0, this run has 1"):
        train(tiny_run(out, validate=False, resume=True, seed=1, steps=30))


def test_accumulated_parts_equal_the_whole_batch(out: Path) -> None:
    class Plain(TinyTask):
        def __init__(self) -> None:
            super().__init__()
            self.model.norm = nn.Identity()  # batch statistics do depend on the parts
            self.model.dropout = nn.Identity()

    def gradients(parts: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        task = Plain().double()
        frozen = replace(SGD, accumulate=parts, optimizer=replace(SGD.optimizer, args={"lr": 1.0}))
        run = tiny_run(out, task=task, optim=frozen, batch=12, validate=False)
        before = [p.detach().clone() for p in task.parameters()]
        # The square of a mean is not the mean of squares: look at the term that is a mean.
        terms = task.training_terms
        task.training_terms = lambda batch: terms(batch)[:1]  # type: ignore[method-assign]
        Trainer(run).step()
        return [b - p.detach() for b, p in zip(before, task.parameters(), strict=True)]

    whole, parts = gradients(1), gradients(3)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_a_batch_that_cannot_be_shared_out_is_refused(out: Path) -> None:
    run = tiny_run(out, optim=replace(SGD, accumulate=3), batch=8)
    with pytest.raises(ValueError, match=r"total batch of 8.*the next that can are 6 and 9"):
        train(run)


def test_best_weights_in_either_direction(out: Path) -> None:
    result = train(tiny_run(out, best_metric="loss", best_mode="min"))
    losses = {line["step"]: line["val/loss"] for line in lines(out) if "val/loss" in line}
    assert result.best is not None
    assert result.best.step == min(losses, key=losses.__getitem__)
    assert read_meta(out / "weights.safetensors").step == result.best.step


def test_clipping_logs_the_norm(out: Path) -> None:
    train(tiny_run(out, optim=replace(SGD, clip={"max_norm": 1e-3, "norm_type": 2}), validate=False))
    norms = [line["gradient_norm"] for line in lines(out)]
    assert all(norm > 1e-3 for norm in norms)
    still = tiny_task().state_dict()["model.decode_head.weight"]
    moved = load_checkpoint(out / "checkpoints/step_00000020.pt")["task"]["model.decode_head.weight"]
    assert (moved - still).norm() < 0.1


def test_measuring_a_step_changes_nothing(tmp_path: Path) -> None:
    measured, plain = tiny_run(tmp_path / "a"), tiny_run(tmp_path / "b")
    seconds = measure_step_time(measured, steps=4)
    assert 0 < seconds < 1
    train(measured)
    train(plain)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_a_broken_sample_names_its_file(out: Path) -> None:
    run = replace(tiny_run(out, validate=False), pipeline=Pipeline(Pictures(broken=3), ()))
    with pytest.raises(ValueError, match=r"picture3.png: cannot be read"):
        train(run)
    assert "picture3.png" in RunFolder(out).read()["error"]
