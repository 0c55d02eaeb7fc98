"""What the training loop costs per step, against a bare PyTorch loop on the same model and the same batches.

    python benchmarks/train_overhead.py [--size H W] [--batch N] [--steps N]

The bare loop is what one would write by hand: forward, loss, backward, clip, step, learning rate; no log, no seeds, no
guard against losses that are not finite. The loops take single steps in turns, in one process, and the median of the
differences between neighbours counts; on a CPU it is processor time, in one thread, so that other work on the machine
disturbs neither side. "twin" is the bare loop once more, for the noise; "deterministic" is Intarsia's with that option.
A small --size shows the overhead in itself, a usual one its share. What a run costs once (folder, checkpoint, curve) is
not part of a step and is left out.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, SampleMeta
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.optim.optimizers import optimizer_for, set_schedule
from intarsia.engine.optim.schedules import Schedule
from intarsia.engine.training.log import TrainingLog
from intarsia.engine.training.run import Run
from intarsia.engine.training.trainer import Trainer
from intarsia.layers.norm import Norm
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.fast_scnn import DepthwiseSeparableFCNHead, FastSCNN
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import Component, OptimSpec, PreprocessSpec, ScheduleSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation

CLASSES = 11
OPTIM = OptimSpec(
    optimizer=Component("optimizer", "SGD", {"lr": 1e-3, "momentum": 0.9, "weight_decay": 4e-5}),
    schedules=(ScheduleSpec("PolyLR", 0, 10_000, args={"power": 0.9, "eta_min": 1e-4}),),
    clip={"max_norm": 5.0},
)


def build_task() -> SemanticSegmentation:
    torch.manual_seed(0)
    norm = Norm("BN")
    head = DepthwiseSeparableFCNHead(
        in_channels=128, channels=128, num_classes=CLASSES, in_index=-1, concat_input=False, norm=norm
    )
    return SemanticSegmentation(
        EncoderDecoder(backbone=FastSCNN(norm=norm), decode_head=head),
        preprocess=Preprocess(PreprocessSpec(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))),
        losses=[HeadLoss("decode", [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], 255, False)],
        num_classes=CLASSES,
        ignore_index=255,
    )


def endless(batch: Batch) -> Iterator[Batch]:
    while True:
        yield batch


def bare_loop(task: nn.Module, batch: Batch, device: torch.device) -> Callable[[int], None]:
    """Steps of the loop that one would write by hand."""
    optimizer = optimizer_for(task.get_submodule("model"), OPTIM)
    schedule = Schedule.of(OPTIM.schedules)

    def steps(count: int) -> None:
        for step in range(count):
            set_schedule(optimizer, schedule, step)
            terms = task.training_terms(batch.to(device))  # type: ignore[operator]
            loss: Tensor = sum(term.value * term.weight for term in terms if term.weight)
            loss.backward()
            nn.utils.clip_grad_norm_(task.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return steps


def our_loop(task: nn.Module, batch: Batch, folder: Path, runtime: FabricRuntime) -> Callable[[int], None]:
    """Steps of `engine.train`, with its log."""
    run = Run(
        task=task,  # type: ignore[arg-type]
        pipeline=range(1000),  # type: ignore[arg-type]  # only its length is asked for
        optim=OPTIM,
        steps=10_000,
        batch=len(batch.metas),
        out=folder,
        runtime=runtime,
    )
    trainer = Trainer(run, task, batches=endless(batch))
    log = TrainingLog(folder / "m.jsonl", runtime=runtime, steps=10**6, start=0, images_per_step=run.batch, every=50)
    log.console.quiet = True

    def steps(count: int) -> None:
        for _ in range(count):
            found = trainer.step()
            log.step(trainer.steps_done, found.terms, found.lr, found.gradient_norm)

    return steps


def deterministic(steps: Callable[[int], None]) -> Callable[[int], None]:
    """The same steps with operations that give the same bits every time."""

    def switched(count: int) -> None:
        torch.use_deterministic_algorithms(True)
        steps(count)
        torch.use_deterministic_algorithms(False)

    return switched


def seconds(steps: Callable[[int], None], device: torch.device) -> float:
    """Of one step."""
    if device.type == "cpu":
        began = time.process_time()
        steps(1)
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    steps(1)
    torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    height, width = options.size
    batch = Batch(
        images=torch.randint(0, 256, (options.batch, 3, height, width), dtype=torch.uint8),
        labels=torch.randint(0, CLASSES, (options.batch, height, width), dtype=torch.uint8),
        sizes=((height, width),) * options.batch,
        metas=(SampleMeta(),) * options.batch,
    )
    runtime = FabricRuntime()
    task = runtime.place(build_task()).train()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        loops = {
            "bare loop": bare_loop(copy.deepcopy(task), batch, runtime.device),
            "twin": bare_loop(copy.deepcopy(task), batch, runtime.device),
            "Intarsia": our_loop(copy.deepcopy(task), batch, Path(folder), runtime),
            "deterministic": deterministic(our_loop(task, batch, Path(folder), runtime)),
        }
        for loop in loops.values():
            loop(3)
        times = [{name: seconds(loop, runtime.device) for name, loop in loops.items()} for _ in range(options.steps)]
    bare = statistics.median(row["bare loop"] for row in times)
    print(
        f"Fast-SCNN, {options.batch} x {height} x {width}, {runtime.device}, torch {torch.__version__}; load {load:.1f}"
    )
    for name in loops:
        own = statistics.median(row[name] for row in times)
        more = statistics.median(row[name] - row["bare loop"] for row in times)
        print(f"{name:13} {1000 * own:9.3f} ms a step  {1000 * more:+8.3f} ms  {100 * more / bare:+6.2f} %")


if __name__ == "__main__":
    main()
