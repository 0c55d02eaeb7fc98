"""What a benchmark's data sets have in common: classes, colours, folders, suffixes, label numbering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import Colour, LabelTable


@dataclass(frozen=True)
class Family:
    """A benchmark. `reduce_zero_label`: file value 0 means "nothing said" and classes count from 1."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    image_suffix: str = ".jpg"
    label_suffix: str = ".png"
    reduce_zero_label: bool = False

    def dataset(
        self,
        *,
        root: str,
        images: str,
        labels: str | None,
        split_file: str | None,
        image_suffix: str | None,
        label_suffix: str | None,
        classes: Sequence[str] | None,
        palette: Sequence[Sequence[int]] | None,
        label_table: LabelTable | None,
        ignore_index: int,
        reduce_zero_label: bool | None,
        bands: str,
    ) -> FolderDataset:
        """The folder data set of this benchmark; None stands for what the benchmark says.

        classes: some of the benchmark's classes, in an order of one's own; pixels of the others are ignored.

        Raises ValueError if a class is not one of the benchmark's, and whatever `FolderDataset` raises.
        """
        if label_table is None:
            reduce = self.reduce_zero_label if reduce_zero_label is None else reduce_zero_label
            table = LabelTable.reduce_zero if reduce else LabelTable.identity
            label_table = table(len(self.classes), ignore_index)
            if classes is not None:
                label_table = label_table.select(self._indices(classes))
        if palette is None:
            palette = self.palette if classes is None else [self.palette[index] for index in self._indices(classes)]
        return FolderDataset(
            root=root,
            images=images,
            labels=labels,
            image_suffix=image_suffix or self.image_suffix,
            label_suffix=label_suffix or self.label_suffix,
            split_file=split_file,
            classes=self.classes if classes is None else classes,
            palette=palette,
            label_table=label_table,
            bands=bands,
        )

    def _indices(self, classes: Sequence[str]) -> list[int]:
        position = {name: index for index, name in enumerate(self.classes)}
        foreign = [name for name in classes if name not in position]
        if foreign:
            raise ValueError(
                f"{self.name} has no class {', '.join(map(repr, foreign))}; its classes are {', '.join(self.classes)}. "
                "For classes of your own, use FolderDataset with a label table"
            )
        return [position[name] for name in classes]
