"""Stand-ins: a two-layer network on little pictures in memory."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Batch, LossTerm, Sample, SampleMeta
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.geometry import RandomFlip
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.run import Run, Validation
from intarsia.inference.predictor import Predictor
from intarsia.metrics.iou import IoUMetric
from intarsia.spec import Component, InferenceSpec, OptimSpec, ScheduleSpec

CLASSES = ("dark", "bright", "unseen")
PALETTE = ((0, 0, 0), (255, 255, 255), (255, 0, 0))


@dataclass(frozen=True)
class Pictures:
    """Noise; a pixel is bright or dark, and the label says which. The first row of each is ignored."""

    length: int = 12
    size: tuple[int, int] = (12, 16)
    classes: tuple[str, ...] = CLASSES
    palette: tuple[tuple[int, int, int], ...] = PALETTE
    ignore_index: int = 255
    broken: int = -1

    def __len__(self) -> int:
        return self.length

    def load(self, index: int) -> Sample:
        if index == self.broken:
            raise ValueError(f"picture{index}.png: cannot be read")
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*self.size, 3), dtype=np.uint8)
        label = (image[..., 0] > 127).astype(np.uint8)
        label[0] = 255
        return Sample(image, label, meta=SampleMeta(name=f"picture{index}", original_size=self.size))


class Network(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout2d(0.2)
        self.decode_head = nn.Conv2d(8, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.decode_head(self.dropout(F.relu(self.norm(self.backbone(images)))))


class TinyTask(nn.Module):
    """The contract of tasks.semantic.SemanticSegmentation in its shortest form."""

    ignore_index = 255

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.model = Network(num_classes)
        self.poison_at: int | None = None
        self.problem = ""
        self.calls = 0

    def preprocess(self, images: Tensor, sizes: object, *, train: bool) -> Tensor:
        return (images.to(self.model.decode_head.weight.dtype) - 127.5) / 64

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        logits = self.model(self.preprocess(batch.images, batch.sizes, train=True))
        assert isinstance(batch.labels, Tensor)
        value = self.validation_loss(logits, batch.labels)
        self.calls += 1
        if self.calls == self.poison_at:
            value = value * torch.nan
        accuracy = (logits.argmax(1) == batch.labels).float().mean() * 100
        return [
            LossTerm("decode.loss_ce", value),
            LossTerm("aux.loss_ce", value.square(), 0.4),
            LossTerm("decode.acc_seg", accuracy, 0.0),
        ]

    def label_problem(self, batch: Batch) -> str:
        return self.problem

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        # As MMSegmentation by default: ignored pixels count in the denominator.
        return F.cross_entropy(logits, labels.long(), ignore_index=255, reduction="none").mean()


def tiny_task(num_classes: int = 3) -> TinyTask:
    torch.manual_seed(0)
    return TinyTask(num_classes)


SGD = OptimSpec(
    optimizer=Component("optimizer", "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}),
    schedules=(ScheduleSpec("PolyLR", 0, 20, args={"power": 0.9, "eta_min": 1e-4}),),
)


def tiny_run(out: Path, *, validate: bool = True, **changes: object) -> Run:
    task = changes.pop("task", None) or tiny_task()
    pictures = changes.pop("pictures", Pictures())
    runtime = changes.pop("runtime", None) or FabricRuntime(accelerator="cpu")
    validation = None
    if validate:
        validation = Validation(
            pipeline=Pipeline(Pictures(5), (), label_size="original"),
            predictor=Predictor(
                task, inference=InferenceSpec(num_classes=3), classes=CLASSES, palette=PALETTE, device=runtime.device
            ),
            metric=IoUMetric(num_classes=3, classes=CLASSES),
            every=changes.pop("evaluate_every", 8),
            batch=2,
        )
    settings = {
        "task": task,
        "pipeline": Pipeline(pictures, (RandomFlip(prob=0.5),)),
        "optim": SGD,
        "steps": 20,
        "batch": 4,
        "out": out,
        "validation": validation,
        "runtime": runtime,
        "save_every": 5,
        "log_every": 4,
        "workers": 0,
        "command": ("intarsia", "train"),
    }
    return Run(**{**settings, **changes})  # type: ignore[arg-type]


def stop_after(run: Run, calls: int) -> None:
    """Ask for the end of the run during the given call of its task, as a machine does that is about to go away."""
    before = run.task.training_terms

    def training_terms(batch: Batch) -> list[LossTerm]:
        terms = before(batch)
        if run.task.calls == calls:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGUSR1)
        return terms

    run.task.training_terms = training_terms  # type: ignore[method-assign]
