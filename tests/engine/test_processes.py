"""Two processes on processors: sharding, statistics, resuming with another number of them; and who started them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp  # once, for all processes that are forked
from hypothesis import given
from hypothesis import strategies as st
from standins import SGD, Network, Pictures, TinyTask, stop_after, tiny_run, tiny_task
from torch import Tensor, nn

from intarsia.contracts import Sample
from intarsia.data.loader import eval_loader, train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import Order
from intarsia.distributed.fsdp import blocks_of, own_part
from intarsia.distributed.launchers import Launch, is_first, is_secondary_error, launch_of, process_count
from intarsia.distributed.runtime import FabricRuntime
from intarsia.distributed.sync_batch_norm import SynchronisedBatchNorm, synchronise
from intarsia.engine.optim.batch_plan import SharedBatch, reshare
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.engine.training.loop import train
from intarsia.engine.training.signals import StopRequest
from intarsia.evaluation.evaluate import evaluate
from intarsia.layers.norm import Norm
from intarsia.spec import Component, EmaSpec, SafeguardSpec
from intarsia.weights.file import load_state


def in_two_processes(job: Callable[[FabricRuntime], Any], **options: Any) -> None:
    FabricRuntime(accelerator="cpu", devices=2, start="fork", **options).spawn(job)


class DeepNetwork(Network):
    """Blocks to shard, some with a size that two processes cannot halve."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3, padding=1, bias=False)  # Adam makes steps of the noise that a bias would get
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 8, 1)) for _ in range(3)
        )
        self.dropout = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.backbone(images))
        for layer in self.layers:
            features = features + layer(features)
        return self.decode_head(features)


def deep_task() -> TinyTask:
    torch.manual_seed(0)
    task = TinyTask()
    task.model = DeepNetwork()
    terms = task.training_terms
    # The mean over processes of a square is not the square of the mean: keep the terms that are means.
    task.training_terms = lambda batch: terms(batch)[::2]  # type: ignore[method-assign]
    return task


def states(folder: Path, step: int = 20) -> dict[str, Any]:
    return load_checkpoint(folder / f"checkpoints/step_{step:08d}.pt")


def assert_alike(a: Any, b: Any, tolerance: float) -> None:
    """The same keys, and tensors as near as that."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_alike(a[key], b[key], tolerance)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_alike(x, y, tolerance)
    elif isinstance(a, Tensor):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    else:
        assert a == b


# --- Sharding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [{"max_norm": 0.05}, {"clip_value": 0.003}], ids=str)
def test_sharded_training_is_the_same_training(tmp_path: Path, clip: dict[str, float]) -> None:
    """Weights, statistics, optimizer, averages and scores; with clipping, accumulation and a parameter left out."""
    optimizer = Component("optimizer", "AdamW", {"lr": 0.01, "weight_decay": 0.01})
    optim = replace(SGD, optimizer=optimizer, clip=clip, accumulate=2)

    def job(runtime: FabricRuntime) -> None:
        task = deep_task()
        task.model.spare = nn.Linear(2, 2)
        settings = {"task": task, "optim": optim, "ema": EmaSpec(momentum=0.2), "batch": 8, "evaluate_every": 20}
        run = tiny_run(tmp_path / ("fsdp" if runtime.shards else "ddp"), runtime=runtime, **settings)
        train(run)
        other = runtime.place(deep_task())
        runtime.shared_out(other, {"layers.1"})
        for name, slices in (("model.layers.1.0.weight", [3, 2]), ("model.decode_head.bias", [2, 1])):
            held = own_part(other.get_parameter(name))
            assert len(held) == (slices[runtime.rank] if runtime.shards else sum(slices))

    in_two_processes(job)
    in_two_processes(job, strategy="fsdp")
    ddp, fsdp = states(tmp_path / "ddp"), states(tmp_path / "fsdp")
    for part in ("task", "optimizer", "ema"):
        assert_alike(fsdp[part], ddp[part], 1e-5)
    kept = [load_state(tmp_path / name / "weights.safetensors") for name in ("ddp", "fsdp")]
    assert_alike(kept[1], kept[0], 1e-5)
    tables = [json.loads((tmp_path / name / "eval.json").read_text()) for name in ("ddp", "fsdp")]
    assert tables[0]["images"] == tables[1]["images"] == 5
    assert tables[0]["mIoU"] == pytest.approx(tables[1]["mIoU"], abs=2e-3)


def test_a_sharded_run_goes_on_sharded_or_not(tmp_path: Path) -> None:
    """Bit-identical in as many processes, also with other workers; in one, sums differ in their last digits."""

    def job(runtime: FabricRuntime, name: str, *, stopped: bool = False, resume: bool = False) -> None:
        settings = {"ema": EmaSpec(momentum=0.2), "validate": False, "save_every": 20, "resume": resume}
        run = tiny_run(tmp_path / name, runtime=runtime, task=deep_task(), workers=int(resume), **settings)
        if stopped and runtime.rank == 1:
            stop_after(run, 7)  # which the others hear of at step 10
        assert train(run).finished is not stopped

    sharded = {"strategy": "fsdp", "synchronise_batch_norm": True}
    in_two_processes(lambda runtime: job(runtime, "whole"), **sharded)
    in_two_processes(lambda runtime: job(runtime, "parts", stopped=True), **sharded)
    assert [path.name for path in (tmp_path / "parts/checkpoints").iterdir()] == ["step_00000010.pt"]
    shutil.copytree(tmp_path / "parts", tmp_path / "alone")
    in_two_processes(lambda runtime: job(runtime, "parts", resume=True), **sharded)
    job(FabricRuntime(accelerator="cpu"), "alone", resume=True)
    whole, parts, alone = (states(tmp_path / name) for name in ("whole", "parts", "alone"))
    assert_alike(parts, whole, 0.0)
    for part in ("task", "optimizer", "ema"):
        assert_alike(alone[part], whole[part], 1e-5)


def test_blocks_are_neither_too_large_nor_too_small() -> None:
    stage = nn.Sequential(*(nn.Linear(10, 10) for _ in range(3)))
    network = nn.Module()
    network.stages = nn.ModuleList([stage, nn.Linear(5, 20), nn.Linear(1, 1)])
    network.decode_head = nn.Linear(10, 4)
    everything = {name for name, _ in network.named_modules()}
    assert blocks_of(network, everything) == ("stages.0.0", "stages.0.1", "stages.0.2", "stages.1")
    assert blocks_of(network, everything - {"stages.0.1"}) == ("stages.0.0", "stages.0.2", "stages.1")


def test_what_sharding_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="use bf16"):
        FabricRuntime(accelerator="cpu", devices=2, strategy="fsdp", precision="16-mixed")
    sharding = FabricRuntime(accelerator="cpu", devices=2, strategy="fsdp")
    with pytest.raises(ValueError, match="a network that is compiled cannot be sharded"):
        tiny_run(Path("unused"), runtime=sharding, validate=False, compile=True)


# --- Statistics ---------------------------------------------------------------------------------------------------


def test_statistics_that_are_not_synchronised_are_those_of_the_first_process(tmp_path: Path) -> None:
    """What is evaluated is what is saved, also by the processes whose own statistics went elsewhere."""

    def job(runtime: FabricRuntime) -> None:
        run = tiny_run(tmp_path / "run", runtime=runtime, ema=EmaSpec(momentum=0.2), evaluate_every=20)
        train(run)

    in_two_processes(job)
    run = tiny_run(tmp_path / "again")
    run.network.load_state_dict(load_state(tmp_path / "run/weights.safetensors"))
    assert run.validation is not None
    report = evaluate(run.validation.predictor, run.validation.pipeline, run.validation.metric, batch_size=2)
    table = json.loads((tmp_path / "run/eval.json").read_text())
    assert table["mIoU"] == report.summary["mIoU"]
    assert [table["classes"][score.name]["IoU"] for score in report.classes[:2]] == [
        score.values["IoU"] for score in report.classes[:2]
    ]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("average_every", [None, 3])
def test_statistics_of_each_process_are_averaged(tmp_path: Path, strategy: Any, average_every: int | None) -> None:
    """What is kept is the mean of what each process found in its own images, counted here beside its norm."""

    def job(runtime: FabricRuntime) -> None:
        task, own = tiny_task(), (torch.zeros(8), torch.ones(8))
        run = tiny_run(
            tmp_path / "run", runtime=runtime, task=task, evaluate_every=8, steps=10, average_every=average_every
        )

        def follow(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
            if norm.training:
                (x,) = inputs
                for running, start, batch in zip(own, (0.0, 1.0), (x.mean((0, 2, 3)), x.var((0, 2, 3))), strict=True):
                    if norm.num_batches_tracked == 0:  # in the rehearsal, and in the first step
                        running.fill_(start)
                    running.lerp_(batch.detach(), 0.1)

        task.model.norm.register_forward_pre_hook(follow)
        train(run)
        expected = [sum(runtime.all_gather(running)) / 2 for running in own]
        assert not any(torch.allclose(running, mean, rtol=1e-4) for running, mean in zip(own, expected, strict=True))
        runtime.barrier()
        for state in (run.network.state_dict(), load_state(tmp_path / "run/weights.safetensors")):
            torch.testing.assert_close(state["norm.running_mean"], expected[0], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(state["norm.running_var"], expected[1], rtol=1e-5, atol=1e-6)
        assert json.loads((tmp_path / "run/run.json").read_text())["best"]["step"] == 10

    in_two_processes(job, average_statistics=True, strategy=strategy)


def test_a_run_with_averaged_statistics_goes_on_with_those_of_each_process(tmp_path: Path) -> None:
    """Stopped between two averages: bit-identical in as many processes, with the mean in one."""

    def job(runtime: FabricRuntime, name: str, *, stopped: bool = False, resume: bool = False) -> None:
        run = tiny_run(tmp_path / name, runtime=runtime, validate=False, save_every=20, resume=resume)
        if stopped:
            stop_after(run, 7)
        assert train(run).finished is not stopped

    averaged = {"average_statistics": True}
    in_two_processes(lambda runtime: job(runtime, "whole"), **averaged)
    in_two_processes(lambda runtime: job(runtime, "parts", stopped=True), **averaged)
    one, other = states(tmp_path / "parts", 10)["statistics"]
    assert not torch.allclose(one, other)
    shutil.copytree(tmp_path / "parts", tmp_path / "alone")
    in_two_processes(lambda runtime: job(runtime, "parts", resume=True), **averaged)
    assert_alike(states(tmp_path / "parts")["task"], states(tmp_path / "whole")["task"], 0.0)
    network = tiny_task().model
    FabricRuntime(accelerator="cpu", average_statistics=True).load_statistics(network, (one, other))
    torch.testing.assert_close(network.norm.running_mean, (one + other)[:8] / 2)
    torch.testing.assert_close(network.norm.running_var, (one + other)[8:] / 2)


def test_one_process_has_nothing_to_average(tmp_path: Path) -> None:
    for name, how in (("plain", False), ("averaged", True)):
        runtime = FabricRuntime(accelerator="cpu", average_statistics=how)
        train(tiny_run(tmp_path / name, runtime=runtime, validate=False, save_every=20, average_every=2))
    plain, averaged = states(tmp_path / "plain"), states(tmp_path / "averaged")
    assert plain["statistics"] == averaged["statistics"] == []
    assert_alike(averaged["task"], plain["task"], 0.0)


def test_norms_of_other_packages_are_not_silently_replaced() -> None:
    class Activated(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).relu()

    with pytest.raises(ValueError, match=r"0\.1 is a Activated with a forward of its own"):
        synchronise(nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), Activated(3))), torch.device("cpu"))
    ours = synchronise(nn.Sequential(Norm("BN", eps=1e-3)(3)), torch.device("cpu"))
    assert isinstance(ours[0], SynchronisedBatchNorm)
    assert ours[0].eps == 1e-3


# --- Every image once, in any number of processes -----------------------------------------------------------------


@given(images=st.integers(1, 7), processes=st.integers(1, 3), batch=st.integers(1, 3))
def test_every_image_is_evaluated_exactly_once(images: int, processes: int, batch: int) -> None:
    pipeline = Pipeline(Pictures(images), (), label_size="original")
    seen = [
        meta.name
        for rank in range(processes)
        for batches in [eval_loader(pipeline, batch_size=batch, workers=0, rank=rank, world_size=processes)]
        for part in batches
        for meta in part.metas
    ]
    assert sorted(seen) == sorted(f"picture{i}" for i in range(images))


@given(
    images=st.integers(1, 7), shape=st.sampled_from([(1, 6, 1), (2, 3, 1), (3, 2, 1), (2, 1, 3), (1, 2, 3), (3, 1, 2)]),
    begin=st.integers(0, 5),
)  # fmt: skip
def test_a_total_batch_has_the_same_images_however_it_is_shared(
    images: int, shape: tuple[int, int, int], begin: int
) -> None:
    """Six images a step, as processes x images x accumulated parts."""
    processes, batch, parts = shape
    pipeline = Pipeline(Pictures(images), ())

    def step(rank: int, world: int, size: int, count: int) -> list[str]:
        loader = train_loader(
            pipeline, batch_size=size, seed=3, workers=0, start_step=begin * count, rank=rank, world_size=world
        )
        return [meta.name for _ in range(count) for meta in next(loader).metas]

    alone = step(0, 1, 6, 1)
    assert sorted(name for rank in range(processes) for name in step(rank, processes, batch, parts)) == sorted(alone)


# --- Another number of processes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 2)])
def test_a_run_goes_on_in_another_number_of_processes(tmp_path: Path, before: int, after: int) -> None:
    """The same images in the same order; in another number, the sums of gradients differ in their last digits."""

    def job(runtime: FabricRuntime, name: str, *, stopped: bool = False, resume: bool = False) -> None:
        task = deep_task()
        task.model.spare = nn.Linear(2, 2)  # left out by two processes, yet in the optimizer of both
        run = tiny_run(tmp_path / name, runtime=runtime, task=task, validate=False, save_every=20, resume=resume)
        if stopped:
            stop_after(run, 10)
        assert train(run).finished is not stopped

    def start(processes: int, name: str, **how: bool) -> None:
        if processes == 1:
            job(FabricRuntime(accelerator="cpu"), name, **how)
        else:
            in_two_processes(lambda runtime: job(runtime, name, **how), synchronise_batch_norm=True)

    start(after, "whole")
    start(before, "parts", stopped=True)
    start(after, "parts", resume=True)
    whole, parts = states(tmp_path / "whole"), states(tmp_path / "parts")
    for part in ("task", "optimizer"):
        assert_alike(parts[part], whole[part], 0.0 if before == after else 1e-5)


@pytest.mark.parametrize(
    ("synchronised", "processes", "expected"),
    [
        (True, 1, SharedBatch(1, 8, 2)),  # 2 x 4 images at once, as before
        (False, 1, SharedBatch(1, 4, 4)),  # 4 images at once, as before
        (True, 4, SharedBatch(4, 2, 2)),
        (False, 4, SharedBatch(4, 4, 1)),
        (False, 8, SharedBatch(8, 1, 2)),
    ],
)
def test_batch_norms_see_what_they_have_seen(synchronised: bool, processes: int, expected: SharedBatch) -> None:
    """A total batch of 16 images, until now in 2 processes x 4 images x 2 parts."""
    assert reshare(SharedBatch(2, 4, 2), processes, synchronised=synchronised) == expected


def test_a_total_batch_that_cannot_be_shared() -> None:
    assert reshare(SharedBatch(2, 4, 2), 1, micro_batch_size=2, synchronised=True) == SharedBatch(1, 2, 8)
    with pytest.raises(ValueError, match="16 images per step, which 3 processes cannot share evenly"):
        reshare(SharedBatch(2, 4, 2), 3, synchronised=False)


# --- How processes start ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainIn:
    """A job that travels: what a process that is not forked is told."""

    folder: Path
    workers: int = 0

    def __call__(self, runtime: FabricRuntime) -> tuple[int, bool]:
        run = tiny_run(self.folder, runtime=runtime, task=plain_task(), workers=self.workers, steps=6)
        return runtime.world_size, train(run).finished


def plain_task() -> TinyTask:
    torch.manual_seed(0)
    return TinyTask()


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_processes_may_start_in_any_way(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With data workers of their own, which start as multiprocessing does by itself."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]))
    runtime = FabricRuntime(accelerator="cpu", devices=2, start=start)
    assert runtime.spawn(TrainIn(tmp_path / "run", workers=1)) == (2, True)
    assert json.loads((tmp_path / "run/run.json").read_text())["processes"] == 2


# --- Signals and silence ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sleepy(Pictures):
    slow: int = -1

    def load(self, index: int) -> Sample:
        if index == self.slow:
            time.sleep(2.5)
        return super().load(index)


def test_when_one_process_hangs_all_print_where_they_are(tmp_path: Path) -> None:
    """The second one does not get its first picture of the third step."""

    def job(runtime: FabricRuntime) -> None:
        slow = Order(12, seed=0, shuffle=True).index(10)
        pictures = Sleepy(slow=slow if runtime.rank == 1 else -1)
        safeguards = SafeguardSpec(hang_after=0.8)
        run = tiny_run(
            tmp_path / "run", runtime=runtime, pictures=pictures, validate=False, steps=4, safeguards=safeguards
        )
        with open(tmp_path / f"{runtime.rank}.txt", "w") as file, redirect_stderr(file):
            train(run)

    in_two_processes(job)
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    for rank in (0, 1):
        assert f"in process {rank} while training, after step 2" in said[rank]
    assert "in load" in said[1]
    assert "in load" not in said[0]
    assert "in step" in said[0]


# --- Who has started the processes --------------------------------------------------------------------------------

SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_NNODES": "2", "SLURM_NODELIST": "node[07,09]", "SLURM_PROCID": "6", "SLURM_LOCALID": "2",
    "SLURM_NODEID": "1",
}  # fmt: skip
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "RANK": "4", "LOCAL_RANK": "1",
    "GROUP_RANK": "1", "MASTER_ADDR": "node07", "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (SLURM, Launch("SLURM", total=8, per_machine=4, rank=6, local_rank=2)),
        (TORCHRUN, Launch("torchrun", total=6, per_machine=3, rank=4, local_rank=1)),
        ({**SLURM, **TORCHRUN}, Launch("torchrun", total=6, per_machine=3, rank=4, local_rank=1)),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, None),
        ({**SLURM, "SLURM_NTASKS": "1"}, None),
    ],
)
def test_launchers_are_recognised(
    environment: dict[str, str], expected: Launch | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And Fabric, which is told, says the same; no process is started."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in TORCHRUN:
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch_of() == expected
    assert is_first() is (expected is None)
    assert process_count(None) == (expected.total if expected else 1)
    runtime = FabricRuntime(accelerator="cpu")
    assert (runtime.rank, runtime.world_size) == ((expected.rank, expected.total) if expected else (0, 1))


def test_a_process_that_another_has_started_is_not_the_first() -> None:
    assert not is_first({"LOCAL_RANK": "1", "WORLD_SIZE": "2"})
    assert launch_of({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}) is None


def test_launches_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="torchrun has started 6 processes; leave --devices out"):
        process_count(2, TORCHRUN)
    assert process_count(6, TORCHRUN) == 6
    with pytest.raises(ValueError, match="--ntasks-per-node"):
        launch_of({name: value for name, value in SLURM.items() if name != "SLURM_NTASKS_PER_NODE"})
    with pytest.raises(ValueError, match="as many as the others"):
        launch_of({**TORCHRUN, "LOCAL_WORLD_SIZE": "4"})


def test_only_a_late_second_interruption_is_impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun passes on the Ctrl-C that its processes have received from the terminal as well."""
    with StopRequest(FabricRuntime(accelerator="cpu")) as stop:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.agreed(1)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 5)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_error_elsewhere_is_told_from_one_here() -> None:
    assert is_secondary_error(RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:20105."))
    assert not is_secondary_error(RuntimeError("shape mismatch"))
    assert not is_secondary_error(ValueError("picture3.png: Connection closed by peer"))
