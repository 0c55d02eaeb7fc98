"""A network of two convolutions with all that a deployable model does around one, and what files of it say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intarsia.export import runtime
from intarsia.export.contract import Contract, ExportMeta
from intarsia.export.deployable import Deployable
from intarsia.export.task import ExportedPredictor, ExportedTask, inference_of
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec, PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.weights.file import WeightsMeta

CLASSES = ("sky", "road", "car")
PALETTE = ((70, 130, 180), (128, 64, 128), (0, 0, 142))
SIZES = [(64, 96), (33, 80), (97, 50), (7, 5), (1, 1)]


class Network(nn.Module):
    """Logits at stride 4 that differ from place to place."""

    least_size = 4

    def __init__(self, channels: int, logits: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 5, stride=4, padding=2)
        self.decode_head = nn.Conv2d(8, logits, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.decode_head(self.first(images).relu())
        return out


class Task(nn.Module):
    """As much of a task as the predictor and the exporter look at."""

    ignore_index = 255

    def __init__(self, *, channels: int = 3, logits: int = 3, **preprocess: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.model = Network(channels, logits)
        mean, std = (120.0, 110.0, 100.0, 90.0)[:channels], (60.0, 50.0, 55.0, 40.0)[:channels]
        self.preprocess = Preprocess(PreprocessSpec(mean, std, **preprocess))
        self.num_classes = max(logits, 2)


@dataclass(frozen=True)
class Made:
    """A task, how it infers, and what is made of both."""

    task: Task
    inference: InferenceSpec

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES[: self.inference.num_classes]

    def predictor(self, **changes: Any) -> Predictor:
        palette = PALETTE[: len(self.classes)]
        inference = replace(self.inference, **changes)
        return Predictor(self.task, inference=inference, classes=self.classes, palette=palette)

    def deployable(self, output: str = "label", layout: str = "NHWC", **contract: Any) -> Deployable:
        channels = len(self.task.preprocess.mean)
        found = Contract(output, layout, channels, **contract)  # type: ignore[arg-type]
        return Deployable(self.task, self.inference, found, least_size=4).eval()

    def meta(self, contract: Contract) -> ExportMeta:
        weights = WeightsMeta(classes=self.classes, palette=PALETTE[: len(self.classes)])
        return ExportMeta(contract, weights, "ab" * 32, {"torch": torch.__version__})


def image(size: tuple[int, int], *, channels: int = 3, seed: int = 0) -> np.ndarray[Any, Any]:
    """Squares of colour with noise, (H, W, C) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8), channels))
    whole = coarse.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    return (whole + rng.integers(-20, 20, whole.shape)).clip(0, 255).astype(np.uint8)


def predictor_of(made: Made, path: Path) -> ExportedPredictor:
    """A predictor of a file."""
    opened, thresholds = runtime.open_file(path, threads=1), made.inference.thresholds
    filling = made.task.preprocess.spec.mean
    task = ExportedTask(opened, num_classes=len(made.classes), filling=filling, thresholds=thresholds)
    inference = inference_of(made.inference, opened.meta.contract)
    palette = PALETTE[: len(made.classes)]
    return ExportedPredictor(task.eval(), inference=inference, classes=made.classes, palette=palette)
