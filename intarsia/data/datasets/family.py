"""What a benchmark's data sets have in common: classes, colours, folders, suffixes, label numbering."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType

from intarsia.contracts import IGNORE_INDEX
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import Colour, LabelTable
from intarsia.terminal import Notice

_SHOWN = 8
"""Classes that a message lists."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A benchmark; called, it gives the data set of one of its splits.

    root: where the published configs expect it. images, labels, split_file: of the split that is trained on, or of the
    only one that there is. reduce_zero_label: file value 0 means "nothing said" and classes count from 1.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    root: str
    images: str
    labels: str
    split_file: str | None = None
    image_suffix: str = ".jpg"
    label_suffix: str = ".png"
    reduce_zero_label: bool = False

    def __call__(
        self,
        *,
        root: str | None = None,
        images: str | None = None,
        labels: str | EllipsisType | None = ...,
        split_file: str | EllipsisType | None = ...,
        image_suffix: str | Sequence[str] | None = None,
        label_suffix: str | None = None,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        label_table: LabelTable | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduce_zero_label: bool | None = None,
        bands: str = "rgb",
        indices: int | Sequence[int] | None = None,
    ) -> FolderDataset:
        """One split, the training set by default.

        Arguments are those of `FolderDataset`. None stands for what the benchmark says; of labels and split_file, whose
        None means that there are none, an ellipsis does.
        classes: some of the benchmark's classes, in an order of one's own; pixels of the others are ignored. Of any
        names, if `label_table` says what file values mean.
        palette: a colour for each class, or for each class of the benchmark.

        Raises ValueError if a class is not one of the benchmark's, and whatever `FolderDataset` raises.
        """
        if label_table is None:
            reduce = self.reduce_zero_label if reduce_zero_label is None else reduce_zero_label
            label_table = self.table(classes, ignore_index=ignore_index, reduce_zero_label=reduce)
        return FolderDataset(
            root=self.root if root is None else root,
            images=self.images if images is None else images,
            labels=self.labels if isinstance(labels, EllipsisType) else labels,
            image_suffix=image_suffix or self.image_suffix,
            label_suffix=label_suffix or self.label_suffix,
            split_file=self.split_file if isinstance(split_file, EllipsisType) else split_file,
            classes=self.classes if classes is None else classes,
            palette=self.colours(classes, palette),
            label_table=label_table,
            bands=bands,
            indices=indices,
        )

    def indices(self, classes: Sequence[str]) -> list[int]:
        """The places of some classes in the benchmark's list. Spaces around a name do not count.

        Raises ValueError if one is not among them, or is named twice.
        """
        position = {name.strip(): index for index, name in enumerate(self.classes)}
        foreign = [name for name in classes if name.strip() not in position]
        if foreign:
            raise ValueError(
                f"{self.name} has no class {', '.join(map(repr, foreign))}; its classes are {', '.join(self.classes)}. "
                "For classes of your own, use FolderDataset with a label table"
            )
        found = [position[name.strip()] for name in classes]
        twice = [self.classes[index] for index, count in Counter(found).items() if count > 1]
        if twice:
            raise ValueError(f"{self.name}: classes names {', '.join(map(repr, twice))} twice; name each class once")
        return found

    def table(self, classes: Sequence[str] | None, *, ignore_index: int, reduce_zero_label: bool) -> LabelTable:
        """What file values mean where `classes` are those of the data set. A choice of them is told as a Notice.

        Raises ValueError as `indices` does.
        """
        table = (LabelTable.reduce_zero if reduce_zero_label else LabelTable.identity)(len(self.classes), ignore_index)
        if classes is None or tuple(classes) == self.classes:
            return table
        chosen = self.indices(classes)
        warnings.warn(self._choice(chosen), Notice, stacklevel=3)
        # The original writes 255 for a class that is left out, which is a class if another index is ignored.
        return table.select(chosen)

    def colours(
        self, classes: Sequence[str] | None, palette: Sequence[Sequence[int]] | None
    ) -> Sequence[Sequence[int]] | None:
        """The palette of `classes`: as given, or chosen from one for the whole benchmark, by default its own."""
        if classes is None or tuple(classes) == self.classes:
            return self.palette if palette is None else palette
        if palette is not None and (len(palette) == len(classes) or len(palette) != len(self.classes)):
            return palette
        if {name.strip() for name in classes} - {name.strip() for name in self.classes}:
            return palette
        # The original leaves its colours where they were if classes only change their order; here they go with them.
        whole = self.palette if palette is None else palette
        return [whole[index] for index in self.indices(classes)]

    def _choice(self, chosen: Sequence[int]) -> str:
        left = [name for index, name in enumerate(self.classes) if index not in set(chosen)]
        if not left:
            return f"{self.name}: its {len(self.classes)} classes are numbered in the order that `classes` gives them"
        shown = ", ".join(left[:_SHOWN]) + (", ..." if len(left) > _SHOWN else "")
        return (
            f"{self.name}: {len(chosen)} of its {len(self.classes)} classes are used, numbered in the order that "
            f"`classes` gives them; pixels of the others are ignored: {shown}"
        )
