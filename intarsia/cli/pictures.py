"""Pictures for people: image, truth, prediction and errors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from intarsia.contracts import Metric, Report
from intarsia.visual.files import save_picture
from intarsia.visual.panes import panes
from intarsia.weights.file import apply_state, load_state

if TYPE_CHECKING:
    from intarsia.data.pipeline import Pipeline
    from intarsia.engine.run import Validation
    from intarsia.inference.predictor import Predictor

Map = npt.NDArray[np.integer[Any]]


@dataclass
class Worst:
    """A metric that also keeps the `count` images whose share of right pixels is lowest. For one pass in one process.

    kept: (share, number of the image in its data set, label map).
    """

    metric: Metric
    ignore_index: int
    count: int
    kept: list[tuple[float, int, Map]] = field(default_factory=list)
    _seen: int = 0

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count one image, and keep it if it is among the worst."""
        self.metric.update(prediction, label)
        valid = label != self.ignore_index
        share = float((prediction == label)[valid].float().mean()) if bool(valid.any()) else 1.0
        self.kept.append((share, self._seen, prediction.cpu().numpy()))
        self.kept = sorted(self.kept, key=lambda entry: entry[:2])[: self.count]
        self._seen += 1

    def state(self) -> Tensor:
        """The metric's."""
        return self.metric.state()

    def load_state(self, state: Tensor) -> None:
        """The metric's; what was kept stays."""
        self.metric.load_state(state)

    def report(self) -> Report:
        """The metric's."""
        return self.metric.report()


def paint(
    pipeline: Pipeline, index: int, prediction: Map, classes: Sequence[str], palette: Sequence[Any], file: Path
) -> None:
    """One image of a data set with its truth and a label map, as a picture in a file."""
    sample = pipeline.dataset.load(index)
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


def paint_examples(validation: Validation, weights: Path, folder: Path, most: int) -> int:
    """The first images of the validation data, under the weights of a finished training; how many."""
    predictor = validation.predictor
    apply_state(predictor.task.model, load_state(weights))  # type: ignore[arg-type]
    count = min(most, len(validation.pipeline))
    for index in range(count):
        paint_one(predictor, validation.pipeline, index, folder)
    return count


def paint_one(predictor: Predictor, pipeline: Pipeline, index: int, folder: Path) -> None:
    """Predict one image of a data set and paint it; the file has the image's name."""
    sample = pipeline.dataset.load(index)
    prediction = predictor.predict(sample.image)
    name = sample.meta.name.replace("/", "_") or f"{index:05d}"
    paint(pipeline, index, prediction.label, predictor.classes, predictor.palette, folder / f"{name}.jpg")


def as_picture(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Any image (H, W, C) as 8-bit RGB for looking at: its first three bands, stretched where they are not 8-bit."""
    bands = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if bands.dtype == np.uint8:
        return np.ascontiguousarray(bands)
    low, high = np.percentile(bands, (2, 98))
    stretched = (bands.astype(np.float32) - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(stretched, 0, 1) * 255, np.uint8)
