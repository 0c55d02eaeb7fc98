"""The evaluation loop: one pass gives the scores and the validation loss, and keeps nothing but counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from intarsia.contracts import Batch, ConfidenceMetric, Metric, Report, SampleMeta, Size
from intarsia.data.loader import eval_loader
from intarsia.data.pipeline import Pipeline
from intarsia.distributed.runtime import FabricRuntime
from intarsia.inference.logits.postprocess import Wanted
from intarsia.inference.logits.sliding import Window
from intarsia.inference.predictor import Observe, Predictor
from intarsia.inference.tta import without_resizing

OnPrediction = Callable[[SampleMeta, Tensor], None]
"""Called with each image's meta and its label map (H, W) at original size, on the device."""


class Validated(Protocol):
    """What the validation loss needs of a task."""

    training: bool
    ignore_index: int

    def train(self, mode: bool) -> object:
        """As nn.Module.train."""
        ...

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """A scalar from logits (N, K, h, w) and labels (N, H, W)."""
        ...


def evaluate(
    predictor: Predictor,
    pipeline: Pipeline,
    metric: Metric,
    *,
    batch_size: int = 1,
    workers: int = 0,
    runtime: FabricRuntime | None = None,
    progress: Callable[[int], None] | None = None,
    on_prediction: OnPrediction | None = None,
    task: Validated | None = None,
) -> Report:
    """Score every image of `pipeline` exactly once, over all processes.

    metric: is emptied first; a `ConfidenceMetric` is told the confidences if it needs them. progress: called with the
    number of images after every batch, in this process.
    task: gives the validation loss, Report.losses["loss"]: that of the decode head on the labels at the network's input
    size, a mean over images, or over sliding windows. It is left in the mode (training or not) in which it came. None
    leaves the loss out, and so does a predictor that augments, since no view has the input that labels belong to.

    Raises ValueError for an empty data set or images without labels.
    """
    runtime = runtime or FabricRuntime(accelerator=predictor.device.type)
    metric.load_state(torch.zeros_like(metric.state()))
    wanted = Wanted(confidence=isinstance(metric, ConfidenceMetric) and metric.needs_confidence)
    loss = torch.zeros(2, dtype=torch.float64)  # sum over images (or windows), their number
    was_training = task is not None and task.training
    if predictor.augmented is not None:  # views are made of images that nothing has resized
        transforms = without_resizing(pipeline.transforms)
        pipeline = Pipeline(pipeline.dataset, transforms, label_size="original")
    batches = eval_loader(
        pipeline, batch_size=batch_size, workers=workers, rank=runtime.rank, world_size=runtime.world_size
    )
    try:
        for batch in batches:
            labels = _labels_of(batch, predictor.device)
            observe = None if task is None else _loss_into(loss, task, labels, batch.sizes)
            with torch.inference_mode(), runtime.autocast():
                found = predictor.restore_batch(batch, wanted, observe=observe)
            for meta, restored, label in zip(batch.metas, found, labels, strict=True):
                if restored.confidence is None:
                    metric.update(restored.label, label)
                else:
                    assert isinstance(metric, ConfidenceMetric)
                    metric.update(restored.label, label, restored.confidence)
                if on_prediction is not None:
                    on_prediction(meta, restored.label)
            if progress is not None:
                progress(len(labels))
    finally:
        if task is not None:
            task.train(was_training)
    metric.load_state(runtime.all_reduce_sum(metric.state()))
    loss = runtime.all_reduce_sum(loss)
    report = metric.report()
    if task is None or not loss[1]:
        return report
    return Report(
        summary=report.summary,
        classes=report.classes,
        absent=report.absent,
        images=report.images,
        losses={"loss": float(loss[0] / loss[1])},
    )


def _loss_into(total: Tensor, task: Validated, labels: Sequence[Tensor], sizes: Sequence[Size]) -> Observe:
    """An observer of the network that adds (loss x windows, windows) to `total`."""

    def observe(logits: Tensor, windows: Sequence[Window], network: Size) -> None:
        target = torch.cat(
            [
                window.cut(labels_at_input([labels[window.image]], [sizes[window.image]], network, task.ignore_index))
                for window in windows
            ]
        )  # (n, height, width)
        value = task.validation_loss(logits.float(), target)
        total.add_(torch.tensor([float(value) * len(windows), len(windows)], dtype=torch.float64))

    return observe


def labels_at_input(labels: Sequence[Tensor], sizes: Sequence[Size], network: Size, ignore_index: int) -> Tensor:
    """Labels (H_i, W_i) -> (N, H, W) at the network's input: nearest pixels, `ignore_index` where the input is padded.

    sizes: (h, w) of the part of each input that is image.
    """
    target = torch.full((len(labels), *network), ignore_index, dtype=torch.int64, device=labels[0].device)
    for i, (label, (h, w)) in enumerate(zip(labels, sizes, strict=True)):
        rows, columns = (
            torch.arange(to, device=label.device).mul_(size).div_(to, rounding_mode="floor")
            for size, to in zip(label.shape, (h, w), strict=True)
        )
        target[i, :h, :w] = label.to(torch.int64)[rows[:, None], columns]
    return target


def _labels_of(batch: Batch, device: torch.device) -> list[Tensor]:
    if batch.labels is None:
        names = ", ".join(meta.name or meta.image_path for meta in batch.metas[:3])
        raise ValueError(f"evaluation needs labels, but there are none for: {names}")
    return [label.to(device, non_blocking=True) for label in batch.labels]
