"""The general data set: a folder of images beside a folder of label files, paired by name.

Every benchmark is one of these with its own folders, suffixes and label table.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.colours import distinct_colours
from intarsia.contracts import IGNORE_INDEX, Sample, SampleMeta
from intarsia.data.annotations.drawn import Drawn, draw_label
from intarsia.data.bands import band_mode
from intarsia.data.containers import all_packed, file_on_disk, member_name, packed_image, packed_label
from intarsia.data.datasets.folder_pairs import (
    Label,
    chosen_pairs,
    existing_folder,
    files_of_label,
    given_pairs,
    listed_pairs,
    without_image_suffix,
)
from intarsia.data.image_io import read_image, read_label
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_rows import file_label_rows, file_rows, image_rows, label_rows
from intarsia.data.image_spec import ImageSpec
from intarsia.data.instance_ids import ClassOf
from intarsia.data.label_lookup import Labels
from intarsia.data.labels import LabelTable, label_values, ranges
from intarsia.data.masks import Masks, read_masks
from intarsia.data.pages import count_pages
from intarsia.data.rows import RowArray, as_array
from intarsia.data.sidecar import sidecar_path
from intarsia.data.slices import part_of, without_suffix
from intarsia.data.value_range import Scale
from intarsia.label_sets import set_count
from intarsia.terminal import Notice

if TYPE_CHECKING:
    from intarsia.data.sample_cache import SampleCache

_NEW, _SEEN, _WHOLE = range(3)
"""Of a label file in this process: not wanted yet, read and checked once, to be decoded whole in any case."""


class FolderDataset:
    """Samples from image and label files. Satisfies `contracts.Dataset`.

    root: folder to which all other paths are relative.
    images, labels: folders below `root`, listed with everything beneath them. `labels=None`: there is no ground truth.
    image_suffix: what the names of images end in, one or several; may be more than a file extension.
    label_suffix: what replaces the image suffix in the name of the label.
    split_file: text file below `root` that chooses images, one a line: name without suffix, or path below `images`
        with or without it. Its order is kept; without it, or if it is a folder, images are sorted by path.
    classes: names; `palette`: an RGB colour each, distinct colours by default.
    label_table: what file values mean. By default they are class indices, and `ignore_index` is ignored; with
        `reduce_zero_label`, 0 is ignored too and classes count from 1.
    bands: see `data.image_io.read_image`. scale: for images of more than 8 bits, or of real numbers, that are read as
        "rgb": the values that become 0 and 255 (`value_range.Scale.of`); by default the upper 8 bits are taken.
    class_of: how to take the class out of values that say objects besides; `label_table` lists what it gives.
    files_only: samples are names and paths with an image of no pixels, for a transform that reads the files, such as
        volumes (`transforms/load_volumes.py`). Labels are then class indices; `label_table` applies to none.
    multi_label: a pixel may have several classes; labels are sets of them (`label_sets`).
    pairs: explicit (image, label or None) paths below `root`; nothing is listed then. A label may be several masks, or
        drawn from annotations.
    indices: of all of them in their order, so many first ones (of a negative number, last ones), or these.

    Raises ValueError if a folder is missing, nothing is found, images lack their label, or the table does not fit.
    """

    def __init__(
        self,
        *,
        root: str,
        images: str = "",
        labels: str | None = "",
        image_suffix: str | Sequence[str] = ".jpg",
        label_suffix: str = ".png",
        split_file: str | None = None,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        label_table: LabelTable | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduce_zero_label: bool = False,
        bands: str = "rgb",
        scale: Sequence[float | str] | None = None,
        class_of: ClassOf | None = None,
        files_only: bool = False,
        multi_label: bool = False,
        pairs: Sequence[tuple[str, Label]] | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        self.root = os.path.expanduser(root)
        self.classes = tuple(classes)
        self.palette = _checked_palette(palette, len(self.classes))
        self.multi_label = multi_label
        self.label_table = _checked_table(label_table, len(self.classes), ignore_index, reduce_zero_label, multi_label)
        self.ignore_index = self.label_table.ignore_index
        self.bands = band_mode(bands)
        found = None if scale is None else Scale.of(tuple(scale))
        if found is not None and self.bands == "raw" and not found.is_of_training:
            raise ValueError("scale is for bands='rgb': raw images are taken in the numbers that they have")
        self.class_of = class_of
        self.files_only = files_only
        self._reader: ImageReader | None = None  # None: as the files are, whatever they hold
        self._spec: ImageSpec | None = None
        self._cache: SampleCache | None = None
        self._policy = ""
        if found is not None:
            self._reader = ImageReader(ImageSpec(self.bands, 3 if self.bands == "rgb" else 0, scale=found))
        suffixes = (image_suffix,) if isinstance(image_suffix, str) else tuple(image_suffix)
        self.suffixes = tuple(sorted(suffixes, key=len, reverse=True))
        if pairs is not None:
            self._image_root = self._label_root = self.root
            self._pairs = given_pairs(self.root, pairs)
        else:
            self._image_root = existing_folder(self.root, images, "image")
            self._label_root = "" if labels is None else existing_folder(self.root, labels, "label")
            split = None if split_file is None else os.path.join(self.root, split_file)
            self._pairs = listed_pairs(self._image_root, self._label_root, self.suffixes, label_suffix, split)
        if indices is not None:
            self._pairs = chosen_pairs(self._pairs, indices)
        self._by_rows = bytearray(len(self._pairs))
        if not files_only:
            self._warn_of_pages()

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def pairs(self) -> Iterator[tuple[str, str | None]]:
        """Paths of image and label (the first file of several masks), in the order of the indices."""
        return (self.paths(index) for index in range(len(self)))

    def paths(self, index: int) -> tuple[str, str | None]:
        """Path of the image and of its label, None where there is no ground truth; of masks the first, of what is drawn
        the annotations.
        """
        image, label = self._pairs[index]
        file = label.files[0][1] if isinstance(label, Masks) else label.file if isinstance(label, Drawn) else label
        return os.path.join(self._image_root, image), None if file is None else os.path.join(self._label_root, file)

    def relative(self, index: int) -> str:
        """The path of the image below its folder."""
        return self._pairs[index][0]

    def is_label_file(self, index: int) -> bool:
        """Whether the label is one file, and not drawn from masks or annotations."""
        return isinstance(self._pairs[index][1], str)

    def partners(self, index: int) -> tuple[str, ...]:
        """Paths of the further images of a sample, where it is made of several."""
        stack = None if self._reader is None else self._reader.stack
        return () if stack is None else stack.files(self.paths(index)[0])

    def name(self, index: int) -> str:
        """The image's path below its folder, without suffix, "/" between folders."""
        image = member_name(self._pairs[index][0])
        if part_of(image)[1] is not None:
            return without_suffix(image)
        return PurePath(without_image_suffix(image, self.suffixes)).as_posix()

    def load(self, index: int) -> Sample:
        """Image and label of one index.

        Raises ValueError naming the file if it cannot be read, its values are not in the label table, or image and
        label differ in size.
        """
        image_path, label_path = self.paths(index)
        if self.files_only:
            meta = SampleMeta(name=self.name(index), image_path=image_path, label_path=label_path or "")
            return Sample(np.empty((0, 0, 1), np.uint8), meta=meta)
        if self._cache is None:
            image, label = self._image(image_path), self.label(index)
        else:
            image, label = self._through_cache(index, self._cache)
        return self._sample(index, image, label)

    def _sample(self, index: int, image: npt.NDArray[Any], label: npt.NDArray[Any] | None) -> Sample:
        image_path, label_path = self.paths(index)
        size = (image.shape[0], image.shape[1])
        if label is not None and label.shape != size:
            raise ValueError(
                f"{label_path}: the label has {label.shape[0]} x {label.shape[1]} pixels (height x width), "
                f"its image {image_path} has {size[0]} x {size[1]}; they must agree"
                f"{_rotation_hint(label.shape, size)}"
            )
        meta = SampleMeta(name=self.name(index), image_path=image_path, label_path=label_path or "", original_size=size)
        return Sample(image=image, label=label, meta=meta)

    def load_rows(self, index: int) -> Sample | None:
        """As `load`, with a `RowArray` for an image and a label of which a crop costs less than all of it; None if
        samples come through a cache, or rows do not mean the same alone.

        A label file is read whole when it is wanted first, and its values checked.
        """
        reader = self._reader
        if self.files_only or (reader is not None and (reader.depends_on_image or reader.stack is not None)):
            return None
        image_path, label_path = self.paths(index)
        plane = packed_image(image_path)
        if plane is None:
            if self._cache is not None:
                return None
            image = file_rows(image_path, reader, self.bands)
            label = self._rows_of_label(index) if isinstance(image, RowArray) else None
            return self._sample(index, as_array(image), self.label(index) if label is None else as_array(label))
        stored = None if label_path is None else packed_label(label_path)
        packed = None
        if stored is not None and label_path is not None:
            packed = as_array(label_rows(stored, self.label_table, self.class_of, file=label_path))
        return self._sample(index, as_array(image_rows(plane, reader, self.bands)), packed)

    def _rows_of_label(self, index: int) -> RowArray | None:
        """A label file that is decoded by rows, where that is one; None the first time."""
        path, kind = self.paths(index)[1], self._by_rows[index]
        if path is None or self.class_of is not None or not self.is_label_file(index) or kind == _WHOLE:
            return None
        if kind == _NEW:
            self._by_rows[index] = _SEEN
            return None
        found = file_label_rows(path, self.label_table)
        if found is None:
            self._by_rows[index] = _WHOLE
        return found

    def files(self, index: int) -> list[str]:
        """Paths of all files on the disk that a sample is made of, the image's first, with what may stand beside it.

        Raises ValueError for annotations that cannot be opened.
        """
        images = [file_on_disk(path) for path in (self.paths(index)[0], *self.partners(index))]
        labels = files_of_label(self._label_root, self._pairs[index][1])
        return [*images, *map(sidecar_path, images), *map(file_on_disk, labels)]

    def can_use_cache(self) -> bool:
        """Whether there is something to keep: not of packed data, which are decoded already, and not of samples whose
        files a transform reads.
        """
        return not self.files_only and not all_packed(self._image_root, (image for image, _ in self._pairs))

    def use_cache(self, cache: SampleCache) -> bool:
        """Read image and label of a sample through a cache from now on, if it can. Gives whether it does."""
        if not self.can_use_cache():
            return False
        reader, stack = self._reader, None if self._reader is None else self._reader.stack
        said = (
            self.bands, None if reader is None else replace(reader, stack=None), None if stack is None else stack.says,
            self.label_table, self.class_of,
        )  # fmt: skip
        self._cache, self._policy = cache, repr(said)
        return True

    def _through_cache(self, index: int, cache: SampleCache) -> tuple[npt.NDArray[Any], Labels | None]:
        image_path, label = self.paths(index)[0], self._pairs[index][1]
        names = [os.path.abspath(path) for path in (image_path, *self.partners(index), self._label_root)]
        found = cache.load(
            self.files(index),
            repr((self._policy, names, label)),  # names of slices of a file, too
            lambda: {"image": self._image(image_path), "label": self.label(index)},
        )
        image = found["image"]
        assert image is not None
        return image, found["label"]

    def label(self, index: int) -> Labels | None:
        """The label (H, W) of one index without its image; None where there is no ground truth.

        Raises ValueError naming the file if it cannot be read, or its values are not in the label table.
        """
        path, stored = self.paths(index)[1], self.stored_label(index)
        if path is None or stored is None:
            return None
        if self.class_of is not None and self.is_label_file(index):
            stored = self.class_of.apply(stored)
        return self.label_table.apply(stored, file=path)

    def stored_label(self, index: int) -> npt.NDArray[Any] | None:
        """What the label's file, masks or annotations say, (H, W) or colours (H, W, 3), before `class_of` and
        `label_table` make classes of it; None where there is no ground truth.

        Raises ValueError naming the file if it cannot be read.
        """
        path, label = self.paths(index)[1], self._pairs[index][1]
        if path is None:
            return None
        if isinstance(label, Masks):
            return read_masks(Path(self._label_root), label)
        if isinstance(label, Drawn):
            return draw_label(Path(self._label_root), label).label
        return read_label(path, colours=self.label_table.values is None)

    def _warn_of_pages(self) -> None:
        """Files of several images are used in part; those of a data set are alike, so that one is looked at."""
        for path in self.paths(0):
            count = 1 if path is None or part_of(path)[1] is not None else count_pages(Path(path))
            if count > 1:
                text = f"{path} holds {count} pages or frames: of every file, only the first is used"
                warnings.warn(text, Notice, stacklevel=3)

    @property
    def image_spec(self) -> ImageSpec:
        """What images it holds, as far as it is known without looking at them."""
        reader = self._reader or ImageReader(ImageSpec(self.bands))
        return reader.spec if self._spec is None else self._spec

    def with_images(self, spec: ImageSpec, reader: ImageReader | None) -> FolderDataset:
        """The same data set, of whose images more is known. reader: of a model that they are shown to, or None."""
        changed = copy.copy(self)
        changed._spec, changed._reader = spec, reader
        changed._cache = None
        changed.bands = spec.bands if reader is None else reader.bands
        return changed

    def of_images(self, root: str, images: Sequence[str]) -> FolderDataset:
        """Other images, paths below `root`, without ground truth; they are read as those of this data set are."""
        changed = copy.copy(self)
        changed.root = changed._image_root = changed._label_root = root
        changed._cache = None
        changed._pairs = [(image, None) for image in images]
        changed._by_rows = bytearray(len(changed._pairs))
        return changed

    def with_classes(
        self, classes: Sequence[str], palette: Sequence[Sequence[int]], label_table: LabelTable
    ) -> FolderDataset:
        """The same images with labels of other classes. Raises ValueError if the table does not fit them."""
        changed = copy.copy(self)
        changed.classes, changed.palette = tuple(classes), _checked_palette(palette, len(classes))
        changed._cache = None
        ignored = label_table.ignore_index
        changed.label_table = _checked_table(label_table, len(classes), ignored, False, self.multi_label)
        changed.ignore_index = label_table.ignore_index
        changed._by_rows = bytearray(len(changed._pairs))
        return changed

    def _image(self, path: str) -> npt.NDArray[Any]:
        return read_image(path, bands=self.bands) if self._reader is None else self._reader.read(path)


def _checked_palette(palette: Sequence[Sequence[int]] | None, count: int) -> tuple[tuple[int, int, int], ...]:
    if count == 0:
        raise ValueError("a data set needs `classes`: the names of its classes, in the order of their indices")
    if palette is None:
        return distinct_colours(count)
    if len(palette) != count:
        raise ValueError(f"{len(palette)} palette colours for {count} classes: give one (R, G, B) each")
    colours = []
    for colour in palette:
        if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            raise ValueError(f"palette: {colour!r} is not a colour (R, G, B) with parts from 0 to 255")
        colours.append((int(colour[0]), int(colour[1]), int(colour[2])))
    return tuple(colours)


def _checked_table(
    table: LabelTable | None, count: int, ignore_index: int, reduce_zero_label: bool, multi_label: bool
) -> LabelTable:
    if table is None and multi_label:
        table = LabelTable.identity(set_count(count), ignore_index)
    if table is None:
        make = LabelTable.reduce_zero if reduce_zero_label else LabelTable.identity
        table = make(count, ignore_index)
    elif reduce_zero_label:
        raise ValueError("give either label_table or reduce_zero_label: the table says already what 0 means")
    values = set_count(count) if multi_label else label_values(count)
    if table.ignore_index == IGNORE_INDEX < values:
        raise ValueError(
            f"{count} classes take the indices 0-{values - 1}, and {IGNORE_INDEX} among them means 'ignore'; "
            "choose another ignore_index, for example 65535"
        )
    wrong = sorted(target for target in table.targets() if target >= values and target != table.ignore_index)
    if wrong:
        raise ValueError(
            f"the label table maps to {ranges(wrong)}, but {count} classes have the indices 0-{values - 1} "
            f"and {table.ignore_index} to ignore"
        )
    return table


def _rotation_hint(label: Sequence[int], image: Sequence[int]) -> str:
    if tuple(label) == (image[1], image[0]) and label[0] != label[1]:
        return " (they are each other's transpose: the image may carry an EXIF orientation that its label ignores)"
    return ""
