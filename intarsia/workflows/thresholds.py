"""The threshold of the foreground: chosen on validation images, kept in the weights file, and used from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.contracts import Metric
from intarsia.evaluation.evaluate import evaluate
from intarsia.export.task import has_decided
from intarsia.inference.threshold import at_threshold, at_thresholds, tells_two_apart
from intarsia.io.whole_files import whole_file
from intarsia.metrics.best_threshold import BestThresholdMetric
from intarsia.metrics.iou import IoUMetric
from intarsia.metrics.multi_label import BestThresholdsMetric, MultiLabelMetric
from intarsia.spec import InferenceSpec, RunSpec
from intarsia.weights.file import KEY, SUFFIX, WeightsMeta, read_meta, write_described
from intarsia.weights.tensor_file import read_header

if TYPE_CHECKING:
    from intarsia.contracts import Report
    from intarsia.data.pipeline import Pipeline
    from intarsia.distributed.device_processes import Link
    from intarsia.engine.training.run import Validation
    from intarsia.inference.predictor import Predictor


def as_kept(spec: RunSpec, meta: WeightsMeta) -> RunSpec:
    """The run with the threshold that its weights file keeps, if it keeps one and the model tells two classes apart, or
    with those of all classes that a pixel may have.
    """
    if meta.thresholds and spec.inference.answer == "classes":
        return replace(spec, inference=at_thresholds(spec.inference, meta.thresholds))
    if meta.threshold is None or not tells_two_apart(spec.inference):
        return spec
    return replace(spec, inference=at_threshold(spec.inference, meta.threshold))


def kept_by_all(metas: Sequence[WeightsMeta], inference: InferenceSpec) -> WeightsMeta:
    """What the first of several models says, with the thresholds of all, which `inference` has, where one keeps any."""
    meta = metas[0]
    if any(one.thresholds for one in metas):
        meta = replace(meta, thresholds=inference.thresholds or ())
    if any(one.threshold is not None for one in metas):
        meta = replace(meta, threshold=inference.foreground_above)
    return meta


def kept_note(spec: RunSpec, meta: WeightsMeta) -> str:
    """What to say where `as_kept` has changed the run; "" where it has not."""
    if meta.thresholds and spec.inference.answer == "classes":
        shown = ", ".join(f"{name} {value:.4f}" for name, value in zip(meta.classes, meta.thresholds, strict=False))
        return f"a pixel has a class above a probability of: {shown}, chosen on the validation images"
    if meta.threshold is None or not tells_two_apart(spec.inference):
        return ""
    name = f" is {meta.classes[-1]}" if meta.classes else " is foreground"
    return f"a pixel{name} above a probability of {meta.threshold:.4f}, chosen on the validation images"


def changed_by(task: object) -> str:
    """What changes the threshold of a model, in words."""
    return "it is in the file" if has_decided(task) else "--threshold changes it"


def counted_at_best(spec: RunSpec, metric: Metric) -> Metric:
    """The metric of a validation: at its best threshold, if the run chooses that and the metric can be had there."""
    if spec.safeguards.choose_threshold and isinstance(metric, MultiLabelMetric):
        return BestThresholdsMetric(metric)
    if not spec.safeguards.choose_threshold or not tells_two_apart(spec.inference) or not isinstance(metric, IoUMetric):
        return metric
    return BestThresholdMetric(metric) if metric.foreground is not None and metric.only_counts_pixels else metric


def not_chosen(spec: RunSpec, validation: Validation | None) -> list[str]:
    """What to say where a run should choose a threshold and does not."""
    if not spec.safeguards.choose_threshold or (
        validation and isinstance(validation.metric, BestThresholdMetric | BestThresholdsMetric)
    ):
        return []
    return [
        "the threshold of the foreground is not chosen during training: that takes validation images, two classes, and "
        "scores that follow from counts of pixels. `intarsia eval RUN --choose-threshold` chooses it afterwards"
    ]


def keeps_threshold(file: Path) -> bool:
    """Whether a file of weights has a place for it: one that Intarsia wrote."""
    return file.suffix == SUFFIX and KEY in read_header(file).get("__metadata__", {})


def keep(file: Path, chosen: float | Sequence[float], report: Report | None) -> None:
    """Write a threshold, or those of all classes, into a weights file, with the scores of its weights at it; none where
    `report` is None.
    """
    scores = {} if report is None else {**report.summary, **report.losses}
    one, each = (chosen, ()) if isinstance(chosen, float) else (None, tuple(chosen))
    meta = replace(read_meta(file), threshold=one, thresholds=each, scores=scores)
    with whole_file(file) as aside:  # the file is closed before it is replaced, which Windows wants
        write_described(file, aside, meta)


def choose_each(
    predictor: Predictor,
    pipeline: Pipeline,
    *,
    batch: int,
    workers: int,
    progress: Callable[[int], None],
    link: Link | None = None,
) -> tuple[tuple[float, ...], list[str]]:
    """The threshold of each class that a pixel may have, for its largest IoU on labelled images, and what it gains.

    link: to other processes that do the same, each on its share of the images.
    """
    classes, ignore_index = pipeline.dataset.classes, pipeline.dataset.ignore_index
    metric = BestThresholdsMetric(
        MultiLabelMetric(num_classes=len(classes), classes=classes, ignore_index=ignore_index)
    )
    evaluate(predictor, pipeline, metric, batch_size=batch, workers=workers, progress=progress, runtime=link)
    best = metric.best()
    found, usual = metric.report_at(best), metric.report_at((0.5,) * len(classes))
    lines = []
    for threshold, now, before in zip(best, found.classes, usual.classes, strict=True):
        gain = f"IoU {now.values['IoU']:.4f}, {before.values['IoU']:.4f} at 0.5" if now.pixels else "not in the labels"
        lines.append(f"{now.name} {threshold:.4f}: {gain}")
    return best, lines


def choose(
    predictor: Predictor,
    pipeline: Pipeline,
    *,
    batch: int,
    workers: int,
    progress: Callable[[int], None],
    link: Link | None = None,
) -> tuple[float, str]:
    """The threshold with the largest IoU of the foreground on labelled images, and what it gains, in words.

    link: as for `choose_each`.

    Raises ValueError for a model of more than two classes, and where no label has foreground.
    """
    classes, ignore_index = pipeline.dataset.classes, pipeline.dataset.ignore_index
    if not tells_two_apart(predictor.inference):
        raise ValueError(f"--choose-threshold is for models of two classes; this one has {len(classes)}")
    metric = BestThresholdMetric(IoUMetric(num_classes=len(classes), classes=classes, ignore_index=ignore_index))
    evaluate(predictor, pipeline, metric, batch_size=batch, workers=workers, progress=progress, runtime=link)
    name, threshold = metric.metric.classes[1], metric.best()
    if not metric.labelled_foreground:
        raise ValueError(f"--choose-threshold: no pixel of these {len(pipeline)} images is labelled {name}")
    best, usual = metric.foreground_iou(threshold), metric.foreground_iou(0.5)
    return threshold, f"IoU of {name} {best:.4f} on {len(pipeline)} images, {usual:.4f} at 0.5"
