"""PASCAL Context: whole scenes of Pascal VOC 2010 (Mottaghi et al., 2014, doi:10.1109/CVPR.2014.119).

Label values are 0 for the background and 1-59 for the frequent classes. `PascalContextDataset` has the background for a
class, `PascalContextDataset59` ignores it.
"""

from __future__ import annotations

from intarsia.data.datasets import ade20k
from intarsia.data.datasets.family import Family

CLASSES = (
    "background", "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle",
    "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow", "cup", "curtain",
    "dog", "door", "fence", "floor", "flower", "food", "grass", "ground", "horse", "keyboard", "light", "motorbike",
    "mountain", "mouse", "person", "plate", "platform", "pottedplant", "road", "rock", "sheep", "shelves",
    "sidewalk", "sign", "sky", "snow", "sofa", "table", "track", "train", "tree", "truck", "tvmonitor", "wall",
    "water", "window", "wood",
)  # fmt: skip

PALETTE = ade20k.PALETTE[: len(CLASSES)]

PascalContextDataset = Family(
    name="PASCAL Context",
    classes=CLASSES,
    palette=PALETTE,
    root="data/VOCdevkit/VOC2010",
    images="JPEGImages",
    labels="SegmentationClassContext",
    split_file="ImageSets/SegmentationContext/train.txt",
)

PascalContextDataset59 = Family(
    name="PASCAL Context, 59 classes",
    classes=CLASSES[1:],
    palette=PALETTE[1:],
    root="data/VOCdevkit/VOC2010",
    images="JPEGImages",
    labels="SegmentationClassContext",
    split_file="ImageSets/SegmentationContext/train.txt",
    reduce_zero_label=True,
)
