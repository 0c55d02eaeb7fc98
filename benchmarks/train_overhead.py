"""What the training loop costs per step, against a bare PyTorch loop on the same model and the same batches.

    python benchmarks/train_overhead.py [--size H W] [--batch N] [--steps N]

The bare loop is what one would write by hand: forward, loss, backward, clip, step, learning rate; no log, no seeds.
Both take single steps in turns, in one process, and the median of each counts; on a CPU it is processor time, in one
thread, so that other work on the machine disturbs neither side. A small --size shows the overhead in itself, a usual
one its share. The loop's fixed costs (folder, checkpoint, curve) are not part of a step and are left out.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, SampleMeta
from intarsia.engine.log import TrainingLog
from intarsia.engine.optim import optimizer_for, set_schedule
from intarsia.engine.run import Run
from intarsia.engine.runtime import FabricRuntime
from intarsia.engine.schedule import Schedule
from intarsia.engine.train import one_step
from intarsia.layers.norm import Norm
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.fast_scnn import DepthwiseSeparableFCNHead, FastSCNN
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import Component, OptimSpec, PreprocessSpec, ScheduleSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, SemanticSegmentation

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
        losses=[HeadLoss("decode", [("loss_ce", CrossEntropyLoss(), 1.0)], 255, False)],
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
    model, (optimizer,) = runtime.setup(task, optimizer_for(task.get_submodule("model"), OPTIM))
    schedule = run.schedule
    log = TrainingLog(folder / "m.jsonl", runtime=runtime, steps=10**6, start=0, images_per_step=run.batch, every=50)
    log.console.quiet = True
    batches, done = endless(batch), 0

    def steps(count: int) -> None:
        nonlocal done
        for step in range(count):
            lr = set_schedule(optimizer, schedule, step)
            terms, norm = one_step(run, step, model, optimizer, batches, log.waiting)
            done += 1
            log.step(done, terms, lr, norm)

    return steps


def seconds(step: Callable[[int], None], device: torch.device) -> float:
    if device.type == "cpu":
        began = time.process_time()
        step(1)
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    step(1)
    torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)

    height, width = options.size
    batch = Batch(
        images=torch.randint(0, 256, (options.batch, 3, height, width), dtype=torch.uint8),
        labels=torch.randint(0, CLASSES, (options.batch, height, width), dtype=torch.uint8),
        sizes=((height, width),) * options.batch,
        metas=(SampleMeta(),) * options.batch,
    )
    runtime = FabricRuntime()
    task = runtime.place(build_task()).train()
    bare = bare_loop(copy.deepcopy(task), batch, runtime.device)
    with tempfile.TemporaryDirectory() as folder:
        ours = our_loop(task, batch, Path(folder), runtime)
        for loop in (bare, ours):
            loop(3)
        times = [(seconds(bare, runtime.device), seconds(ours, runtime.device)) for _ in range(options.steps)]
    by_hand, in_engine = (statistics.median(side) for side in zip(*times, strict=True))
    print(f"Fast-SCNN, {options.batch} x {height} x {width}, {runtime.device}, torch {torch.__version__}")
    print(f"bare loop  {1000 * by_hand:9.3f} ms a step")
    print(f"Intarsia   {1000 * in_engine:9.3f} ms a step   {100 * (in_engine / by_hand - 1):+.2f} %")


if __name__ == "__main__":
    main()
