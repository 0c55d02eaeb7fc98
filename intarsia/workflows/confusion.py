"""The confusion matrix of an evaluation, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from intarsia.contracts import Metric
from intarsia.metrics.iou import IoUMetric
from intarsia.metrics.several import Evaluator
from intarsia.terminal import say
from intarsia.visual.confusion import save_matrix_picture, save_matrix_tables
from intarsia.workflows.evaluation_report import Gallery


def check_confusion(files: Sequence[Path], metric: Metric) -> None:
    """Raises ValueError where a file has another suffix than .png or .csv, or the metric counts no such matrix."""
    for file in files:
        if file.suffix.lower() not in (".png", ".csv"):
            raise ValueError(f"--confusion {file}: expected a picture, .png, or tables, .csv")
    if files and _counter(metric) is None:
        raise ValueError(
            f"--confusion: {type(metric).__name__} counts no confusion matrix of classes; choose other scores with "
            "--metrics mIoU"
        )


def save_confusion(files: Sequence[Path], metric: Metric, *, title: str) -> None:
    """Write the matrix that a metric has counted into each file: drawn (.png), or as pixels and shares (.csv)."""
    counter = _counter(metric)
    if not files or counter is None:
        return
    matrix = counter.matrix.cpu().numpy()
    for file in files:
        if file.suffix.lower() == ".png":
            say(f"confusion matrix: {save_matrix_picture(file, matrix, counter.classes, title=title)}")
        else:
            pixels, shares = save_matrix_tables(file, matrix, counter.classes)
            say(f"confusion matrix: {pixels} (pixels), {shares} (shares of each true class)")


def _counter(metric: Metric) -> IoUMetric | None:
    if isinstance(metric, Gallery):
        return metric.details
    if isinstance(metric, Evaluator):
        return next((part for part in metric.metrics if isinstance(part, IoUMetric)), None)
    return metric if isinstance(metric, IoUMetric) else None
