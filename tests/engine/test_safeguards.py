"""What a long run is given: skipped steps, averages, early stopping, frozen parts, observers, a watchdog."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import SGD, Pictures, TinyTask, tiny_run, tiny_task
from torch import Tensor, nn

from intarsia.contracts import Batch, LossTerm, Report
from intarsia.data.pipeline import Pipeline
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.callbacks.base import Observer
from intarsia.engine.callbacks.sample_images import TrainingPictures
from intarsia.engine.callbacks.tensorboard import TensorBoard
from intarsia.engine.callbacks.wandb import WandB
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.engine.training.ema import Ema, begun_by_step
from intarsia.engine.training.log import NonFiniteLossError
from intarsia.engine.training.loop import train
from intarsia.engine.training.nonfinite import NonFiniteGuard, put_back
from intarsia.engine.training.run import Run
from intarsia.engine.training.trainer import Trainer, seed_torch
from intarsia.engine.training.watchdog import Watchdog
from intarsia.spec import EarlyStopSpec, EmaSpec, SafeguardSpec
from intarsia.tasks.freezing import Frozen
from intarsia.weights.file import load_state


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# --- Losses that are not finite -----------------------------------------------------------------------------------


class PoisonedModel(TinyTask):
    """From the given call on, the network's first convolution gives nan."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first
        self.model.backbone.register_forward_hook(self._poison)

    def _poison(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * torch.nan if self.calls + 1 >= self.first else output


def test_a_bad_step_is_left_out_and_nothing_of_it_remains(out: Path) -> None:
    """Weights, momentum and statistics are those of a run that had jumped over it."""

    class Once(PoisonedModel):
        def _poison(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            return output * torch.nan if self.calls + 1 == self.first else output

    torch.manual_seed(0)
    run = tiny_run(out, task=Once(7), validate=False)
    assert train(run).finished

    task = tiny_task()
    task.train()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    batches = run.batches(0)
    for step in range(20):
        batch = next(batches)
        if step == 6:
            continue
        seed_torch(torch.device("cpu"), run.seed, step, 0)
        optimizer.param_groups[0]["lr"] = (0.1 - 1e-4) * (1 - step / 19) ** 0.9 + 1e-4
        sum(term.weight * term.value for term in task.training_terms(batch)).backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
    found = load_checkpoint(out / "checkpoints/step_00000020.pt")["task"]
    for name, value in task.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)
    skipped = {line["step"]: line.get("skipped_steps") for line in metrics(out)}
    assert skipped == {4: None, 8: 1, 12: None, 16: None, 20: None}
    assert all(line["loss"] is not None for line in metrics(out))


def test_after_too_many_in_a_row_the_run_says_where_it_began(out: Path) -> None:
    run = tiny_run(out, task=PoisonedModel(7), validate=False, log_every=8, safeguards=SafeguardSpec(nonfinite_steps=5))
    with pytest.raises(NonFiniteLossError) as caught:
        train(run)
    text = str(caught.value)
    assert caught.value.step == 7
    assert "step 7: decode.loss_ce = nan" in text
    assert "5 steps in a row" in text
    assert "model.backbone (Conv2d)" in text
    assert text.count("picture") == run.batch
    saved = load_checkpoint(out / "checkpoints/step_00000005.pt")["task"]
    for name, value in run.task.state_dict().items():  # type: ignore[attr-defined]
        assert value.isfinite().all(), name
        assert value.shape == saved[name].shape


def test_labels_that_are_no_class_are_the_explanation(tmp_path: Path) -> None:
    """On an accelerator they make the loss nan; what is wrong with them is asked when the run stops for it."""
    task = PoisonedModel(0)
    task.problem = "the labels of picture3 have the value 9"
    with pytest.raises(NonFiniteLossError, match="The labels of picture3 have the value 9"):
        train(tiny_run(tmp_path, task=task, validate=False, safeguards=SafeguardSpec(nonfinite_steps=2)))


def test_a_streak_is_counted_across_log_lines_and_a_resumption(tmp_path: Path) -> None:
    safeguards = SafeguardSpec(nonfinite_steps=8)
    with pytest.raises(NonFiniteLossError) as caught:
        train(tiny_run(tmp_path / "a", task=PoisonedModel(3), validate=False, log_every=2, safeguards=safeguards))
    assert "8 steps in a row" in str(caught.value)

    class Interrupted(PoisonedModel):
        def training_terms(self, batch: Batch) -> list[LossTerm]:
            if self.calls == 6:
                raise KeyboardInterrupt
            return super().training_terms(batch)

    out = tmp_path / "b"
    with pytest.raises(KeyboardInterrupt):
        train(tiny_run(out, task=Interrupted(3), validate=False, log_every=2, safeguards=safeguards))
    task = PoisonedModel(0)
    with pytest.raises(NonFiniteLossError, match="8 steps in a row"):
        train(tiny_run(out, task=task, validate=False, log_every=1, resume=True, safeguards=safeguards))
    assert task.calls <= 6  # three of the eight were before the checkpoint of step 5; one call more for the culprit


@pytest.mark.parametrize("fused", [False, True])
def test_the_guard_decides_without_the_optimizer_noticing(fused: bool) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    guard = NonFiniteGuard(model, optimizer, FabricRuntime(accelerator="cpu"))
    for factor in (1.0, torch.nan, 1.0):
        before = [p.detach().clone() for p in model.parameters()]
        (model(torch.ones(1, 3)).sum() * factor).backward()
        guard.begin()
        guard.step(torch.tensor(factor == 1.0))
        optimizer.zero_grad()
        moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        assert moved == [factor == 1.0] * 2
    assert {float(state["step"]) for state in optimizer.state.values()} == {2.0}


def test_a_gradient_that_is_not_finite_is_left_out_though_its_loss_is(out: Path) -> None:
    """The slope of a square root at 0, with nothing that limits gradients."""

    class Steep(TinyTask):
        def training_terms(self, batch: Batch) -> list[LossTerm]:
            first, *others = super().training_terms(batch)
            zero = self.model.decode_head.bias.square().sum() * 0.0
            return [replace(first, value=first.value + zero.sqrt() if self.calls == 6 else first.value), *others]

    torch.manual_seed(0)
    run = tiny_run(out, task=Steep(), validate=False)
    assert train(run).finished
    assert all(value.isfinite().all() for value in run.network.state_dict().values())
    assert [line["step"] for line in metrics(out) if "skipped_steps" in line] == [8]
    assert all(math.isfinite(line["gradient_norm"]) for line in metrics(out))


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_statistics_are_put_back_to_the_bit(dtype: torch.dtype, wanted: bool) -> None:
    """As on an accelerator, where nothing asks whether it is needed; also where one of the two is not finite."""
    special = [math.nan, math.inf, -math.inf, -0.0, 1e-30, 3.0]
    before = [torch.tensor(special, dtype=dtype), torch.randn(2, 3).to(dtype)]
    now = [torch.tensor(special[::-1], dtype=dtype), torch.randn(2, 3).to(dtype)]
    kept = [tensor.clone() for tensor in (before if wanted else now)]
    put_back(now, before, torch.tensor(wanted))
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    for found, expected in zip(now, kept, strict=True):
        assert found.view(integers).equal(expected.view(integers))


def test_the_process_with_the_cause_is_the_one_that_is_quoted(tmp_path: Path) -> None:
    """The network of the second process gives nan, and through synchronised norms so do all; the first one reports."""

    def job(runtime: FabricRuntime) -> None:
        torch.manual_seed(0)
        task = PoisonedModel(7) if runtime.rank == 1 else TinyTask()
        safeguards = SafeguardSpec(nonfinite_steps=5)
        run = tiny_run(tmp_path / "run", runtime=runtime, task=task, validate=False, log_every=8, safeguards=safeguards)
        with pytest.raises(NonFiniteLossError) as caught:
            train(run)
        (tmp_path / f"{runtime.rank}.txt").write_text(str(caught.value))

    FabricRuntime(accelerator="cpu", devices=2, start="fork", synchronise_batch_norm=True).spawn(job)
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert "that of model.backbone (Conv2d); the images were picture" in said[0]


# --- Averages -----------------------------------------------------------------------------------------------------


def test_the_average_is_what_the_formula_says() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double()
    ema = Ema(model, EmaSpec(momentum=0.1, begin=2))
    expected = model[0].weight.detach().clone()
    for step in range(1, 7):
        with torch.no_grad():
            model[0].weight.add_(torch.randn_like(model[0].weight))
            model[1].running_mean.add_(1.0)
        ema.update(step)
        weight = model[0].weight.detach()
        expected = weight.clone() if step <= 2 else 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(ema.state()["0.weight"], expected, rtol=1e-12, atol=0)
    assert ema.state()["1.running_mean"].equal(model[1].running_mean)
    now = model[0].weight.detach().clone()
    with ema.applied():
        torch.testing.assert_close(model[0].weight.detach(), expected, rtol=1e-12, atol=0)
    assert model[0].weight.equal(now)


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("kind", ["exponential", "annealing", "mean"])
def test_kinds_of_averages_are_those_of_mmengine(kind: Any, interval: int) -> None:
    """Counted as its averaged models do: steps since the average began, the first of which takes the weights over."""
    model = nn.BatchNorm2d(1).double()
    spec = EmaSpec(0.2, begin=3, kind=kind, gamma=4, interval=interval, average_buffers=True)
    ema, copied = Ema(model, spec), Ema(model, replace(spec, average_buffers=False))
    expected, taken = 0.0, []
    for step in range(1, 14):
        with torch.no_grad():
            model.weight.fill_(step**2)
            model.running_mean.fill_(step**2)
            model.num_batches_tracked.fill_(step)
        ema.update(step)
        copied.update(step)
        steps = step - 3
        if steps <= 0:
            expected, taken = step**2, [step**2]
        elif steps % interval == 0:
            taken.append(step**2)
            share = {"exponential": 0.2, "annealing": max(0.2, 4 / (4 + steps)), "mean": 1 / (steps // interval + 1)}
            expected = expected + (step**2 - expected) * share[kind]
        for name in ("weight", "running_mean"):
            assert ema.state()[name].item() == pytest.approx(expected, rel=1e-12)
        assert copied.state()["running_mean"].item() == step**2
        assert ema.state()["num_batches_tracked"].item() == step
    assert kind != "mean" or expected == pytest.approx(sum(taken) / len(taken))


def test_an_average_begins_with_the_first_step_of_its_epoch() -> None:
    assert begun_by_step(EmaSpec(begin_epoch=3, interval=2), 10) == EmaSpec(begin=21, interval=2)
    assert begun_by_step(EmaSpec(begin=7), 10) == EmaSpec(begin=7)


def test_the_average_is_evaluated_kept_and_resumed(tmp_path: Path) -> None:
    ema = EmaSpec(momentum=0.3)
    train(tiny_run(tmp_path / "whole", ema=ema, evaluate_every=20))
    train(tiny_run(tmp_path / "parts", ema=ema, evaluate_every=20, steps=20, save_every=5))
    checkpoint = load_checkpoint(tmp_path / "whole/checkpoints/step_00000020.pt")
    kept = load_state(tmp_path / "whole/weights.safetensors")
    for name, value in kept.items():
        assert value.equal(checkpoint["ema"][name]), name
    assert not kept["backbone.weight"].equal(checkpoint["task"]["model.backbone.weight"])

    run = tiny_run(tmp_path / "parts2", ema=ema, evaluate_every=20)
    stop_after(run, 10)
    assert not train(run).finished
    train(tiny_run(tmp_path / "parts2", ema=ema, evaluate_every=20, resume=True))
    again = load_checkpoint(tmp_path / "parts2/checkpoints/step_00000020.pt")
    for name, value in checkpoint["ema"].items():
        assert value.equal(again["ema"][name]), name


def stop_after(run: Run, calls: int) -> None:
    """Ctrl-C during the given call of the task."""
    before = run.task.training_terms

    def training_terms(batch: Batch) -> list[LossTerm]:
        terms = before(batch)
        if run.task.calls == calls:  # type: ignore[attr-defined]
            import os
            import signal

            os.kill(os.getpid(), signal.SIGUSR1)
        return terms

    run.task.training_terms = training_terms  # type: ignore[method-assign]


# --- Early stopping, retention, freezing --------------------------------------------------------------------------


def test_stopping_early_is_a_finished_run(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Still(TinyTask):
        def training_terms(self, batch: Batch) -> list[LossTerm]:
            return [replace(term, value=term.value * 0.0) for term in super().training_terms(batch)]

    still = replace(SGD, optimizer=replace(SGD.optimizer, args={"lr": 0.1}))
    run = tiny_run(out, task=Still(), optim=still, evaluate_every=2, early_stop=EarlyStopSpec(patience=3))
    run.task.model.norm = nn.Identity()  # type: ignore[attr-defined]  # its statistics would change the score
    result = train(run)
    assert result.finished
    assert result.step == 8  # the first evaluation at 2 is the best, three more are not better
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert "stopping early: mIoU has not improved" in capsys.readouterr().out


def test_checkpoints_at_multiples_stay(out: Path) -> None:
    train(tiny_run(out, validate=False, save_every=2, keep=1, keep_every=8))
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == [
        "step_00000008.pt", "step_00000016.pt", "step_00000020.pt",
    ]  # fmt: skip


def test_frozen_parts_stay_to_the_bit(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(out, safeguards=SafeguardSpec(freeze=("backbone", "norm")))
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    train(run)
    after = run.network.state_dict()
    moved = {name for name in before if not after[name].equal(before[name])}
    assert moved == {"decode_head.weight", "decode_head.bias"}
    assert "frozen: 240 parameters (backbone, norm)" in capsys.readouterr().out


def test_patterns_that_name_nothing_are_refused() -> None:
    network = tiny_task().model
    with pytest.raises(ValueError, match=r"'backbon' matches no module.*'backbone'"):
        Frozen(network, ["backbon"])
    with pytest.raises(ValueError, match="leave nothing to train"):
        Frozen(network, ["*"])


def test_parameters_without_gradient_are_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tiny_task()
    task.model.spare = nn.Linear(2, 2)
    train(tiny_run(out, task=task, validate=False))
    assert "no gradient reached spare.weight, spare.bias" in capsys.readouterr().out


# --- Observers ----------------------------------------------------------------------------------------------------


class Notebook(Observer):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def begin(self, run: Run, step: int) -> None:
        self.events.append(("begin", step))

    def values(self, step: int, values: Any) -> None:
        self.events.append(("val" if "val/mIoU" in values else "fit" if "fit/mIoU" in values else "loss", step))

    def evaluated(self, run: Run, step: int, report: Report) -> None:
        self.events.append(("evaluated", step, report.images))

    def saved(self, step: int, path: Path) -> None:
        assert path.exists()
        self.events.append(("saved", step))

    def end(self, step: int, status: str) -> None:
        self.events.append(("end", step, status))


def test_observers_hear_everything_in_order(out: Path) -> None:
    notebook = Notebook()
    run = tiny_run(out, observers=[notebook], steps=8, save_every=8, evaluate_every=8)
    fit = replace(run.validation, pipeline=Pipeline(Pictures(3), (), label_size="original"))
    train(replace(run, fit=fit))
    assert notebook.events == [
        ("begin", 0), ("loss", 4), ("loss", 8), ("val", 8), ("fit", 8), ("evaluated", 8, 5), ("saved", 8),
        ("end", 8, "finished"),
    ]  # fmt: skip


def test_observers_hear_of_a_failure(out: Path) -> None:
    notebook = Notebook()
    safeguards = SafeguardSpec(nonfinite_steps=1)
    run = tiny_run(out, task=PoisonedModel(1), observers=[notebook], validate=False, safeguards=safeguards)
    with pytest.raises(NonFiniteLossError):
        train(run)
    assert notebook.events == [("begin", 0), ("end", 4, "failed")]


def test_tensorboard_gets_every_value(out: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_run(out, observers=[TensorBoard()]))
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert {"loss", "lr", "val/mIoU", "decode.loss_ce"} <= set(events.Tags()["scalars"])
    logged = [line["loss"] for line in metrics(out) if "loss" in line]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(logged, rel=1e-6)


@pytest.mark.slow
def test_weights_and_biases_without_network(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(tiny_run(out, observers=[WandB(project="tests")]))
    (folder,) = (out / "wandb").glob("offline-run-*")
    name = (out / "wandb_id.txt").read_text().strip()
    assert folder.name.endswith(name)
    until = time.monotonic() + 60  # another process of wandb writes the file
    while b"decode.loss_ce" not in (folder / f"run-{name}.wandb").read_bytes():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_pictures_of_the_same_images_at_every_evaluation(out: Path) -> None:
    run = tiny_run(out, steps=8, evaluate_every=4)
    train(replace(run, observers=[TrainingPictures(run.validation, 2)]))
    found = sorted(str(path.relative_to(out)) for path in (out / "pictures").rglob("*.jpg"))
    assert found == [
        f"pictures/training/{image}/step_{step:08d}.jpg" for image in ("picture0", "picture2") for step in (4, 8)
    ]


def test_pictures_of_every_second_batch(out: Path) -> None:
    run = tiny_run(out, steps=4, evaluate_every=4)  # five images, two a batch
    train(replace(run, observers=[TrainingPictures(run.validation, 1, every=2)]))
    found = sorted(path.name for path in (out / "pictures" / "training").iterdir())
    assert found == ["picture0", "picture2", "picture3"]


# --- The watchdog -------------------------------------------------------------------------------------------------


def test_silence_makes_every_stack_print(capfd: pytest.CaptureFixture[str]) -> None:
    def stuck_here() -> None:
        time.sleep(0.6)

    with Watchdog(0.2, rank=3) as watchdog:
        watchdog.alive("training, after step 7")
        stuck_here()
    said = capfd.readouterr().err
    assert "in process 3 while training, after step 7" in said
    assert "in stuck_here" in said


def test_signs_of_life_keep_it_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with Watchdog(0.5) as watchdog:
        for _ in range(8):
            time.sleep(0.1)
            watchdog.alive("working")
    with Watchdog(0):
        time.sleep(0.05)
    assert capfd.readouterr().err == ""


def test_a_step_of_several_parts_is_bad_as_a_whole() -> None:
    """The stand-in is poisoned in the second of three parts."""
    torch.manual_seed(0)
    task = TinyTask()
    task.poison_at = 2
    run = tiny_run(Path("unused"), task=task, optim=replace(SGD, accumulate=3), batch=12, validate=False)
    before = [p.detach().clone() for p in task.parameters()]
    Trainer(run).step()
    assert all(torch.equal(a, b) for a, b in zip(before, task.parameters(), strict=True))
