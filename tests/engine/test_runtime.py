from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from standins import SGD, Pictures, TinyTask, stop_after, tiny_run, tiny_task
from torch import nn

from intarsia.contracts import Batch, LossTerm
from intarsia.data.loader import eval_loader
from intarsia.distributed.runtime import FabricRuntime
from intarsia.distributed.sync_batch_norm import synchronise
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import Run
from intarsia.evaluation.evaluate import evaluate
from intarsia.inference.logits.postprocess import RequestedFields
from intarsia.spec import Component


def test_nothing_is_imported_for_the_sake_of_its_version() -> None:
    """Fabric would import torchmetrics, where it is installed, with everything that torchmetrics knows how to use."""
    import torchmetrics

    names = "{'torchmetrics', 'transformers', 'torchvision'}"
    code = "import sys\nfrom intarsia.distributed.runtime import FabricRuntime\nFabricRuntime(accelerator='cpu')\n"
    code += f"print(*{names} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
    assert torchmetrics.__version__  # it is there, and can be imported all the same


def test_one_process_on_the_cpu_needs_no_launcher() -> None:
    runtime = FabricRuntime(accelerator="cpu")
    assert (runtime.rank, runtime.world_size, runtime.device) == (0, 1, torch.device("cpu"))
    value = torch.tensor([1, 2])
    assert runtime.all_reduce_sum(value) is value
    assert runtime.broadcast("x") == "x"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"precision": "8-bit"}, "unknown precision '8-bit'; known: 32-true"),
        ({"devices": 0}, "at least one device"),
        ({"accelerator": "cpu", "devices": 2, "strategy": "horovod"}, "unknown strategy"),
    ],
)
def test_runtimes_that_make_no_sense(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FabricRuntime(**arguments)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has what the message says is missing")
def test_missing_devices_are_counted() -> None:
    with pytest.raises(ValueError, match="1 CUDA devices wanted, this machine has 0"):
        FabricRuntime(accelerator="cuda")


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_train(out: Path, precision: str) -> None:
    runtime = FabricRuntime(accelerator="cpu", precision=precision)  # type: ignore[arg-type]
    run = tiny_run(out, runtime=runtime)
    assert train(run).finished
    expected = torch.float64 if precision == "64-true" else torch.float32
    assert load_checkpoint(out / "checkpoints/step_00000020.pt")["task"]["model.backbone.weight"].dtype == expected


class Overflowing(TinyTask):
    """Its loss is too large for 16 bits in one step: the gradient overflows, the loss itself does not."""

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        first, *others = super().training_terms(batch)
        assert first.value.dtype == torch.float32
        return [replace(first, value=first.value * (1e35 if self.calls == 6 else 1.0)), *others]


def test_sixteen_bits_scale_the_loss_and_go_on_with_the_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a processor too: nothing is silently computed in bfloat16. The step that overflows is left out and counted."""

    def run(name: str, *, calls: int = 0, **changes: object) -> Run:
        runtime = FabricRuntime(accelerator="cpu", precision="16-mixed", loss_scale={"init_scale": 1024.0})
        torch.manual_seed(0)
        task = Overflowing()
        task.calls = calls
        return tiny_run(tmp_path / name, task=task, runtime=runtime, validate=False, **changes)

    seen: set[torch.dtype] = set()
    whole, parts = run("whole"), run("parts")
    whole.network.decode_head.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    train(whole)
    assert seen == {torch.float16}
    assert "1 step up to step 8 left out" in capsys.readouterr().out
    stop_after(parts, 10)
    assert not train(parts).finished
    assert train(run("parts", calls=10, resume=True)).finished
    a, b = (load_checkpoint(tmp_path / name / "checkpoints/step_00000020.pt") for name in ("whole", "parts"))
    assert a["precision"]["scale"] == b["precision"]["scale"] == 512.0
    assert all(a["task"][name].equal(b["task"][name]) for name in a["task"])
    assert json.loads((tmp_path / "whole/run.json").read_text())["precision"] == "16-mixed"


def test_a_fused_optimizer_may_have_a_loss_scale_and_a_limit(tmp_path: Path) -> None:
    """Gradients are unscaled before they are looked at, and the kernel leaves out what overflows."""

    def trained(name: str, fused: bool) -> dict[str, torch.Tensor]:
        runtime = FabricRuntime(accelerator="cpu", precision="16-mixed", loss_scale={"init_scale": 1024.0})
        torch.manual_seed(0)
        optimizer = Component("optimizer", "AdamW", {"lr": 0.01, "fused": fused})
        optim = replace(SGD, optimizer=optimizer, clip={"max_norm": 0.5})
        run = tiny_run(tmp_path / name, task=Overflowing(), runtime=runtime, validate=False, optim=optim)
        train(run)
        return dict(run.network.state_dict())

    fused, plain = trained("fused", True), trained("plain", False)
    for name, value in plain.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-3, atol=1e-4)


def test_evaluation_enlarges_logits_and_takes_the_softmax_in_single_precision(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, torch.dtype]] = []

    def noted(name: str, function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def called(values: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
            seen.append((name, values.dtype))
            return function(values, *arguments, **options)

        return called

    monkeypatch.setattr(F, "interpolate", noted("bilinear", F.interpolate))
    monkeypatch.setattr(torch.Tensor, "softmax", noted("softmax", torch.Tensor.softmax))
    runtime = FabricRuntime(accelerator="cpu", precision="bf16-mixed")
    run = tiny_run(out, runtime=runtime)
    assert run.validation is not None
    forward = run.network.forward
    monkeypatch.setattr(run.network, "forward", lambda images: F.avg_pool2d(forward(images), 2))
    batch = next(iter(eval_loader(run.validation.pipeline, batch_size=2, workers=0, rank=0, world_size=1)))
    with torch.inference_mode(), runtime.autocast():
        assert run.network(torch.zeros(1, 3, 8, 8)).dtype == torch.bfloat16
        run.validation.predictor.postprocess_batch(batch, RequestedFields(probabilities=True))
    assert set(seen) == {("bilinear", torch.float32), ("softmax", torch.float32)}


def without_batch_norm() -> nn.Module:
    task = tiny_task()
    task.model.norm = nn.Identity()
    task.model.dropout = nn.Identity()
    # The mean over processes of a square is not the square of the mean: keep the term that is a mean.
    terms = task.training_terms
    task.training_terms = lambda batch: terms(batch)[::2]  # type: ignore[method-assign]
    return task


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_train_as_one(tmp_path: Path, parts: int) -> None:
    """Also the evaluation: 5 images over 2 processes, each counted once."""
    optim = replace(SGD, accumulate=parts)

    def job(runtime: FabricRuntime) -> None:
        run = tiny_run(tmp_path / str(runtime.world_size), runtime=runtime, task=without_batch_norm(), optim=optim)
        train(run)

    FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(job)
    job(FabricRuntime(accelerator="cpu"))
    a, b = (load_checkpoint(tmp_path / n / "checkpoints/step_00000020.pt")["task"] for n in "12")
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    one, two = (json.loads((tmp_path / n / "eval.json").read_text()) for n in "12")
    assert two["images"] == one["images"] == 5
    assert two["mIoU"] == pytest.approx(one["mIoU"], abs=2e-3)
    described = json.loads((tmp_path / "2/run.json").read_text())
    assert (described["processes"], described["batch"], described["batch_per_process"]) == (2, 4, 4 // 2 // parts)
    logged = [[json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()] for n in "12"]
    assert len(logged[0]) == len(logged[1])
    for x, y in zip(*logged, strict=True):
        assert x["step"] == y["step"]
        assert x.get("loss", 0.0) == pytest.approx(y.get("loss", 0.0), rel=1e-3)


def test_two_processes_with_synchronised_norms_train_as_one(tmp_path: Path) -> None:
    """Weights and statistics to 1e-6, in single precision, after 20 steps."""

    def job(runtime: FabricRuntime) -> None:
        task = without_batch_norm()
        task.model.norm = nn.BatchNorm2d(8)
        train(tiny_run(tmp_path / str(runtime.world_size), runtime=runtime, task=task, validate=False))

    FabricRuntime(accelerator="cpu", devices=2, start="fork", synchronise_batch_norm=True).spawn(job)
    job(FabricRuntime(accelerator="cpu"))
    a, b = (load_checkpoint(tmp_path / n / "checkpoints/step_00000020.pt")["task"] for n in "12")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "size"), [(nn.BatchNorm2d, (4, 6)), (nn.BatchNorm1d, ())])
def test_a_synchronised_norm_is_the_norm_of_the_whole_batch(
    kind: type[nn.Module], size: tuple[int, ...], tmp_path: Path
) -> None:
    """Output, running statistics and every gradient, far from zero where digits are lost easily."""
    generator = torch.Generator().manual_seed(0)
    whole = 1000 + torch.randn(5, 3, *size, generator=generator, dtype=torch.float64)
    scale = torch.randn(5, 3, *size, generator=generator, dtype=torch.float64)

    def through(norm: nn.Module, images: torch.Tensor, factor: torch.Tensor) -> list[torch.Tensor]:
        images = images.clone().requires_grad_(True)
        out = norm(images)
        (out * factor).sum().backward()
        return [out.detach(), images.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]

    def job(runtime: FabricRuntime) -> None:
        part = slice(0, 2) if runtime.rank == 0 else slice(2, 5)  # processes may have different numbers of pixels
        norm = synchronise(kind(3).double(), torch.device("cpu"))
        found = through(norm, whole[part], scale[part])
        torch.save(found, tmp_path / f"{runtime.rank}.pt")

    FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(job)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    expected = through(kind(3).double(), whole, scale)
    joined = [torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]), first[2] + second[2],
              first[3] + second[3], first[4], second[5]]  # fmt: skip
    for found, wanted in zip(joined, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_parameters_without_gradient_do_not_stop_two_processes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def job(runtime: FabricRuntime) -> None:
        task = without_batch_norm()
        task.model.spare = nn.Linear(2, 2)
        train(tiny_run(tmp_path / "run", runtime=runtime, task=task, validate=False))

    FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(job)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "finished"
    assert "no gradient reaches spare.weight, spare.bias; they are not trained" in capfd.readouterr().out


def test_sharded_evaluation_counts_every_image_once(tmp_path: Path) -> None:
    def job(runtime: FabricRuntime) -> None:
        validation = tiny_run(tmp_path, task=tiny_task()).validation
        assert validation is not None
        report = evaluate(validation.predictor, validation.pipeline, validation.metric, batch_size=2, runtime=runtime)
        if runtime.rank == 0:
            path = tmp_path / f"{runtime.world_size}.json"
            path.write_text(json.dumps([report.summary, [c.pixels for c in report.classes], report.images]))

    FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(job)
    job(FabricRuntime(accelerator="cpu"))
    assert (tmp_path / "1.json").read_text() == (tmp_path / "2.json").read_text()


def test_an_error_in_the_folder_stops_all_processes(tmp_path: Path) -> None:
    train(tiny_run(tmp_path / "taken", validate=False))

    def job(runtime: FabricRuntime) -> None:
        train(tiny_run(tmp_path / "taken", runtime=runtime, validate=False, pictures=Pictures(8)))

    with pytest.raises(Exception, match="already holds a run"):
        FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(job)
