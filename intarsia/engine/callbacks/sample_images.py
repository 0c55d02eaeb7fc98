"""Pictures for people: image, truth, prediction and errors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from intarsia.contracts import Report
from intarsia.data.pipeline import Pipeline
from intarsia.engine.callbacks.base import ObservedRun, Observer
from intarsia.inference.depth_predictor import DepthPredictor
from intarsia.inference.predictor import Predictor
from intarsia.inference.threshold import predictor_at
from intarsia.visual.depth import depth_panes
from intarsia.visual.files import save_picture
from intarsia.visual.panes import panes
from intarsia.visual.picture import as_picture

if TYPE_CHECKING:
    from intarsia.engine.training.run import Validation

Map = npt.NDArray[Any]


class TrainingPictures(Observer):
    """Paints the same few validation images at every evaluation, under pictures/training/IMAGE/step_N.jpg.

    count: of images, evenly spread over the validation data, so that they do not all show one place. every: those of
    every so many-th batch besides.
    """

    def __init__(self, validation: Validation, count: int, *, every: int | None = None) -> None:
        self._validation = validation
        images = len(validation.pipeline)
        count = min(count, images)
        chosen = {images * i // count for i in range(count)}
        if every is not None:
            chosen |= {index for index in range(images) if (index // validation.batch + 1) % every == 0}
        self._indices = sorted(chosen)

    def evaluated(self, run: ObservedRun, step: int, report: Report) -> None:
        """One picture of each image."""
        validation = self._validation
        folder = run.out / "pictures" / "training"
        predictor = predictor_at(validation.predictor, report.threshold, tuple(report.thresholds.values()))
        for index in self._indices:
            paint_one(predictor, validation.pipeline, index, folder, name=f"{{name}}/step_{step:08d}")


def paint(
    pipeline: Pipeline,
    index: int,
    prediction: Map,
    classes: Sequence[str],
    palette: Sequence[Any],
    file: Path,
) -> None:
    """One image of a data set with its truth and a label map, or depths, as a picture in a file."""
    sample = pipeline.dataset.load(index)
    if prediction.dtype.kind == "f":
        save_picture(file, depth_panes(as_picture(sample.image), sample.label, prediction, title=sample.meta.name))
        return
    picture = panes(
        as_picture(sample.image),
        sample.label,
        prediction,
        classes=classes,
        palette=[(int(r), int(g), int(b)) for r, g, b in palette],
        title=sample.meta.name,
        ignore_index=pipeline.dataset.ignore_index,
    )
    save_picture(file, picture)


def paint_one(predictor: Predictor, pipeline: Pipeline, index: int, folder: Path, *, name: str = "{name}") -> None:
    """Predict one image of a data set and paint it. name: of the file, where {name} is the image's."""
    sample = pipeline.dataset.load(index)
    if isinstance(predictor, DepthPredictor):
        found: Map = predictor.depth(sample.image, meta=sample.meta)
    else:
        found = predictor.predict_sample(sample).label
    image_name = sample.meta.name.replace("/", "_") or f"{index:05d}"
    file = folder / f"{name.format(name=image_name)}.jpg"
    paint(pipeline, index, found, *predictor.shown_values, file)
