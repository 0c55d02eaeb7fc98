"""Cityscapes: 19 classes of street scenes, 2048 x 1024 (Cordts et al., 2016, arXiv:1604.01685).

Images are `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`, labels `gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png`, whose
values are class indices and 255.
"""

from __future__ import annotations

from intarsia.data.datasets.family import Family

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip

PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

CityscapesDataset = Family(
    name="Cityscapes",
    classes=CLASSES,
    palette=PALETTE,
    root="data/cityscapes",
    images="leftImg8bit/train",
    labels="gtFine/train",
    image_suffix="_leftImg8bit.png",
    label_suffix="_gtFine_labelTrainIds.png",
)
