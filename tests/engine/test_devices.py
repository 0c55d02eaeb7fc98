"""What only a GPU runs, without one: with numbers on a simulated GPU, and with FakeTensors of "cuda"."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_gpu import DEVICE, GpuTensor, SimulatedRuntime, Waits, simulated_gpu
from standins import CLASSES, PALETTE, SGD, Pictures, TinyTask, stop_after, tiny_run, tiny_task
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from intarsia.contracts import Batch, LossTerm, Report
from intarsia.data import loader
from intarsia.data.loader import eval_loader
from intarsia.data.pipeline import Pipeline
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.checkpoint import Checkpoints, load_checkpoint
from intarsia.engine.training.device_batches import DeviceBatches
from intarsia.engine.training.ema import Ema
from intarsia.engine.training.log import TIMING, TrainingLog
from intarsia.engine.training.loop import train
from intarsia.engine.training.nonfinite import NonFiniteGuard
from intarsia.engine.training.run import Run
from intarsia.engine.training.trainer import Trainer
from intarsia.evaluation.evaluate import evaluate
from intarsia.inference.logits.postprocess import RequestedFields
from intarsia.inference.predictor import Predictor, Soundness
from intarsia.layers.adaptive_pooling import adaptive_avg_pool
from intarsia.losses.batch_dice import BatchDiceLoss
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.lovasz import LovaszLoss
from intarsia.losses.ohem import below_threshold
from intarsia.metrics.best_threshold import BestThresholdMetric
from intarsia.metrics.iou import IoUMetric
from intarsia.spec import Component, EarlyStopSpec, EmaSpec, InferenceSpec


@pytest.fixture
def gpu() -> Iterator[Waits]:
    with simulated_gpu() as waits:
        yield waits


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the machine."""
    content = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in content]


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)


def optim_of(name: str, **args: Any) -> Any:
    return replace(SGD, optimizer=Component("optimizer", name, {"lr": 0.02, **args}), schedules=())


# --- A whole training ---------------------------------------------------------------------------------------------


def test_a_training_on_a_gpu_is_that_on_the_processor(tmp_path: Path, gpu: Waits) -> None:
    """Evaluations and checkpoints do not fall on lines of the log; averages, accumulation, early stopping."""
    settings: dict[str, Any] = {
        "ema": EmaSpec(momentum=0.2), "optim": replace(SGD, accumulate=2), "log_every": 7, "evaluate_every": 4,
        "early_stop": EarlyStopSpec(patience=20), "save_every": 5,
    }  # fmt: skip
    here, there = (
        train(tiny_run(tmp_path / name, runtime=runtime, **settings))
        for name, runtime in (("cpu", FabricRuntime(accelerator="cpu")), ("gpu", SimulatedRuntime()))
    )
    assert there.finished
    assert there.report is not None
    assert here.report is not None
    assert there.report.summary == pytest.approx(here.report.summary, nan_ok=True)
    assert_alike(lines(tmp_path / "gpu"), lines(tmp_path / "cpu"))
    a, b = (load_checkpoint(tmp_path / name / "checkpoints/step_00000020.pt") for name in ("cpu", "gpu"))
    for part in ("task", "ema"):
        for name, value in a[part].items():
            torch.testing.assert_close(b[part][name], value, rtol=1e-4, atol=1e-5)
    assert {type(value) for value in b["task"].values()} == {torch.Tensor}, "a checkpoint is of the processor"


def test_a_run_goes_on_between_two_lines_of_the_log(tmp_path: Path, gpu: Waits) -> None:
    """Rows of the checkpoint are on the processor, those of the steps after it on the device."""
    settings: dict[str, Any] = {"log_every": 8, "save_every": 100, "ema": EmaSpec(momentum=0.2)}
    train(tiny_run(tmp_path / "whole", runtime=SimulatedRuntime(), **settings))
    parts = tiny_run(tmp_path / "parts", runtime=SimulatedRuntime(), **settings)
    stop_after(parts, 11)
    assert not train(parts).finished
    assert train(tiny_run(tmp_path / "parts", runtime=SimulatedRuntime(), resume=True, **settings)).finished
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_a_run_of_a_gpu_goes_on_without_one(tmp_path: Path) -> None:
    with simulated_gpu():
        run = tiny_run(tmp_path / "run", runtime=SimulatedRuntime(), ema=EmaSpec(momentum=0.2))
        stop_after(run, 11)
        assert not train(run).finished
    assert train(tiny_run(tmp_path / "run", ema=EmaSpec(momentum=0.2), resume=True)).finished


# --- Steps that wait for nothing ----------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "weight_decay": 1e-4}, "AdamW": {}, "Adam": {"amsgrad": True},
    "RMSprop": {"momentum": 0.5},
    "NAdam": {}, "RAdam": {}, "Adadelta": {}, "Adamax": {}, "Adagrad": {}, "Rprop": {},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("fused", [None, False])
def test_no_step_waits_for_the_device(name: str, fused: bool | None, tmp_path: Path, gpu: Waits) -> None:
    args = OPTIMIZERS[name] | ({"fused": False} if fused is False and name in ("SGD", "AdamW") else {})
    optim = replace(optim_of(name, **args), accumulate=2, clip={"max_norm": 1.0})
    trainer = Trainer(tiny_run(tmp_path, runtime=SimulatedRuntime(), optim=optim, validate=False))
    batch = next(trainer.run.batches(0)).to(DEVICE)
    trainer = Trainer(trainer.run, batches=iter([batch] * 8))
    ema = Ema(trainer.run.network, EmaSpec(momentum=0.1))
    gpu.found.clear()
    for _ in range(3):
        trainer.step()
        ema.update(trainer.steps_done)
    assert gpu.found == []


class Poisoned(TinyTask):
    """Its loss is nan in some steps."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__()
        self.bad = bad
        self.model.backbone = nn.Conv2d(3, 8, 3, padding=1, bias=False)  # Adam makes steps of a bias's noise

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        first, *others = super().training_terms(batch)
        return [replace(first, value=first.value * (torch.nan if self.calls - 1 in self.bad else 1.0)), *others]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("bad", [{0}, {3}, {0, 1, 4}], ids=str)
def test_a_step_left_out_on_a_gpu_leaves_nothing(name: str, bad: set[int], tmp_path: Path, gpu: Waits) -> None:
    """Weights and statistics are those of the processor, where the step was not begun.

    But for optimizers that count steps on the processor and correct the first ones by that count, which includes it.
    """

    def trained(runtime: FabricRuntime) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        optim = optim_of(name, **OPTIMIZERS[name])
        trainer = Trainer(tiny_run(tmp_path, runtime=runtime, task=Poisoned(bad), optim=optim, validate=False))
        for _ in range(7):
            trainer.step()
        state = trainer.run.network.state_dict()
        return {key: value.cpu() for key, value in state.items() if "num_batches" not in key}

    there, here = trained(SimulatedRuntime()), trained(FabricRuntime(accelerator="cpu"))
    for key, value in here.items():
        assert there[key].isfinite().all()
        if name not in ("NAdam", "RAdam", "Adamax"):
            torch.testing.assert_close(there[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "fused"), [("SGD", True), ("AdamW", True), ("Adam", True), ("SGD", False)])
def test_a_first_step_left_out_leaves_the_state_of_no_step(name: str, fused: bool, gpu: Waits) -> None:
    """Fused kernels leave memory as they found it then."""
    model = nn.Linear(3, 2).to(DEVICE)
    args = {"momentum": 0.9, "weight_decay": 0.1} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1, fused=fused, **args)
    guard = NonFiniteGuard(model, optimizer, SimulatedRuntime())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    guard.begin()
    guard.step(torch.tensor(False).to(DEVICE))
    held = [value for state in optimizer.state.values() for value in state.values()]
    assert held
    assert all(not value.cpu().any() for value in held)


# --- Images that wait for nothing ---------------------------------------------------------------------------------

METRICS = ("mIoU", "mBoundaryIoU", "imageIoU", "interval", "ECE")


@pytest.mark.parametrize(
    "inference",
    [
        InferenceSpec(num_classes=3),
        InferenceSpec(num_classes=3, mode="slide", crop_size=(16, 20), stride=(9, 11)),
        InferenceSpec(num_classes=3, mode="slide_flip", crop_size=(16, 20), stride=(9, 11), blend="gaussian"),
    ],
    ids=lambda spec: spec.mode,
)
@pytest.mark.parametrize("classes", [3, 7])
def test_an_evaluation_waits_at_its_end_only(
    inference: InferenceSpec, classes: int, gpu: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images there are; and its scores are those of the processor."""
    monkeypatch.setattr(loader, "can_pin_memory", lambda: True)
    names, palette = tuple(f"class {i}" for i in range(classes)), tuple((i, i, i) for i in range(classes))
    inference = replace(inference, num_classes=classes)

    def scores(images: int, device: torch.device) -> tuple[Report, int]:
        torch.manual_seed(0)
        task = HalfSize(classes)
        predictor = Predictor(task, inference=inference, classes=names, palette=palette, device=device)
        pipeline = Pipeline(Pictures(images, size=(32, 44)), (), label_size="original")
        metric = IoUMetric(num_classes=classes, classes=names, metrics=METRICS)
        runtime = SimulatedRuntime() if device == DEVICE else FabricRuntime(accelerator="cpu")
        gpu.found.clear()
        report = evaluate(predictor, pipeline, metric, batch_size=2, runtime=runtime, task=task)
        return report, len(gpu.found)

    scores(2, DEVICE)  # what is computed once, such as the weights of an enlargement
    few, many = scores(3, DEVICE), scores(8, DEVICE)
    assert few[1] == many[1]
    here, waits = scores(8, torch.device("cpu"))
    assert waits == 0
    assert many[0].summary == pytest.approx(here.summary, rel=1e-5, nan_ok=True)
    assert many[0].losses == pytest.approx(here.losses, rel=1e-5)


def test_a_threshold_is_chosen_at_the_end_only(gpu: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "can_pin_memory", lambda: True)

    def chosen(images: int, device: torch.device) -> tuple[Report, int]:
        torch.manual_seed(0)
        predictor = Predictor(
            HalfSize(2), inference=InferenceSpec(num_classes=2), classes=("rest", "spot"), palette=((0, 0, 0),) * 2,
            device=device,
        )  # fmt: skip
        pipeline = Pipeline(Pictures(images), (), label_size="original")
        metric = BestThresholdMetric(IoUMetric(num_classes=2, classes=("rest", "spot")))
        runtime = SimulatedRuntime() if device == DEVICE else FabricRuntime(accelerator="cpu")
        gpu.found.clear()
        return evaluate(predictor, pipeline, metric, batch_size=2, runtime=runtime), len(gpu.found)

    chosen(2, DEVICE)
    few, many = chosen(3, DEVICE), chosen(8, DEVICE)
    assert few[1] == many[1]
    here, waits = chosen(8, torch.device("cpu"))
    assert waits == 0
    assert many[0].threshold == here.threshold
    assert 0 < here.summary["IoU(spot)"] < 1
    assert many[0].summary == pytest.approx(here.summary, abs=1e-3)


class HalfSize(TinyTask):
    """Its logits have half the images' size, so that they are enlarged."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.model.decode_head = nn.Conv2d(8, classes, 2, stride=2)

    def validation_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        full = nn.functional.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        return super().validation_loss(full, labels)


def test_pixels_that_are_no_class_are_said_at_the_end(gpu: Waits) -> None:
    metric = IoUMetric(num_classes=3)
    gpu.found.clear()
    metric.update(torch.zeros(4, 4, dtype=torch.uint8, device="cuda"), torch.full((4, 4), 7, device="cuda"))
    assert gpu.found == []
    with pytest.raises(ValueError, match="16 pixels of the label are no class: expected 0 to 2"):
        metric.report()


def test_a_network_that_gives_nan_is_named_at_the_end(gpu: Waits) -> None:
    task = tiny_task()
    predictor = Predictor(task, inference=InferenceSpec(num_classes=3), classes=CLASSES, palette=PALETTE, device=DEVICE)
    with torch.no_grad():
        task.model.decode_head.bias.fill_(torch.nan)
    pipeline = Pipeline(Pictures(2), (), label_size="original")
    with pytest.warns(UserWarning, match="the network gave nan") as said:
        evaluate(predictor, pipeline, IoUMetric(num_classes=3), runtime=SimulatedRuntime())
    assert [str(warning.message).split(":")[0] for warning in said] == ["picture0", "picture1"]


# --- Batches ------------------------------------------------------------------------------------------------------


def test_batches_are_pinned_and_one_ahead(tmp_path: Path, gpu: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "can_pin_memory", lambda: True)
    run = tiny_run(tmp_path, runtime=SimulatedRuntime(), validate=False)
    source = Counted(run.batches(0))
    batches = DeviceBatches(source, DEVICE)
    gpu.found.clear()
    first = next(batches)
    assert all(isinstance(tensor, GpuTensor) for tensor in first.tensors())
    assert source.count == 1
    batches.prefetch()
    batches.prefetch()
    assert source.count == 2
    next(batches)
    assert source.count == 2
    assert gpu.found == []
    assert all(tensor.pinned for batch in source.seen for tensor in batch.tensors())  # type: ignore[attr-defined]
    unpinned = next(replace(run, pin_memory=False).batches(0))
    assert not any(hasattr(tensor, "pinned") for tensor in unpinned.tensors())


class Counted:
    """How many batches were asked for."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches, self.seen = batches, []

    @property
    def count(self) -> int:
        return len(self.seen)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.seen.append(next(self.batches))
        return self.seen[-1]


def test_an_error_of_a_batch_comes_when_it_is_its_turn(gpu: Waits) -> None:
    """The batch before it is computed first, and counts."""

    def batches() -> Iterator[Batch]:
        yield next(iter(eval_loader(Pipeline(Pictures(2), ()), batch_size=2, workers=0)))
        raise KeyError("picture7")

    ahead = DeviceBatches(batches(), DEVICE)
    next(ahead)
    ahead.prefetch()
    with pytest.raises(KeyError, match="picture7"):
        next(ahead)


def test_a_processor_is_given_nothing_ahead(tmp_path: Path) -> None:
    source = Counted(tiny_run(tmp_path, validate=False).batches(0))
    batches = DeviceBatches(source, torch.device("cpu"))
    next(batches)
    batches.prefetch()
    assert source.count == 1
    assert batches.take_waited() > 0
    assert batches.take_waited() == 0


# --- FakeTensors --------------------------------------------------------------------------------------------------


class Reading(FakeTensorMode):
    """FakeTensors have no numbers; where one is asked for, it is 1, and the line that asked is noted."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.waits = Waits()

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            if args[0].device.type == "cuda":
                self.waits.note("number")
            return True if args[0].dtype == torch.bool else 1
        return super().dispatch(func, types, args, kwargs)


class FakeRuntime(SimulatedRuntime):
    """torch's engine for gradients asks the driver, which is not there: they are made by hand."""

    network: torch.nn.Module

    def backward(self, loss: torch.Tensor) -> None:
        for parameter in self.network.parameters():
            parameter.grad = torch.zeros_like(parameter)


def fake_run(out: Path, optimizer: str, **changes: Any) -> Run:
    with torch.device("cuda"):
        task = tiny_task()
    runtime = FakeRuntime()
    runtime.network = task.model
    return tiny_run(out, task=task, runtime=runtime, optim=optim_of(optimizer), **changes)


@pytest.mark.parametrize("optimizer", ["AdamW", "RMSprop"])
def test_steps_of_fake_tensors_are_whole_and_ask_for_no_number(optimizer: str, tmp_path: Path) -> None:
    """Any number asked for would be an error: DataDependentOutputException."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        run = fake_run(tmp_path, optimizer, validate=False)
        trainer, ema = Trainer(replace(run, optim=replace(run.optim, accumulate=2))), Ema(run.network, EmaSpec(0.1))
        for _ in range(2):
            result = trainer.step()
            ema.update(trainer.steps_done)
        assert result.gradient_norm.device == DEVICE
        assert {term.value.device for term in result.terms} == {DEVICE}


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_images_of_fake_tensors_ask_for_no_number(mode: Any) -> None:
    names = tuple(f"class {i}" for i in range(5))
    inference = InferenceSpec(num_classes=5, mode=mode, crop_size=(16, 20), stride=(9, 11), blend="linear")
    noted: list[Any] = []
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            task = HalfSize(5)
        predictor = Predictor(task, inference=inference, classes=names, palette=((0, 0, 0),) * 5, device=DEVICE)
        metric = IoUMetric(num_classes=5, classes=names, metrics=("mIoU", "mBoundaryIoU", "ECE"))
        for batch in eval_loader(Pipeline(Pictures(3, size=(32, 44)), ()), batch_size=2, workers=0):
            restored = predictor.postprocess_batch(
                batch, RequestedFields(confidence=True), observe=lambda *seen: noted.append(seen), soundness=Soundness()
            )
            for found, label in zip(restored, batch.labels, strict=True):
                assert found.label.device == DEVICE
                metric.update(found.label, label.to("cuda"), found.confidence)
        for logits, windows, _, _ in noted:
            target = torch.zeros(len(windows), windows[0].height, windows[0].width, dtype=torch.int64, device="cuda")
            assert task.validation_loss(logits, target).device == DEVICE


@pytest.mark.parametrize("every", [1, 4])
def test_the_log_takes_rows_of_fake_tensors_before_and_after_it_was_looked_at(every: int, tmp_path: Path) -> None:
    with Reading() as reading, TrainingLog(
        tmp_path / "m", runtime=SimulatedRuntime(), steps=8, start=0, images_per_step=1, every=every, patience=3
    ) as log:  # fmt: skip
        for step in range(1, 9):
            log.step(step, [LossTerm("a", torch.ones((), device="cuda"))], 0.1, torch.ones((), device="cuda"))
            if step in (2, 3, 7):
                state = log.state(step)  # an evaluation or a checkpoint
                assert state["rows"].device.type == "cpu"
                log.load_state(state)
    assert reading.waits.found == []  # what is asked for a number is the copy on the processor


def test_a_training_of_fake_tensors_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With evaluations, averages, accumulation and early stopping. Files of no numbers are not written."""
    monkeypatch.setattr("intarsia.engine.training.session.save_weights", lambda *_: None)
    monkeypatch.setattr("intarsia.engine.training.session.write_report", lambda *_: None)
    monkeypatch.setattr(Checkpoints, "save", lambda self, step, state: self.path(step))
    with Reading() as reading:
        run = fake_run(
            tmp_path / "run", "AdamW", ema=EmaSpec(momentum=0.2), log_every=7, evaluate_every=4,
            early_stop=EarlyStopSpec(patience=9),
        )  # fmt: skip
        assert run.validation is not None
        monkeypatch.setattr(run.validation.metric, "report", lambda: Report({"mIoU": 0.5}, (), (), 5))
        assert train(replace(run, optim=replace(run.optim, accumulate=2))).finished
    assert reading.waits.found == []


# --- The same bits every time -------------------------------------------------------------------------------------


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "loss", [CrossEntropyLoss(), CrossEntropyLoss(class_weight=[1.0, 2.0, 0.5]), LovaszLoss(reduction="none")], ids=type
)
def test_losses_are_not_refused_where_the_same_bits_are_wanted(
    loss: nn.Module, deterministic: None, gpu: Waits
) -> None:
    logits, labels = torch.randn(2, 3, 8, 10), torch.randint(0, 3, (2, 8, 10))
    labels[:, 0] = 255
    there = logits.to(DEVICE).requires_grad_()
    found = copy.deepcopy(loss).to(DEVICE)(there, labels.to(DEVICE))
    found.backward()
    here = logits.requires_grad_()
    expected = loss(here, labels)
    expected.backward()
    torch.testing.assert_close(found.detach().cpu(), expected.detach())
    assert there.grad is not None
    torch.testing.assert_close(there.grad.cpu(), here.grad)


@pytest.mark.parametrize("cells", [1, 3])
def test_means_of_cells_are_not_refused_where_the_same_bits_are_wanted(
    cells: int, deterministic: None, gpu: Waits
) -> None:
    x = torch.randn(2, 4, 7, 11)
    there = x.to(DEVICE).requires_grad_()
    found = adaptive_avg_pool(there, cells)
    (found * found).sum().backward()
    here = x.requires_grad_()
    expected = adaptive_avg_pool(here, cells)
    (expected * expected).sum().backward()
    torch.testing.assert_close(found.detach().cpu(), expected.detach())
    assert there.grad is not None
    torch.testing.assert_close(there.grad.cpu(), here.grad)


def test_hard_pixels_are_not_refused_where_the_same_bits_are_wanted(deterministic: None, gpu: Waits) -> None:
    nll, labelled = torch.rand(40), torch.arange(40) % 5 > 0
    found = below_threshold(nll.to(DEVICE), labelled.to(DEVICE), 0.4, 20)
    assert found.cpu().equal(below_threshold(nll, labelled, 0.4, 20))


def test_sums_over_a_batch_wait_for_nothing(gpu: Waits) -> None:
    logits, labels = torch.randn(2, 3, 8, 10), torch.randint(0, 3, (2, 8, 10))
    there, wanted = logits.to(DEVICE), labels.to(DEVICE)
    gpu.found.clear()
    found = BatchDiceLoss()(there, wanted)
    assert gpu.found == []
    torch.testing.assert_close(found.cpu(), BatchDiceLoss()(logits, labels))
