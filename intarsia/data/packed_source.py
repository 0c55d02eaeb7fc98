"""What is packed of a sample: its image as it is decoded, and what its label file says, before that means classes.

Class lists change, pixels do not: so labels are kept as the numbers of their files, and which class these are stays in
the description. Colours are kept as numbers, too: the place of a colour in the description's list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import RGB, Bands, FileBands, rgb_bands, upright
from intarsia.data.containers import member_name
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.model import IGNORE, DataDescription, LabelValue
from intarsia.data.image_io import decode_image
from intarsia.data.instance_ids import as_numbers
from intarsia.data.labels import LabelTable, value_counts
from intarsia.data.packed.codecs import compressor
from intarsia.data.packed.writer import EncodedSample, encoded


@dataclass(frozen=True, slots=True, eq=False)
class PackSource:
    """The samples of a description, split by split.

    description: of what is packed. datasets: of each split. numbers: what makes numbers of colours, None where labels
    are numbers.
    """

    description: DataDescription
    datasets: dict[str, FolderDataset]
    numbers: LabelTable | None

    @classmethod
    def of(cls, description: DataDescription, place: Path) -> PackSource:
        """Raises ValueError, naming `place`, for data that cannot be packed, and as `DataDescription.pairs`."""
        if isinstance(description, MixedDescription):
            raise ValueError(
                f"{place} is made of several data sets; pack each, and name the packed files in the description"
            )
        if description.inputs:
            names = ", ".join(one.name for one in description.inputs)
            raise ValueError(f"{place} has several images for each sample ({names}), which packed files do not hold")
        labels = description.labels or {}
        has_colours = any(not isinstance(value, int) for value in labels)
        numbers = _numbering(description) if has_colours else None
        datasets = {}
        for split in description.splits:
            if any(pair.window is not None for pair in description.pairs(split)):
                raise ValueError(f"{place} is windows of scenes, which are read as they are and cannot be packed")
            datasets[split] = description.files(split)
        return cls(description, datasets, numbers)

    @property
    def packed(self) -> DataDescription:
        """The description of what is in the file, but for its splits."""
        if self.numbers is None:
            return replace(self.description, notes=())
        values: dict[LabelValue, str] = dict(enumerate((self.description.labels or {}).values()))
        if self.description.outside == "ignore":
            values[len(values)] = IGNORE
        shown = [f"{number} was {_shown(value)}" for number, value in enumerate(self.description.labels or {})]
        notes = (f"The labels were colours; in this file {', '.join(shown[:100])}.",)
        return replace(self.description, labels=values, outside="error", tolerance=0, notes=notes)

    def jobs(self) -> list[tuple[str, int]]:
        """(split, index) of every sample, in the order of the file."""
        return [(split, index) for split, dataset in self.datasets.items() for index in range(len(dataset))]

    def name(self, split: str, index: int) -> str:
        """The name of a sample in the file."""
        dataset = self.datasets[split]
        return f"{split}/{member_name(dataset.relative(index))}"

    def sample(self, split: str, index: int, codec: str) -> tuple[EncodedSample, dict[int, int]]:
        """A sample as it is written, and how many pixels have each value of its label.

        Raises ValueError naming the file if it cannot be read or packed, or its label holds what the description does
        not list.
        """
        dataset, compress = self.datasets[split], compressor(codec)
        path, label_path = dataset.paths(index)
        samples, file = self._image(path)
        label, counts = None, dict[int, int]()
        if label_path is not None:
            label, counts = self._label(dataset, index, label_path)
            if label.shape != samples.shape[:2]:
                dataset.load(index)  # which says it as it is always said
        try:
            image = encoded(samples, compress, file)
            plane = None if label is None else encoded(label, compress)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return EncodedSample(self.name(split, index), image, plane), counts

    def _image(self, path: str) -> tuple[npt.NDArray[Any], FileBands]:
        description = self.description
        is_rgb = description.bands == "rgb"
        bands: Bands = "rgb" if is_rgb and description.scale is None else "raw"
        decoded = decode_image(path, bands=bands)
        if decoded.whole is not None and description.reader().depends_on_image:
            raise ValueError(
                f"{path}: is a slice whose values are scaled by percentiles of its volume, which a packed file does "
                "not hold; give `scale:` as two numbers, or pack none of it"
            )
        if not is_rgb:
            return decoded.samples, decoded.file
        try:
            samples = upright(decoded.take(rgb_bands(decoded.file)), decoded.file.orientation)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return samples, FileBands(RGB, bits=decoded.file.bits)

    def _label(self, dataset: FolderDataset, index: int, path: str) -> tuple[npt.NDArray[Any], dict[int, int]]:
        stored = dataset.stored_label(index)
        assert stored is not None
        class_of = self.description.class_of
        if class_of is not None and not dataset.is_label_file(index):
            raise ValueError(f"{path}: is drawn, and `class_of` is for label files; both together cannot be packed")
        if class_of is not None and stored.ndim == 3:  # the colours of panoptic files are numbers
            stored = as_numbers(stored).astype(np.uint32)
        values = stored if class_of is None else class_of.apply(stored)
        dataset.label_table.apply(values, file=path)
        if self.numbers is not None:
            stored = values = self.numbers.apply(stored, file=path)
        elif stored.ndim == 3:  # a grey picture, as the table has found
            stored, values = stored[:, :, 0], values[:, :, 0]
        return stored, value_counts(values.astype(np.uint8) if values.dtype.kind == "b" else values)


def _numbering(description: DataDescription) -> LabelTable:
    """File value -> its place in the description's list; what the list lets pass besides is ignored: the next place."""
    listed: list[LabelValue] = list(description.labels or {})
    values = {value: number for number, value in enumerate(listed) if isinstance(value, int)}
    colours = {value: number for number, value in enumerate(listed) if not isinstance(value, int)}
    return LabelTable(values or None, colours, len(listed), description.outside, description.tolerance)


def _shown(value: LabelValue) -> str:
    return str(value) if isinstance(value, int) else "#{:02x}{:02x}{:02x}".format(*value)
