"""Cityscapes: 19 classes of street scenes, 2048 x 1024 (Cordts et al., 2016, arXiv:1604.01685).

Images are `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`, labels `gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png`, whose
values are class indices and 255.
"""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.contracts import IGNORE_INDEX
from intarsia.data.datasets.family import Family
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import LabelTable

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip

PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

CITYSCAPES = Family(
    name="Cityscapes",
    classes=CLASSES,
    palette=PALETTE,
    image_suffix="_leftImg8bit.png",
    label_suffix="_gtFine_labelTrainIds.png",
)


def CityscapesDataset(  # noqa: N802  (the name that configurations use for this data set)
    *,
    root: str = "data/cityscapes",
    images: str = "leftImg8bit/train",
    labels: str | None = "gtFine/train",
    split_file: str | None = None,
    image_suffix: str | None = None,
    label_suffix: str | None = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    label_table: LabelTable | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool | None = None,
    bands: str = "rgb",
) -> FolderDataset:
    """One split of Cityscapes, the training set by default.

    Arguments are those of `FolderDataset`; None stands for what the benchmark says. `classes` chooses some of the
    benchmark's classes; pixels of the others are ignored.
    """
    return CITYSCAPES.dataset(
        root=root,
        images=images,
        labels=labels,
        split_file=split_file,
        image_suffix=image_suffix,
        label_suffix=label_suffix,
        classes=classes,
        palette=palette,
        label_table=label_table,
        ignore_index=ignore_index,
        reduce_zero_label=reduce_zero_label,
        bands=bands,
    )
