"""The evaluation loop: one pass gives the scores and the validation loss, and keeps nothing but counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import (
    Batch,
    ConfidenceMetric,
    ForegroundMetric,
    Metric,
    NumberedMetric,
    ProbabilityMetric,
    Report,
    SampleMeta,
    Size,
    Task,
)
from intarsia.data.datasets.instances import with_instances
from intarsia.data.loader import BatchLoader, eval_loader
from intarsia.data.pipeline import Pipeline
from intarsia.distributed.device_processes import Link
from intarsia.distributed.runtime import FabricRuntime
from intarsia.evaluation.by_part import PartCounts
from intarsia.inference.logits.postprocess import RequestedFields
from intarsia.inference.logits.sliding import Window
from intarsia.inference.network import Soundness
from intarsia.inference.predictor import Observe, Predictor
from intarsia.inference.tta import without_resizing
from intarsia.metrics.several import count, needs_instances

OnPrediction = Callable[[SampleMeta, Tensor], None]
"""Called with each image's meta and its label map (H, W) at original size, on the device."""


def evaluation_batches(
    predictor: Predictor,
    pipeline: Pipeline,
    *,
    metric: Metric | None = None,
    batch_size: int = 1,
    workers: int = 0,
    runtime: FabricRuntime | Link | None = None,
    persistent_workers: bool = False,
    pin_memory: bool = True,
) -> BatchLoader:
    """The images that `evaluate` scores in this process, as the predictor wants them.

    metric: what they are for; an `InstanceMetric` asks for the objects beside the labels.
    persistent_workers: for several evaluations; the loader is to be closed. pin_memory: where there is a GPU, it copies
    batches by itself.
    """
    if predictor.augmented is not None:  # views are made of images that nothing has resized
        pipeline = Pipeline(pipeline.dataset, without_resizing(pipeline.transforms), label_size="original")
    if metric is not None and needs_instances(metric):
        dataset = with_instances(pipeline.dataset)
        pipeline = Pipeline(dataset, pipeline.transforms, label_size=pipeline.label_size)
    return eval_loader(
        pipeline,
        batch_size=batch_size,
        workers=workers,
        rank=0 if runtime is None else runtime.rank,
        world_size=1 if runtime is None else runtime.world_size,
        pin_memory=pin_memory and predictor.device.type == "cuda",
        persistent_workers=persistent_workers,
    )


def evaluate(
    predictor: Predictor,
    pipeline: Pipeline,
    metric: Metric,
    *,
    batch_size: int = 1,
    workers: int = 0,
    batches: BatchLoader | None = None,
    runtime: FabricRuntime | Link | None = None,
    progress: Callable[[int], None] | None = None,
    on_prediction: OnPrediction | None = None,
    task: Task | None = None,
) -> Report:
    """Score every image of `pipeline` exactly once, over all processes. On an accelerator only its end waits for it.

    Of several data sets (`MixedDataset`), Report.parts has the scores of each.

    batches: what `evaluation_batches` gave for `pipeline`, if it is evaluated several times.
    metric: is emptied first; a `ConfidenceMetric` is told the confidences if it needs them, a `ForegroundMetric` the
    probabilities of the second of two classes, a `ProbabilityMetric` those of all that a pixel may have, an
    `InstanceMetric` the objects if `batches` were made for it.
    progress: called with the number of images after every batch, in this process.
    task: gives the validation loss, Report.losses["loss"]: that of the decode head on the labels at the network's input
    size, a mean over images, or over sliding windows. It is left in the mode (training or not) in which it came. None
    leaves the loss out, and so does a predictor that augments, since no view has the input that labels belong to.

    Raises ValueError for an empty data set or images without labels.
    """
    runtime = runtime or FabricRuntime(accelerator=predictor.device.type)
    metric.load_state(torch.zeros_like(metric.state()))
    if isinstance(metric, NumberedMetric):
        metric.number_images(runtime.rank, runtime.world_size)
    wanted = RequestedFields(
        confidence=isinstance(metric, ConfidenceMetric) and metric.needs_confidence,
        foreground=isinstance(metric, ForegroundMetric) and metric.needs_foreground,
        probabilities=isinstance(metric, ProbabilityMetric) and metric.needs_probabilities,
    )
    losses, soundness, parts = _Losses(), Soundness(), PartCounts(pipeline.dataset, metric, runtime)
    was_training = task is not None and task.training
    only_now = batches is None
    if batches is None:
        batches = evaluation_batches(
            predictor, pipeline, metric=metric, batch_size=batch_size, workers=workers, runtime=runtime
        )
    try:
        for batch in batches:
            labels = _labels_of(batch, predictor.device)
            observe = None if task is None else _loss_into(losses, task, labels, batch)
            with torch.inference_mode(), runtime.autocast():
                found = predictor.postprocess_batch(batch, wanted, observe=observe, soundness=soundness)
            for place, (meta, restored, label) in enumerate(zip(batch.metas, found, labels, strict=True)):
                instances = None if batch.instances is None else batch.instances[place]
                parts.next_image()
                count(
                    metric, restored.label, label, confidence=restored.confidence, foreground=restored.foreground,
                    probabilities=restored.probabilities, instances=instances,
                )  # fmt: skip
                if on_prediction is not None:
                    on_prediction(meta, restored.label)
            if progress is not None:
                progress(len(labels))
    finally:
        if only_now:
            batches.close()
        if task is not None:
            task.train(was_training)
    soundness.warn()
    parts.end()
    whole = runtime.all_reduce_sum(metric.state().clone())
    metric.load_state(whole)
    report = metric.report()
    of_parts = parts.reports(report.threshold or tuple(report.thresholds.values()) or None)
    metric.load_state(whole)
    loss = runtime.all_reduce_sum(losses.total())
    threshold = predictor.inference.foreground_above if report.threshold is None else report.threshold
    thresholds = report.thresholds or dict(zip(predictor.classes, predictor.inference.thresholds or (), strict=False))
    report = replace(report, threshold=threshold, thresholds=thresholds, parts=of_parts)
    if task is None or not loss[1]:
        return report
    return replace(report, losses={"loss": float(loss[0] / loss[1])})


class _Losses:
    """The sum of losses of inputs to the network, images or windows; nothing waits for the device before `total`."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, value: Tensor, count: int) -> None:
        """A scalar, the mean over so many inputs."""
        value = value.detach().reshape(()).float()
        value = value.cpu() if value.device.type == "mps" else value  # MPS has no float64
        weighted = value.double() * count
        self._sum = weighted if self._sum is None else self._sum + weighted
        self._count += count

    def total(self) -> Tensor:
        """(2,) float64 on the CPU: the sum, and the number of inputs."""
        total = torch.zeros((), dtype=torch.float64) if self._sum is None else self._sum.cpu()
        return torch.stack([total, torch.tensor(self._count, dtype=torch.float64)])


def _loss_into(losses: _Losses, task: Task, labels: Sequence[Tensor], batch: Batch) -> Observe:
    """An observer of the network that adds the losses of what it gives."""

    def shown(image: int, network: Size) -> Tensor:
        """The label (1, height, width) of what the network is shown of an image."""
        label, size, meta = labels[image], batch.sizes[image], batch.metas[image]
        if meta.box is not None:
            top, left, height, width = meta.box
            label = label[top : top + height, left : left + width]
        if not label.numel():
            return torch.full((1, *network), task.ignore_index, device=label.device)
        if meta.corner == (0, 0):
            return labels_at_input([label], [size], network, task.ignore_index)
        (top, left), valid = meta.corner, meta.valid or size
        within = labels_at_input([label], [valid], valid, task.ignore_index)
        rest = (left, network[1] - left - valid[1], top, network[0] - top - valid[0])
        return F.pad(within, rest, value=task.ignore_index)

    def observe(logits: Tensor, windows: Sequence[Window], network: Size, seen: Size) -> None:
        target = torch.cat([window.cut(shown(window.image, network)) for window in windows])  # (n, height, width)
        rest = (0, seen[1] - target.shape[2], 0, seen[0] - target.shape[1])
        target = F.pad(target, rest, value=task.ignore_index)  # where a window was padded
        losses.add(task.validation_loss(logits.float(), target), len(windows))

    return observe


def labels_at_input(labels: Sequence[Tensor], sizes: Sequence[Size], network: Size, ignore_index: int) -> Tensor:
    """Labels (H_i, W_i) -> (N, H, W) at the network's input: nearest pixels, `ignore_index` where the input is padded.

    Of class indices in int64, of depths in their own type.

    sizes: (h, w) of the part of each input that is image.
    """
    dtype = labels[0].dtype if labels[0].is_floating_point() else torch.int64
    target = torch.full((len(labels), *network), ignore_index, dtype=dtype, device=labels[0].device)
    for i, (label, (h, w)) in enumerate(zip(labels, sizes, strict=True)):
        rows, columns = (
            torch.arange(to, device=label.device).mul_(size).div_(to, rounding_mode="floor")
            for size, to in zip(label.shape, (h, w), strict=True)
        )
        target[i, :h, :w] = label.to(dtype)[rows[:, None], columns]
    return target


def _labels_of(batch: Batch, device: torch.device) -> list[Tensor]:
    if batch.labels is None:
        names = ", ".join(meta.name or meta.image_path for meta in batch.metas[:3])
        raise ValueError(f"evaluation needs labels, but there are none for: {names}")
    return [label.to(device, non_blocking=True) for label in batch.labels]
