"""Land from above, cut into tiles: LoveDA, Potsdam, Vaihingen, iSAID.

In the first three, label value 0 is "nothing said" and classes count from 1. In iSAID, values are class indices, and
255 where a tile reaches beyond its scene. `ISPRSDataset` is Vaihingen, which its name does not say.

LoveDA (Wang et al., 2021, arXiv:2110.08733); Potsdam and Vaihingen (ISPRS, 2D semantic labelling contest); iSAID
(Waqas Zamir et al., 2019, arXiv:1905.12886).
"""

from __future__ import annotations

from intarsia.data.datasets.family import Family

LOVEDA_CLASSES = (
    "background", "building", "road", "water", "barren", "forest", "agricultural",
)  # fmt: skip

LOVEDA_PALETTE = (
    (255, 255, 255), (255, 0, 0), (255, 255, 0), (0, 0, 255), (159, 129, 183), (0, 255, 0), (255, 195, 128),
)  # fmt: skip

ISPRS_CLASSES = (
    "impervious_surface", "building", "low_vegetation", "tree", "car", "clutter",
)  # fmt: skip

ISPRS_PALETTE = (
    (255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0),
)  # fmt: skip

ISAID_CLASSES = (
    "background", "ship", "store_tank", "baseball_diamond", "tennis_court", "basketball_court", "Ground_Track_Field",
    "Bridge", "Large_Vehicle", "Small_Vehicle", "Helicopter", "Swimming_pool", "Roundabout", "Soccer_ball_field",
    "plane", "Harbor",
)  # fmt: skip

ISAID_PALETTE = (
    (0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63),
    (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255), (0, 100, 155),
)  # fmt: skip

LoveDADataset = Family(
    name="LoveDA",
    classes=LOVEDA_CLASSES,
    palette=LOVEDA_PALETTE,
    root="data/loveDA",
    images="img_dir/train",
    labels="ann_dir/train",
    image_suffix=".png",
    reduce_zero_label=True,
)

PotsdamDataset = Family(
    name="Potsdam",
    classes=ISPRS_CLASSES,
    palette=ISPRS_PALETTE,
    root="data/potsdam",
    images="img_dir/train",
    labels="ann_dir/train",
    image_suffix=".png",
    reduce_zero_label=True,
)

ISPRSDataset = Family(
    name="Vaihingen",
    classes=ISPRS_CLASSES,
    palette=ISPRS_PALETTE,
    root="data/vaihingen",
    images="img_dir/train",
    labels="ann_dir/train",
    image_suffix=".png",
    reduce_zero_label=True,
)

iSAIDDataset = Family(  # noqa: N816  (the name that configurations use for this data set)
    name="iSAID",
    classes=ISAID_CLASSES,
    palette=ISAID_PALETTE,
    root="data/iSAID",
    images="img_dir/train",
    labels="ann_dir/train",
    image_suffix=".png",
    label_suffix="_instance_color_RGB.png",
)
