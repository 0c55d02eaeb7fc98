"""A folder of label maps for a benchmark's server, such as `predict --format` writes, read back as the server will.

Every image needs one PNG, of its size, with values that the format has. What the name must be:

    cityscapes           CITY_SEQUENCE_FRAME*.png, in any subfolder, of CITY_SEQUENCE_FRAME_leftImg8bit.png
    ade20k, loveda       NAME.png of NAME.jpg or NAME.png
    isaid                NAME_instance_color_RGB.png, or NAME.png
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.image_io import read_label
from intarsia.data.labels import LabelTable, ranges
from intarsia.evaluation.label_maps import SHOWN, as_tensor
from intarsia.inference.outputs.label_values import CITYSCAPES_VALUES, ENDINGS, server_values
from intarsia.inference.outputs.manifest import MANIFEST
from intarsia.io.folders import walk_files

_FRAME = re.compile(r"[^_]+_\d+_\d+(?=_|$)")
"""City, sequence and frame, with which the names of Cityscapes begin."""

_STRANGE = 255
"""The index of values that the format does not have; no benchmark has so many classes."""


class ServerFiles:
    """The files of a folder in the format of a benchmark's server.

    format: of `label_values.SERVERS`. classes: of the data set. beyond: whether values of the format that are no class
    are kept, as K + value where there are K classes: `CityscapesMetric` counts these as its benchmark does.

    Raises ValueError if there is no such folder, it holds no PNG, or the classes are not those of the benchmark.
    """

    def __init__(self, folder: Path, format: str, classes: Sequence[str], *, beyond: bool = False) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder; expected one with a label map (PNG) for each image")
        self.folder, self.format = folder, format
        values = server_values(format, classes)
        self._uncertain, self._coloured = values.uncertain, values.table.ndim == 2
        self._values: list[int] = [] if self._coloured else values.table.tolist()
        if self._coloured:
            colours = {(int(r), int(g), int(b)): index for index, (r, g, b) in enumerate(values.table)}
            self._table = LabelTable(None, colours, _STRANGE, outside="ignore")
        else:
            others = {value: len(classes) + value for value in range(CITYSCAPES_VALUES)} if beyond else {}
            numbers = {value: index for index, value in enumerate(self._values)}
            self._table = LabelTable({**others, **numbers}, None, _STRANGE, outside="ignore")
        self._others = sorted(walk_files(folder))
        self._files: dict[str, list[Path]] = defaultdict(list)
        for path in self._others:
            if path.endswith(".png"):
                self._files[self._key(PurePath(path).name)].append(folder / path)
        if not self._files:
            raise ValueError(f"{folder}: there is no .png in it; expected a label map for each image")

    def of(self, meta: SampleMeta) -> Path:
        """The label map of an image. Raises ValueError if there is none, or there are several."""
        name = PurePath(meta.image_path or meta.name).name
        found = self._files.get(self._key(name), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"there are {len(found)} files for it: {', '.join(map(str, found[:3]))}; keep one")
        raise ValueError(f"there is no file for it: expected {self._expected(name)} in {self.folder}")

    def read(self, file: Path, sample: Sample) -> tuple[Tensor, Tensor | None]:
        """Class indices (H, W) and the label. Raises ValueError if the file is not as the format wants it."""
        found = read_label(file, colours=self._coloured)
        if found.ndim != (3 if self._coloured else 2) or found.dtype != np.uint8:
            held = "colours" if found.ndim == 3 else f"one number of {8 * found.dtype.itemsize} bits a pixel"
            wanted = "a colour of 8 bits a channel" if self._coloured else "one number of 8 bits a pixel"
            raise ValueError(f"{file} holds {held}; --format {self.format} has {wanted}")
        height, width = sample.image.shape[:2] if sample.label is None else sample.label.shape
        if found.shape[:2] != (height, width):
            raise ValueError(
                f"{file} has {found.shape[0]} x {found.shape[1]} pixels (height x width), its image {height} x {width}"
            )
        indices = self._table.apply(found, file=str(file))
        strange = indices == _STRANGE
        if strange.any():
            raise ValueError(f"{file} holds {self._strange(found[strange])}")
        return as_tensor(indices), None if sample.label is None else as_tensor(sample.label)

    def left_over(self, used: Collection[Path]) -> Sequence[Path]:
        """Files of any kind that belong to no image, but for the manifest of `intarsia predict`."""
        return [self.folder / path for path in self._others if self.folder / path not in used and path != MANIFEST]

    def _key(self, name: str) -> str:
        """By what a file and an image of these names find each other."""
        stem = name[: -len(PurePath(name).suffix)] if PurePath(name).suffix else name
        frame = _FRAME.match(stem) if self.format == "cityscapes" else None
        if frame is not None:
            return frame[0]
        return stem.removesuffix(ENDINGS.get(self.format, ".png").removesuffix(".png"))

    def _expected(self, name: str) -> str:
        key = self._key(name)
        return f"{key}*.png" if key != PurePath(name).stem else f"{key}{ENDINGS.get(self.format, '.png')}"

    def _strange(self, values: npt.NDArray[Any]) -> str:
        """Values (n,) or colours (n, 3) that are no class, and what there should be."""
        found, counts = np.unique(values, axis=0, return_counts=True)
        most = found[np.argsort(-counts, kind="stable")[:SHOWN]].tolist()
        if self._coloured:
            shown = ", ".join(f"({red}, {green}, {blue})" for red, green, blue in most)
            return f"{shown}, which are no colours of --format {self.format}; {len(values):,} pixels"
        text = f"{ranges(most)}, {len(values):,} pixels; --format {self.format} has {ranges(self._values)}"
        if self._uncertain in found.tolist():
            text += f". {self._uncertain} says nothing of a pixel, which the server counts as wrong"
        if self.format == "cityscapes" and max(most) < CITYSCAPES_VALUES:
            text += ". `--metrics cityscapes` scores the other ids as the benchmark does"
        return text
