"""Pascal VOC 2012: 20 kinds of objects and the background (Everingham et al., 2010, doi:10.1007/s11263-009-0275-4).

Label files are palette pictures whose indices are class indices, 255 along the borders. The augmented training set
(Hariharan et al., 2011, doi:10.1109/ICCV.2011.6126343) is `labels="SegmentationClassAug"` with its own split file,
joined to the original one by `ConcatDataset`.
"""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.contracts import IGNORE_INDEX
from intarsia.data.datasets.family import Family
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import LabelTable

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

PALETTE = (
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
    (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128),
    (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
)  # fmt: skip

PASCAL_VOC = Family(
    name="PascalVOC",
    classes=CLASSES,
    palette=PALETTE,
)


def PascalVOCDataset(  # noqa: N802  (the name that configurations use for this data set)
    *,
    root: str = "data/VOCdevkit/VOC2012",
    images: str = "JPEGImages",
    labels: str | None = "SegmentationClass",
    split_file: str | None = "ImageSets/Segmentation/train.txt",
    image_suffix: str | None = None,
    label_suffix: str | None = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    label_table: LabelTable | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool | None = None,
    bands: str = "rgb",
) -> FolderDataset:
    """One split of Pascal VOC 2012, the training set by default.

    Arguments are those of `FolderDataset`; None stands for what the benchmark says. `classes` chooses some of the
    benchmark's classes; pixels of the others are ignored.
    """
    return PASCAL_VOC.dataset(
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
