"""Scores of a predicted raster of any size against one of labels, strip by strip."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Metric, Report
from intarsia.data.gdal import raster_library, without_place
from intarsia.data.label_lookup import Labels
from intarsia.data.labels import LabelTable, label_values, ranges, value_counts
from intarsia.evaluation.label_maps import as_tensor

PIXELS = 2**22
"""Of a strip: what is compared at a time."""

_FURTHEST = 1e-3
"""How far off, in pixels, the corners of two rasters that lie in the same place may be."""


@dataclass(frozen=True, slots=True)
class RasterScores:
    """report: of the raster as one image. unpredicted: labelled pixels without a prediction, which count for
    nothing.
    """

    report: Report
    unpredicted: int


def raster_classes(file: Path) -> tuple[str, ...]:
    """The names of the classes that a predicted raster says in its tag CLASS_NAMES; empty without it.

    Raises ValueError if the file cannot be read as a raster.
    """
    with ExitStack() as stack:
        text = _opened(stack, file).tags().get("CLASS_NAMES", "[]")
    try:
        names = json.loads(text)
    except ValueError:
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def score_raster(
    prediction: Path,
    labels: Path,
    table: LabelTable,
    metric: Metric,
    *,
    classes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RasterScores:
    """Compare a raster of class indices with one of labels, pixel by pixel.

    table: what the values of `labels` mean. What a file calls nodata is no label in one, and no prediction in the
    other.
    metric: is emptied first. progress: told of rows that are done, and of how many.

    Raises ValueError if the two have other sizes, lie elsewhere on Earth, or hold values that are no class.
    """
    metric.load_state(metric.state() * 0)
    unpredicted = 0
    with ExitStack() as stack:
        predicted, labelled = _opened(stack, prediction), _opened(stack, labels)
        _check_places(predicted, labelled, prediction, labels)
        step = max(1, PIXELS // predicted.width)
        for top in range(0, predicted.height, step):
            rows = min(step, predicted.height - top)
            found, has_prediction = _strip(predicted, prediction, top, rows)
            stored, has_label = _strip(labelled, labels, top, rows)
            label = _label(stored, has_label, table, labels)
            counts = label != table.ignore_index
            unpredicted += int((counts & ~has_prediction).sum())
            label[~has_prediction] = table.ignore_index
            _check_values(found[has_prediction], prediction, classes)
            metric.update(as_tensor(np.where(has_prediction, found, 0)), as_tensor(label))
            progress(top + rows, predicted.height)
    return RasterScores(replace(metric.report(), images=1), unpredicted)


def _opened(stack: ExitStack, file: Path) -> Any:
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    try:
        with without_place():
            source = stack.enter_context(raster_library().open(file))
    except raster_library("errors").RasterioError as error:
        raise ValueError(f"{file}: cannot be read as a raster: {str(error).removeprefix(f'{file}: ')}") from None
    if source.count != 1 or np.dtype(source.dtypes[0]).kind not in "iu":
        raise ValueError(
            f"{file}: expected one band of whole numbers, class indices or labels, found {source.count} of "
            f"{source.dtypes[0]}"
        )
    return source


def _check_places(predicted: Any, labelled: Any, prediction: Path, labels: Path) -> None:
    size, other = (predicted.height, predicted.width), (labelled.height, labelled.width)
    if size != other:
        raise ValueError(
            f"{prediction} has {size[0]} x {size[1]} pixels (height x width), {labels} has {other[0]} x {other[1]}: "
            f"bring the labels to the same grid, with gdalwarp -ts {size[1]} {size[0]} -r near, for example"
        )
    if not (predicted.crs and labelled.crs):
        return
    if predicted.crs != labelled.crs:
        raise ValueError(f"{prediction} lies in {predicted.crs}, {labels} in {labelled.crs}: bring them together first")
    here, there = predicted.transform, labelled.transform
    pixel = max(abs(here.a) + abs(here.b), abs(here.d) + abs(here.e))
    corners = [(column, row) for column in (0, size[1]) for row in (0, size[0])]
    points = [[(t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f) for x, y in corners] for t in (here, there)]
    off = float(np.abs(np.array(points[0]) - np.array(points[1])).max()) / pixel
    if off > _FURTHEST:
        raise ValueError(f"{prediction} and {labels} lie {off:.3g} pixels apart: bring them to the same grid first")


def _strip(source: Any, file: Path, top: int, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values (n, W), and where they are any."""
    window = raster_library("windows").Window(0, top, source.width, rows)
    try:
        values: npt.NDArray[Any] = source.read(1, window=window)
        return values, source.read_masks(1, window=window) > 0
    except raster_library("errors").RasterioError as error:
        raise ValueError(f"{file}: rows from {top}: {error}") from None


def _label(
    stored: npt.NDArray[Any], has_label: npt.NDArray[np.bool_], table: LabelTable, file: Path
) -> npt.NDArray[np.integer[Any]]:
    """Class indices (n, W), `ignore_index` where there is no label."""
    known = next(iter(table.values or {0: 0}))  # any value that the table has: what is nodata need not be in it
    label: Labels = table.apply(np.where(has_label, stored, stored.dtype.type(known)), file=str(file))
    wide = label.astype(np.int64) if table.ignore_index > np.iinfo(label.dtype).max else label.copy()
    wide[~has_label] = table.ignore_index
    return wide


def _check_values(found: npt.NDArray[Any], file: Path, classes: int) -> None:
    last = label_values(classes) - 1
    wrong = [value for value in value_counts(found) if not 0 <= value <= last]
    if wrong:
        raise ValueError(f"{file} holds {ranges(wrong)}; expected class indices, 0 to {last}, or nodata")
