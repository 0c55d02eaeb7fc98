"""Streets elsewhere and at other hours, labelled with the 19 classes of Cityscapes.

Label values are class indices and 255. Dark Zurich and Night Driving have no training split.

BDD100K (Yu et al., 2020, arXiv:1805.04687); Dark Zurich (Sakaridis et al., 2019, arXiv:1901.05946); Night Driving
(Dai and Van Gool, 2018, arXiv:1810.02575).
"""

from __future__ import annotations

from intarsia.data.datasets.cityscapes import CLASSES, PALETTE
from intarsia.data.datasets.family import Family

BDD100KDataset = Family(
    name="BDD100K",
    classes=CLASSES,
    palette=PALETTE,
    root="data/bdd100k",
    images="images/10k/train",
    labels="labels/sem_seg/masks/train",
)

DarkZurichDataset = Family(
    name="Dark Zurich",
    classes=CLASSES,
    palette=PALETTE,
    root="data/dark_zurich",
    images="rgb_anon/val/night/GOPR0356",
    labels="gt/val/night/GOPR0356",
    image_suffix="_rgb_anon.png",
    label_suffix="_gt_labelTrainIds.png",
)

NightDrivingDataset = Family(
    name="Night Driving",
    classes=CLASSES,
    palette=PALETTE,
    root="data/NighttimeDrivingTest",
    images="leftImg8bit/test/night",
    labels="gtCoarse_daytime_trainvaltest/test/night",
    image_suffix="_leftImg8bit.png",
    label_suffix="_gtCoarse_labelTrainIds.png",
)
