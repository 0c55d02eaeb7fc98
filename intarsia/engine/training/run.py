"""One run as built objects and numbers, and the folder that it leaves behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from torch import nn
from torch.optim import Optimizer

from intarsia.contracts import Metric, Report, Task
from intarsia.data.feature_cache import FeatureCache
from intarsia.data.loader import BatchIterator, train_loader
from intarsia.data.memory_folder import MemoryFolder
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_cache import SampleCache
from intarsia.data.unlabelled import Unlabelled
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.callbacks.base import Observer
from intarsia.engine.optim.plateau import Cut
from intarsia.engine.optim.schedules import Schedule
from intarsia.engine.training import environment
from intarsia.inference.predictor import Predictor
from intarsia.io.whole_files import sweep, write_text
from intarsia.metrics.best_threshold import BestThresholdMetric
from intarsia.metrics.multi_label import BestThresholdsMetric
from intarsia.spec import EarlyStopSpec, EmaSpec, OptimSpec, SafeguardSpec
from intarsia.tasks.taught import Taught
from intarsia.weights.file import WeightsMeta


@dataclass(frozen=True)
class Validation:
    """What an evaluation during training needs.

    every: steps between two; one more is made at the end. begin: the first step that may have one. changes: in their
    order (step, every): another interval from that step on.
    persistent_workers: data workers live from the first evaluation to the end of the run. pin_memory: where there is a
    GPU, it copies batches by itself.
    """

    pipeline: Pipeline
    predictor: Predictor
    metric: Metric
    every: int
    batch: int = 1
    workers: int = 0
    persistent_workers: bool = True
    pin_memory: bool = True
    begin: int = 1
    changes: tuple[tuple[int, int], ...] = ()

    def is_due(self, step: int) -> bool:
        """Whether there is an evaluation after `step` steps, by the intervals: a function of the step alone."""
        every = next((every for first, every in reversed(self.changes) if step >= first), self.every)
        return step >= self.begin and step % every == 0


@dataclass(frozen=True)
class Run:
    """Everything about one training, built. The engine knows no configs.

    steps: optimizer steps in total. batch: images per optimizer step, over all processes and micro-batches.
    optimizer_class: for an optimizer of the user's own; None takes torch's by the name in `optim`.
    save_every, log_every: steps. keep: checkpoints kept, beside those at multiples of `keep_every` steps.
    best_metric: name in Report.summary, or "loss".
    workers: data-loading processes per training process. pin_memory: where there is a GPU, it copies batches by itself.
    ema: averaged weights, which are then the ones evaluated and kept. average_every: steps after which statistics are
    averaged, if the runtime does, beside those that are evaluated and the last.
    early_stop, safeguards: see their classes.
    fit: some training images, evaluated whenever the validation images are. compile: the network, by torch.compile.
    observers: told of everything, in the first process. order_seed: of the order of samples, if it is not `seed`.
    meta: what the weights file will say; scores and step are filled in. config_text: written to config.py.
    data, pretrained: facts for run.json about the data and about the weights that the run starts from.
    notes: said at the start. command: the command line. unlabelled: images without labels beside those of `pipeline`.
    features: what the trunk makes of the images of `pipeline`, computed before; batches then come from there.
    cache: decoded samples that `pipeline` reads. memory: the folder that it is in, if that goes with the run.
    resume: go on from the newest checkpoint in `out`.
    """

    task: Task
    pipeline: Pipeline
    optim: OptimSpec
    steps: int
    batch: int
    out: Path
    validation: Validation | None = None
    optimizer_class: type[Optimizer] | None = None
    save_every: int = 1000
    log_every: int = 50
    keep: int = 2
    keep_every: int | None = None
    best_metric: str | None = "mIoU"
    best_mode: Literal["max", "min"] = "max"
    workers: int = 2
    pin_memory: bool = True
    shuffle: bool = True
    ema: EmaSpec | None = None
    average_every: int | None = None
    early_stop: EarlyStopSpec | None = None
    safeguards: SafeguardSpec = field(default_factory=SafeguardSpec)
    fit: Validation | None = None
    compile: bool = False
    observers: Sequence[Observer] = ()
    seed: int = 0
    order_seed: int | None = None
    runtime: FabricRuntime = field(default_factory=FabricRuntime)
    resume: bool = False
    meta: WeightsMeta = field(default_factory=WeightsMeta)
    config_text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    pretrained: Sequence[Mapping[str, Any]] = ()
    notes: tuple[str, ...] = ()
    command: Sequence[str] = field(default_factory=lambda: tuple(sys.argv))
    unlabelled: Unlabelled | None = None
    features: FeatureCache | None = None
    cache: SampleCache | None = None
    memory: MemoryFolder | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, found {getattr(self, name)}")
        if self.averaged_teacher is not None and self.ema is None:
            raise ValueError("the teacher is the average of the weights, but the run averages none: give it an ema")
        if isinstance(self.module, Taught) and self.runtime.shards:
            raise ValueError("a network that learns from a teacher cannot be sharded: use --strategy ddp")
        if self.safeguards.lora is not None and self.runtime.shards:
            raise ValueError("a network that is adapted by LoRA cannot be sharded: use --strategy ddp")
        if self.features is not None and self.runtime.shards:
            raise ValueError("a network that learns from cached features cannot be sharded: use --strategy ddp")
        if self.compile and self.runtime.shards:
            raise ValueError("a network that is compiled cannot be sharded: leave out --compile, or use --strategy ddp")

    @property
    def module(self) -> nn.Module:
        """The task as the module it is."""
        return cast(nn.Module, self.task)

    @property
    def network(self) -> nn.Module:
        """The network inside the task: what is optimised and ends up in the weights file."""
        return self.module.get_submodule("model")

    @property
    def taught(self) -> Taught | None:
        """The task, if it learns from a teacher."""
        return self.module if isinstance(self.module, Taught) else None

    @property
    def averaged_teacher(self) -> Taught | None:
        """The task, if it learns from the average of its weights."""
        return self.taught if self.taught is not None and self.taught.follows_average else None

    @property
    def chooses_threshold(self) -> bool:
        """Whether an evaluation chooses the threshold of the foreground, or those of all classes that a pixel may have,
        which the weights file then keeps.
        """
        chooses = (BestThresholdMetric, BestThresholdsMetric)
        return self.validation is not None and isinstance(self.validation.metric, chooses)

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches whose gradients are added up before an optimizer step."""
        return self.optim.accumulate

    @property
    def micro_batch_size(self) -> int:
        """Images that one process sees at once. Raises ValueError where the total batch cannot be shared out evenly."""
        shares = self.runtime.world_size * self.accumulation_steps
        if self.batch % shares:
            raise ValueError(
                f"a total batch of {self.batch} cannot be shared by {self.runtime.world_size} processes and "
                f"{self.accumulation_steps} accumulation steps; the next that can are "
                f"{self.batch // shares * shares or shares} and {(self.batch // shares + 1) * shares}"
            )
        return self.batch // shares

    def batches(self, step: int, *, workers: int | None = None) -> BatchIterator:
        """The micro-batches of this process from optimizer step `step` on; nothing before is read.

        workers: another number of them than the run's.
        """
        if self.features is not None:
            return self.features.batches(
                batch_size=self.micro_batch_size,
                seed=self.seed if self.order_seed is None else self.order_seed,
                workers=self.workers if workers is None else workers,
                start_step=step * self.accumulation_steps,
                shuffle=self.shuffle,
                rank=self.runtime.rank,
                world_size=self.runtime.world_size,
                pin_memory=self.pin_memory and self.runtime.device.type == "cuda",
            )
        return train_loader(
            self.pipeline,
            batch_size=self.micro_batch_size,
            seed=self.seed,
            workers=self.workers if workers is None else workers,
            start_step=step * self.accumulation_steps,
            shuffle=self.shuffle,
            rank=self.runtime.rank,
            world_size=self.runtime.world_size,
            pin_memory=self.pin_memory and self.runtime.device.type == "cuda",
            order_seed=self.order_seed,
            unlabelled=self.unlabelled and replace(self.unlabelled, accumulation_steps=self.accumulation_steps),
        )

    @property
    def movable_stages(self) -> frozenset[str]:
        """Stages of loading that an accelerator could do instead of the workers."""
        return frozenset() if self.runtime.device.type == "cpu" else self.pipeline.movable_stages

    @property
    def epoch_length(self) -> int:
        """Optimizer steps in which every image is seen once, rounded up."""
        return -(-len(self.pipeline) // self.batch)

    @cached_property
    def schedule(self) -> Schedule:
        """Learning rate and momentum of each step, as long as no evaluation changes them."""
        return self.schedule_after(())

    def schedule_after(self, cuts: Sequence[Cut]) -> Schedule:
        """Learning rate and momentum of each step, after what rules have decided from evaluations."""
        per_step = self.optim.iterations_per_step
        return Schedule.of(self.optim.schedules, self.epoch_length, iterations_per_step=per_step, cuts=cuts)

    @cached_property
    def folder(self) -> RunFolder:
        """The files of this run."""
        return RunFolder(self.out)


@dataclass(frozen=True)
class Best:
    """The best evaluation so far: the value of the run's metric, and the step whose weights reached it."""

    metric: str
    value: float
    step: int

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.4f} at step {self.step}"


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended. best, report: of the weights in `weights`; None without validation.

    finished: False if it was told to stop; it can then be resumed.
    """

    folder: Path
    weights: Path | None
    step: int
    finished: bool
    best: Best | None
    report: Report | None


class RunFolder:
    """Names of the files of a run, and run.json."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.run_json = self.path / "run.json"
        self.config = self.path / "config.py"
        self.metrics = self.path / "metrics.jsonl"
        self.curve = self.path / "curve.png"
        self.weights = self.path / "weights.safetensors"
        self.checkpoints = self.path / "checkpoints"
        self.eval_json = self.path / "eval.json"

    def read(self) -> dict[str, Any]:
        """run.json. Raises ValueError where there is none, and where it is damaged."""
        if not self.run_json.is_file():
            raise ValueError(f"{self.path} holds no run: there is no {self.run_json.name} in it")
        try:
            content = json.loads(self.run_json.read_text(encoding="utf-8"))
        except ValueError as error:
            content = error
        if not isinstance(content, dict):
            raise ValueError(
                f"{self.run_json}: is damaged, no JSON of a run: {content}. Put a copy in its place; or begin anew "
                f"from its weights: intarsia train {self.config} --weights {self.weights} --out NEW"
            )
        return content

    def update(self, **values: Any) -> None:
        """Change top-level entries of run.json."""
        before = self.read() if self.run_json.is_file() else {}
        text = json.dumps({**before, **values}, indent=2, ensure_ascii=False, default=str) + "\n"
        write_text(self.run_json, text)

    def check_free(self) -> None:
        """Raise ValueError if a new run would overwrite the work of another."""
        taken = [p for p in (self.weights, *self.checkpoints.glob("step_*.pt")) if p.exists()]
        if taken:
            raise ValueError(
                f"{self.path} already holds a run ({taken[0].relative_to(self.path)}); "
                f"go on with it by 'intarsia train --resume {self.path}', or choose another --out"
            )

    def begin(self, run: Run) -> None:
        """Prepare the folder for a new run, or for going on with the one in it."""
        if not run.resume:
            for leftover in (self.metrics, self.run_json):
                leftover.unlink(missing_ok=True)
            self.path.mkdir(parents=True, exist_ok=True)
            if run.config_text:
                write_text(self.config, run.config_text)
        sweep(self.path)
        self.update(status="running", **_description(run))


def _description(run: Run) -> dict[str, Any]:
    begun = {
        "started": now(),
        "command": list(run.command),
        "config": run.meta.config,
        "pretrained": [dict(one) for one in run.pretrained],
    }
    started = {} if run.resume else begun  # a resumed run is the one that was begun, in however many processes
    return {
        **started,
        "steps": run.steps,
        "batch": run.batch,
        "batch_per_process": run.micro_batch_size,
        "accumulate": run.accumulation_steps,
        "processes": run.runtime.world_size,
        "precision": run.runtime.precision,
        "device": str(run.runtime.device),
        "epochs": round(run.steps * run.batch / len(run.pipeline), 3),
        "seed": run.seed,
        "parameters": sum(p.numel() for p in run.module.parameters()),
        "data": dict(run.data),
        "versions": environment.versions(),
        "git": environment.git_state(),
        "hardware": environment.hardware(),
        "notes": list(run.notes),
    }


def now() -> str:
    """The time as in "2026-01-31T12:00:00+00:00"."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
