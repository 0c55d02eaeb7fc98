"""The areas of the classes as a table: a row for each image, pixels and share for each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from intarsia.inference.outputs.tables import ImageTable
from intarsia.inference.prediction import Prediction


class AreaTable(ImageTable):
    """Columns: image, width, height, then for each class its pixels and its share of the image, in fractions of 1, and
    the same of what is uncertain at the threshold, whose pixels belong to no class.

    resume: keep the rows that the file has already. Raises ValueError if they have other columns.
    """

    title = "areas of the classes"

    def __init__(
        self, path: Path, classes: Sequence[str], *, min_confidence: float | None = None, resume: bool = False
    ) -> None:
        if path.is_dir():
            raise ValueError(f"--areas {path} is a folder; give the name of a file")
        self.min_confidence = min_confidence
        things = [*_distinct(classes), *(["uncertain"] if min_confidence is not None else [])]
        columns = ["image", "width", "height", *(f"{t} {what}" for t in things for what in ("pixels", "share"))]
        wrong = "this model's classes give; choose another file for --areas, or remove it"
        super().__init__(path, columns, resume=resume, wrong=wrong)

    def row(self, prediction: Prediction) -> list[str]:
        """Size, pixels and shares."""
        height, width = prediction.label.shape
        counts = prediction.pixels(min_confidence=self.min_confidence).tolist()
        if self.min_confidence is not None:
            counts.append(int(prediction.uncertain(self.min_confidence).sum()))
        cells = [text for count in counts for text in (str(count), f"{count / prediction.label.size:.6f}")]
        return [str(width), str(height), *cells]


def _distinct(classes: Sequence[str]) -> list[str]:
    """The names, with their index where several classes have one name."""
    count = Counter(classes)
    return [name if count[name] == 1 else f"{name} ({index})" for index, name in enumerate(classes)]
