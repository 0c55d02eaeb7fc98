"""What predictions of depth leave behind: numbers and a picture of each image, and a table of all.

A file that exists is finished.

    depth       NAME.tif             float32 (H, W), in the unit of the training; or NAME.png, 16-bit grey, thousandths
    color       NAME_color.png       RGB, bright where it is near, with a scale
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.inference.depth_prediction import DepthPrediction
from intarsia.inference.outputs.coco import CocoImage
from intarsia.inference.outputs.image_files import ImageFiles
from intarsia.inference.outputs.tables import ImageTable
from intarsia.io.whole_files import write_bytes
from intarsia.terminal import Notice
from intarsia.visual.depth_files import depth_bytes
from intarsia.visual.files import fitting, picture_bytes, too_large

DEPTH_KINDS = ("depth", "color")

DEPTH_FORMATS: Mapping[str, str] = {"tiff": ".tif", "png16": ".png"}
"""How depths are written -> what the files' names end in."""

TABLE = "depths.csv"
"""In the folder of results."""


@dataclass(frozen=True)
class DepthFiles(ImageFiles):
    """The files of each image.

    kinds: of `DEPTH_KINDS`. file_format: of `DEPTH_FORMATS`. scale: whether pictures say which colour is which depth.

    Raises ValueError for an unknown kind or format, and if there is no kind.
    """

    file_format: str = "tiff"
    scale: bool = True

    def __post_init__(self) -> None:
        check_depth_kinds(self.kinds)
        if self.file_format not in DEPTH_FORMATS:
            raise ValueError(f"--format of depths is {', '.join(DEPTH_FORMATS)}, found {self.file_format!r}")

    def files(self, name: str) -> dict[str, Path]:
        """Kind -> file of the image of this name."""
        return {kind: self.folder / f"{name}{self._ending(kind)}" for kind in DEPTH_KINDS if kind in self.kinds}

    def write_one(self, prediction: DepthPrediction, kind: str, file: Path, *, image: CocoImage | None = None) -> None:
        """Write one file, whose suffix says in which format. Raises ValueError for depths that it does not hold."""
        write_bytes(file, self.encoded(prediction, kind, suffix=file.suffix.lower()))

    def encoded(self, prediction: DepthPrediction, kind: str, *, suffix: str = "") -> bytes:
        """The content of one file. suffix: of its format, by default the usual one."""
        suffix = suffix or Path(self._ending(kind)).suffix or self._ending(kind)
        if kind == "depth":
            return depth_bytes(prediction.depth, suffix)
        picture = prediction.coloured(scale=self.scale)
        if fitting(picture, suffix) is not picture:
            warnings.warn(f"{prediction.name}: {too_large(suffix)}", Notice, stacklevel=2)
        return picture_bytes(picture, suffix)

    def _ending(self, kind: str) -> str:
        return DEPTH_FORMATS[self.file_format] if kind == "depth" else "_color.png"


def check_depth_kinds(kinds: Sequence[str] | frozenset[str]) -> frozenset[str]:
    """The kinds. Raises ValueError for one that depths do not have, and if there is none."""
    unknown = [kind for kind in kinds if kind not in DEPTH_KINDS]
    if unknown or not kinds:
        found = ", ".join(map(repr, unknown)) or "none"
        raise ValueError(f"this model answers with depths: --save takes {', '.join(DEPTH_KINDS)}, found {found}")
    return frozenset(kinds)


class DepthTable(ImageTable):
    """Columns: image, width, height, and the least depth, the median and the largest of its pixels.

    resume: keep the rows that the file has already. Raises ValueError if they have other columns.
    """

    title = "least, median and largest depths"

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        columns = ("image", "width", "height", "min", "median", "max")
        super().__init__(path, columns, resume=resume, wrong="a table of depths; remove it, or choose another --out")

    def row(self, prediction: DepthPrediction) -> list[str]:
        """Size and depths."""
        height, width = prediction.depth.shape
        return [str(width), str(height), *(f"{value:.6g}" for value in prediction.range)]

    def summary(self) -> str:
        """Of all images with a depth: the least, the median of their medians, and the largest."""
        rows = [[float(cell) for cell in row[3:]] for row in self.rows.values() if "nan" not in row[3:]]
        if not rows:
            return "none"
        least, medians, most = zip(*rows, strict=True)
        return f"min {min(least):.6g}, median of medians {statistics.median(medians):.6g}, max {max(most):.6g}"
