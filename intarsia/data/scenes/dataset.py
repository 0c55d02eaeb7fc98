"""Windows of scenes as a data set: what is read of a file is what a sample holds."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.annotations.drawn import ClassValues
from intarsia.data.bands import Bands
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.label_lookup import Labels
from intarsia.data.labels import Colour, LabelTable
from intarsia.data.scenes.discovery import find_windows
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.grid import around, drawn, overlap, within
from intarsia.data.scenes.handles import Handles
from intarsia.data.scenes.header import stamp_of
from intarsia.data.scenes.labels import inside, labels_of
from intarsia.data.scenes.rule import SceneSplit, SceneWindow
from intarsia.data.scenes.scene import Scene, gdal_environment

_SCENES: Handles[Scene] = Handles()


def open_scene(path: Path, reader: ImageReader) -> Scene:
    """A scene that stays open in this process. Raises ValueError as `Scene` does."""
    return _SCENES.get((path, stamp_of(path), reader), lambda: Scene(path, reader))


class SceneDataset:
    """Samples from windows of scenes. Satisfies `contracts.Dataset`, and `contracts.DrawingDataset`.

    root: folder to which the files of the windows are relative. spec: what images the data are; reader: of what a model
    is shown. class_values: what is burnt for a class that a vector file names.
    Others: as of `FolderDataset`.
    """

    def __init__(
        self,
        windows: Sequence[SceneWindow],
        *,
        root: str,
        classes: Sequence[str],
        palette: Sequence[Colour],
        label_table: LabelTable,
        class_values: ClassValues,
        spec: ImageSpec,
        reader: ImageReader,
        multi_label: bool = False,
    ) -> None:
        self.root, self.windows = os.path.expanduser(root), tuple(windows)
        self.classes, self.palette = tuple(classes), tuple(palette)
        self.label_table, self.ignore_index = label_table, label_table.ignore_index
        self.multi_label = multi_label
        self._class_values, self._spec, self._reader = class_values, spec, reader
        self._is_unlabelled = False

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def bands(self) -> Bands:
        """How images are read."""
        return self._reader.bands

    @property
    def image_spec(self) -> ImageSpec:
        """What images it holds."""
        return self._spec

    def with_images(self, spec: ImageSpec, reader: ImageReader | None) -> SceneDataset:
        """The same data set, of whose images more is known. reader: of a model that they are shown to, or None."""
        changed = copy.copy(self)
        changed._spec, changed._reader = spec, self._reader if reader is None else reader
        return changed

    def of_images(self, root: str, images: Sequence[str]) -> SceneDataset:
        """Windows of other images, paths below `root`, of the same size and read alike; labels are 0 where is data."""
        own = self.windows[0].rule
        rules = [SceneSplit((image,), None, window=own.window, margin=own.margin, block=0) for image in images]
        changed = copy.copy(self)
        changed.root, changed._is_unlabelled = root, True
        changed.windows = tuple(window for rule in rules for window in find_windows(Path(root), rule).windows)
        return changed

    def with_classes(self, classes: Sequence[str], palette: Sequence[Colour], label_table: LabelTable) -> SceneDataset:
        """The same windows with labels of other classes."""
        changed = copy.copy(self)
        changed.classes, changed.palette = tuple(classes), tuple(palette)
        changed.label_table, changed.ignore_index = label_table, label_table.ignore_index
        return changed

    @property
    def pairs(self) -> Iterator[tuple[str, str | None]]:
        """Paths of scene and labels of every window."""
        return (self.paths(index) for index in range(len(self)))

    def paths(self, index: int) -> tuple[str, str | None]:
        """Path of the scene, and of its labels, None where there is no ground truth."""
        window = self.windows[index]
        label = window.label
        return os.path.join(self.root, window.scene), None if label is None else os.path.join(self.root, label)

    def partners(self, index: int) -> tuple[str, ...]:
        """No further images: a sample is a window of one scene."""
        del index
        return ()

    def name(self, index: int) -> str:
        """Scene, block, and the first row and column of the cell: "north/0_2/512_1024"."""
        window = self.windows[index]
        below = PurePosixPath(window.scene).parent / window.unit
        return f"{below.as_posix()}/{window.cell.top}_{window.cell.left}"

    def load(self, index: int) -> Sample:
        """A window around a cell; what is not in the cell is ignored, so that each pixel counts once in all of them.

        Raises ValueError naming the file if it cannot be read, or values are not in the label table.
        """
        window = self.windows[index]
        return self._sample(index, around(window.cell, window.size, window.rule.window), counted=window.cell)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """A window whose centre is drawn in a cell, and which does not leave the block. Raises ValueError as `load`."""
        window = self.windows[index]
        area = drawn(window.cell, window.block, window.rule.window, rng)
        return self._sample(index, area, counted=area)

    def label(self, index: int) -> Labels | None:
        """The label (H, W) of `load`."""
        return self.load(index).label

    def stored(self, index: int, area: Area) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, npt.NDArray[np.bool_]]:
        """An area as its files have it: the image (H, W, C), file values of labels, and where there are both (H, W)."""
        window = self.windows[index]
        with gdal_environment():
            image, values, valid = self._read(window, area)
            areas = None if values is None else inside(Path(self.root), window, area)
        return image, values, valid if areas is None else valid & areas

    def whole_label(self, window: SceneWindow, area: Area) -> Labels:
        """The label (H, W) of any area of a window's scene, to whichever split it belongs. The window has labels.

        Raises ValueError as `load`.
        """
        with gdal_environment():
            _, values, valid = self._read(window, area)
        assert values is not None, "who converts labels has some"
        return self._classes_of(values, valid, os.path.join(self.root, window.label or ""))

    def _read(
        self, window: SceneWindow, area: Area
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, npt.NDArray[np.bool_]]:
        """As `stored`, of any area of the window's scene."""
        image, valid = open_scene(Path(self.root, window.scene), self._reader).pixels(area)
        labels = labels_of(Path(self.root), window, self._class_values)
        if labels is None:
            return image, None, valid
        values, known = labels.read(area)
        return image, values, valid & known

    def _sample(self, index: int, area: Area, *, counted: Area) -> Sample:
        image, values, valid = self.stored(index, area)
        scene, file = self.paths(index)
        size = (area.height, area.width)
        label = None
        if values is not None:
            where = np.zeros(size, np.bool_)
            where[within(counted, area)] = True
            for avoided in self.windows[index].avoided:
                if (shared := overlap(avoided, area)) is not None:
                    where[within(shared, area)] = False
            label = self._classes_of(values, where & valid, file or "")
        elif self._is_unlabelled:
            label = np.where(valid, 0, self.ignore_index).astype(np.min_scalar_type(self.ignore_index))
        meta = SampleMeta(name=self.name(index), image_path=scene, label_path=file or "", original_size=size)
        return Sample(image=image, label=label, meta=meta)

    def _classes_of(self, values: npt.NDArray[Any], where: npt.NDArray[np.bool_], file: str) -> Labels:
        """Class indices of file values; elsewhere nothing is asked of these, and all is ignored."""
        if where.all():
            return self.label_table.apply(values, file=file)
        label = np.full(where.shape, self.ignore_index, np.min_scalar_type(self.ignore_index))
        if where.any():
            known = self.label_table.apply(values[where][None], file=file)
            label = label.astype(np.promote_types(label.dtype, known.dtype))
            label[where] = known[0]
        return label
