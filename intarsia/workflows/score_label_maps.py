"""Scoring of label maps in files, and how the scores of any evaluation are shown and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from intarsia.config.build import build, build_metric, metric_of, of_split
from intarsia.contracts import ConfidenceMetric, Metric, Report
from intarsia.data.description.read import read_description
from intarsia.data.labels import LabelTable, holds_sets, shown_values, value_count
from intarsia.data.pipeline import Pipeline
from intarsia.engine.callbacks.sample_images import paint
from intarsia.evaluation.files import write_report
from intarsia.evaluation.label_maps import IndexFiles, LabelFiles, score_files
from intarsia.evaluation.label_rasters import raster_classes, score_raster
from intarsia.evaluation.score_table import part_lines, report_table, score_lines
from intarsia.evaluation.submission import ServerFiles
from intarsia.inference.outputs.label_values import SERVERS
from intarsia.metrics.cityscapes import CityscapesMetric
from intarsia.metrics.iou import IoUMetric
from intarsia.spec import Component
from intarsia.terminal import out as results
from intarsia.terminal import progress, say
from intarsia.workflows.assemble import checked, evaluation_pipeline
from intarsia.workflows.confusion import check_confusion, save_confusion
from intarsia.workflows.example_pictures import Worst
from intarsia.workflows.names import find_config
from intarsia.workflows.scores import CITYSCAPES, chosen_scores, within
from intarsia.workflows.trained_model import given_data


def score(
    predictions: Path,
    *,
    labels: Path | None,
    data: Path | None,
    config: str | None,
    split: str,
    out: Path,
    pictures: int,
    metrics: str | None,
    groups: Sequence[str] | None,
    roi: Path | None,
    empty_images: str | None = None,
    file_format: str = "indices",
    confusion: Sequence[Path] = (),
) -> None:
    """Compare label maps in a folder with labels: those of given data, or of a config's split; or a raster with one.

    labels: the raster of labels, for a predicted raster; what its values mean, `data` may say, a description.
    file_format: what the label maps hold, class indices or what a benchmark's server wants. Of the latter, names, sizes
    and values are checked where there are no labels. confusion: files for the confusion matrix, see `save_confusion`.

    Raises ValueError if neither is named, the metric needs more than label maps, or they do not fit the labels.
    """
    if file_format != "indices" and file_format not in SERVERS:
        raise ValueError(f"--format is indices, {', '.join(SERVERS)} of --predictions, found {file_format!r}")
    if labels is not None or (predictions.is_file() and predictions.suffix.lower() in (".tif", ".tiff", ".vrt")):
        if labels is None:
            raise ValueError(f"{predictions} is one raster: name that of the labels with --labels FILE.tif")
        if roi is not None:
            raise ValueError("--roi is for images; of a raster, make what does not count nodata in --labels")
        if file_format != "indices":
            raise ValueError("--format is for a folder of label maps: a raster has class indices")
        if empty_images is not None:
            raise ValueError("--empty-images is for means over images: a raster is one")
        _score_raster(predictions, labels, data=data, out=out, metrics=metrics, groups=groups, confusion=confusion)
        return
    if file_format == CITYSCAPES and not groups:
        metrics = metrics or CITYSCAPES  # as the server scores them
    pipeline, metric = _labels_and_metric(data, config, split, metrics, groups, empty_images)
    if isinstance(metric, ConfidenceMetric) and metric.needs_confidence:
        raise ValueError("ECE needs the network's confidence, which label maps do not hold; leave it out of --metrics")
    check_confusion(confusion, metric)
    pipeline = within(pipeline, roi)
    dataset = pipeline.dataset
    files: LabelFiles
    if file_format == "indices":
        files = IndexFiles(predictions, values=value_count(dataset), ignore_index=dataset.ignore_index)
    elif holds_sets(dataset):
        raise ValueError(f"--format {file_format} has one class for each pixel, and these data have several")
    else:
        beyond = isinstance(metric, CityscapesMetric)
        files = ServerFiles(predictions, file_format, dataset.classes, beyond=beyond)
    worst = Worst(metric, dataset.ignore_index, pictures)
    with progress("scoring") as bar:
        report = score_files(dataset, files, worst, progress=lambda done: bar(done, len(dataset)))
    if report is None:
        say(f"{len(dataset)} label maps in {predictions} are as --format {file_format} wants them; nothing is labelled")
        return
    show(report, worst, pipeline, *shown_values(dataset), folder=out, split=split)
    save_confusion(confusion, metric, title=predictions.name)


def _score_raster(
    prediction: Path,
    labels: Path,
    *,
    data: Path | None,
    out: Path,
    metrics: str | None,
    groups: Sequence[str] | None,
    confusion: Sequence[Path],
) -> None:
    description = None if data is None else read_description(data)
    if description is not None and description.multi_label:
        raise ValueError(
            f"{data}: pixels may have several classes, and two rasters are compared where they have one; "
            "score the raster as an image of a folder: --predictions DIR --data FILE"
        )
    classes = raster_classes(prediction) if description is None else description.classes
    if not classes:
        raise ValueError(
            f"{prediction} does not name its classes (tag CLASS_NAMES): give a description with --data FILE"
        )
    table = LabelTable.identity(len(classes)) if description is None else description.label_table()
    args = {"ignore_index": table.ignore_index, "num_classes": len(classes), "classes": classes}
    chosen = chosen_scores(Component("metric", "IoUMetric", args), metrics=metrics, groups=groups)
    of_images = sorted({"mBoundaryIoU", "imageIoU", "interval", "ECE"} & set(chosen.args.get("metrics", ())))
    if of_images:
        raise ValueError(f"--metrics {','.join(of_images)}: of images; a raster is compared strip by strip")
    metric = IoUMetric(**chosen.args)
    check_confusion(confusion, metric)
    with progress("scoring") as bar:
        found = score_raster(prediction, labels, table, metric, classes=len(classes), progress=bar)
    write_report(found.report, out)
    results().print(report_table(found.report, prediction.name))
    for line in score_lines(found.report.summary):
        results().print(line)
    if found.unpredicted:
        say(f"{found.unpredicted:,} labelled pixels have no prediction (no data, or left uncertain) and do not count")
    say(f"eval.json and eval.csv: {out}")
    save_confusion(confusion, metric, title=prediction.name)


def _labels_and_metric(
    data: Path | None,
    config: str | None,
    split: str,
    metrics: str | None,
    groups: Sequence[str] | None,
    empty_images: str | None,
) -> tuple[Pipeline, Metric]:
    if data is not None:
        dataset = given_data(data, split).dataset(split)
        args = {"ignore_index": dataset.ignore_index, "num_classes": len(dataset.classes), "classes": dataset.classes}
        chosen = chosen_scores(
            Component("metric", "MultiLabelMetric" if holds_sets(dataset) else "IoUMetric", args),
            metrics=metrics,
            groups=groups,
            empty_images=empty_images,
        )
        metric: Metric = build(chosen)
        return Pipeline(dataset, (), label_size="original"), metric
    if config is None:
        raise ValueError("label maps are compared with labels: name those by --data DIR|FILE, or --config FILE|RUN")
    spec = of_split(checked(find_config(config)), split)
    stream = {"train": spec.train, "val": spec.val, "test": spec.test}[split]
    if stream is None:
        raise ValueError(f"{config} has no {split} data; choose with --split, or give others with --data DIR|FILE")
    pipeline = evaluation_pipeline(stream)
    chosen = chosen_scores(metric_of(spec), metrics=metrics, groups=groups, empty_images=empty_images)
    return pipeline, build_metric(dataclasses.replace(spec, metric=chosen), pipeline.dataset.classes)


def show(
    report: Report,
    worst: Worst,
    pipeline: Pipeline,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    *,
    folder: Path,
    split: str,
) -> None:
    """Print the table; write eval.json, eval.csv and pictures of the worst images into a folder."""
    write_report(report, folder)
    for share, index, label in worst.kept:
        name = pipeline.dataset.load(index).meta.name.replace("/", "_")
        paint(pipeline, index, label, classes, palette, folder / "pictures" / f"worst_{share:.3f}_{name}.jpg")
    results().print(report_table(report, f"{split}, {report.images} images"))
    for line in [*score_lines({**report.summary, **report.losses}), *part_lines(report)]:
        results().print(line, markup=False)
    if report.threshold is not None:
        results().print(f"threshold {report.threshold:.4f}")
    say(f"eval.json and eval.csv: {folder}; pictures of the worst images: {folder / 'pictures'}")
