"""Pascal VOC 2012: 20 kinds of objects and the background (Everingham et al., 2010, doi:10.1007/s11263-009-0275-4).

Label files are palette pictures whose indices are class indices, 255 along the borders. The augmented training set
(Hariharan et al., 2011, doi:10.1109/ICCV.2011.6126343) is `labels="SegmentationClassAug"` with its own split file,
joined to the original one by `ConcatDataset`.
"""

from __future__ import annotations

from intarsia.data.datasets.family import Family

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

PALETTE = (
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
    (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128),
    (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
)  # fmt: skip

PascalVOCDataset = Family(
    name="PascalVOC",
    classes=CLASSES,
    palette=PALETTE,
    root="data/VOCdevkit/VOC2012",
    images="JPEGImages",
    labels="SegmentationClass",
    split_file="ImageSets/Segmentation/train.txt",
)
